"""The bag: a BagIt 1.0 folder (RFC 8493) that holds one version of a dataset.

Its payload, ``data/``, has the files of the sources. Its tag files describe it and contain nothing that changes from
run to run: the same payload from the same catalog entry makes the same bag.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.changes import compare_names
from datapack.bag.fetch_txt import FETCH, format_fetch
from datapack.bag.listing import Listing, list_payload
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.errors import BagError
from datapack.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class PayloadFile(NamedTuple):
    """A payload file: its path below the bag, its size in bytes, its sha256 in hex."""

    path: str
    size: int
    sha256: str


BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
INFO, TAG_MANIFEST = "bag-info.txt", "tagmanifest-sha256.txt"
OXUM = "Payload-Oxum"


@dataclass(frozen=True)
class Bag:
    """A bag on disk; the names of its files and their total size are checked."""

    path: Path
    manifest: Manifest
    listing: Listing
    tags: Mapping[str, bytes]

    @classmethod
    def open(cls, path: Path, listing: Listing | None = None) -> Bag:
        """Read a bag's tag files and list its payload, unless ``listing`` is given; no payload byte is read.

        Raises:
            BagError: a tag file is damaged, or the payload is not complete.
            ManifestError: the manifest is invalid.
        """
        return cls.complete(path, read_tags(path), listing or list_payload(path))

    @classmethod
    def complete(cls, path: Path, tags: Mapping[str, bytes], listing: Listing) -> Bag:
        """Make a bag from its parts; raise `BagError` or `ManifestError` if the payload is not complete."""
        bag = cls(path, Manifest.parse(tags[MANIFEST], where=path / MANIFEST), listing, tags)
        difference = compare_names(bag.manifest, listing)
        if difference:
            raise BagError(
                "the bag's files differ from its manifest",
                where=path,
                found=f"{difference}, such as {difference.lines()[0].split(maxsplit=1)[1]}",
                fix="run 'datapack verify' to list them, 'datapack fetch' to restore them",
            )
        if oxum(listing) != bag.info.get(OXUM):
            raise BagError(
                f"the payload's size differs from {INFO}",
                where=path,
                expected=bag.info.get(OXUM),
                found=oxum(listing),
                fix="run 'datapack verify' to find the file",
            )
        return bag

    @cached_property
    def info(self) -> dict[str, str]:
        """The fields of ``bag-info.txt``."""
        return parse_info(self.tags[INFO])

    @property
    def bytes(self) -> int:
        """The payload's size in bytes."""
        return self.listing.size

    @property
    def files(self) -> int:
        """The number of files in the payload."""
        return len(self.listing.files)

    def payload(self) -> list[PayloadFile]:
        """List the payload's files, in the order of the manifest."""
        sizes = self.listing.files
        return [PayloadFile(path, sizes[path].size, sha256) for path, sha256 in self.manifest.hashes.items()]


def read_tags(path: Path) -> dict[str, bytes]:
    """Read a bag's tag files and check each against the tag manifest."""
    where = path / TAG_MANIFEST
    try:
        content = where.read_bytes()
        expected = Manifest.parse(content, where=where).hashes
        tags = {name: (path / name).read_bytes() for name in expected}
    except OSError as error:
        raise BagError("not a bag: a tag file can't be read", where=error.filename, found=error.strerror) from error
    for name, tag in tags.items():
        if hashlib.sha256(tag).hexdigest() != expected[name]:
            raise BagError("the tag file is damaged", where=path / name, fix="restore it, or fetch the version again")
    if missing := {MANIFEST, INFO} - tags.keys():
        raise BagError("not a datapack bag: a tag file is missing", where=path, found=f"no {min(missing)}")
    return {**tags, TAG_MANIFEST: content}


def parse_info(content: bytes) -> dict[str, str]:
    """Read the fields of ``bag-info.txt``."""
    return dict(line.split(": ", 1) for line in content.decode().splitlines() if ": " in line)


def write_tags(
    path: Path, manifest: Manifest, listing: Listing, info: Mapping[str, str], urls: Mapping[str, str]
) -> dict[str, bytes]:
    """Write the tag files that turn a folder with a payload into a bag; return their bytes by name.

    Args:
        path: the folder that holds ``data/``.
        manifest: the payload's manifest.
        listing: the payload's files.
        info: fields for ``bag-info.txt``; ``Payload-Oxum`` is added.
        urls: the URL of each downloaded file, by its path below ``path``.
    """
    tags = {"bagit.txt": BAGIT, INFO: _info({**info, OXUM: oxum(listing)}), MANIFEST: manifest.content}
    if urls:
        tags[FETCH] = format_fetch(urls, {name: file.size for name, file in listing.files.items()})
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in tags.items()}
    tags[TAG_MANIFEST] = Manifest.of(hashes).content
    (path / FETCH).unlink(missing_ok=True)  # it may be left from an earlier run
    for name, content in tags.items():
        with atomic_writer(path / name) as file:
            file.write(content)
    return tags


def oxum(listing: Listing) -> str:
    """Return the ``Payload-Oxum`` of a payload: ``<bytes>.<files>``."""
    return f"{listing.size}.{len(listing.files)}"


def parse_oxum(info: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the bytes and the number of files that ``Payload-Oxum`` states, or None if it is missing or malformed."""
    count, _, files = info.get(OXUM, "").partition(".")
    return (int(count), int(files)) if count.isdigit() and files.isdigit() else None


def _info(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {' '.join(fields[name].split())}\n" for name in sorted(fields)).encode()


def info_fields(identifier: str, facts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the fields of ``bag-info.txt``: the identifier, such as ``fathom24@v1``, and every fact that is known."""
    return {"External-Identifier": identifier, **{name: value for name, value in facts.items() if value}}
