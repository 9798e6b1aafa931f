"""The bag: a BagIt 1.0 folder (RFC 8493) that holds one version of a dataset.

Its payload, ``data/``, is what the sources gave. Its tag files say what that is, and hold nothing that changes from run
to run: the same payload from the same catalog entry makes the same bag.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from datapack import manifest as manifests
from datapack.errors import BagError
from datapack.files import atomic_writer
from datapack.manifest import Listing, Manifest, compare_names, list_payload, sorted_by_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.reference import Reference

BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
INFO, FETCH, TAG_MANIFEST = "bag-info.txt", "fetch.txt", "tagmanifest-sha256.txt"


@dataclass(frozen=True)
class Bag:
    """A bag on disk that was found whole by the names and sizes of its files."""

    path: Path
    manifest: Manifest
    listing: Listing
    tags: Mapping[str, bytes]

    @classmethod
    def open(cls, path: Path) -> Bag:
        """Read a bag; no byte of the payload is read.

        Raises:
            BagError: a tag file is damaged, or the payload is not complete.
            ManifestError: the manifest is not one.
        """
        tags = read_tags(path)
        manifest = Manifest.parse(tags[manifests.NAME], where=path / manifests.NAME)
        listing = list_payload(path)
        difference = compare_names(manifest, listing)
        if difference:
            raise BagError(
                "the bag's files are not those that its manifest names",
                where=path,
                found=f"{difference}, such as {difference.lines()[0].split(maxsplit=1)[1]}",
                fix="'datapack verify' lists them, 'datapack fetch' gets what is missing",
            )
        bag = cls(path, manifest, listing, tags)
        if bag.oxum != bag.info.get("Payload-Oxum"):
            raise BagError(
                "the payload's size is not what bag-info.txt says",
                where=path,
                expected=bag.info.get("Payload-Oxum"),
                found=bag.oxum,
                fix="'datapack verify' finds the file",
            )
        return bag

    @cached_property
    def info(self) -> dict[str, str]:
        """The fields of ``bag-info.txt``."""
        return parse_info(self.tags[INFO])

    @property
    def oxum(self) -> str:
        """``Payload-Oxum``: the payload's bytes and files."""
        return f"{self.bytes}.{len(self.listing.files)}"

    @cached_property
    def bytes(self) -> int:
        """The payload's size in bytes."""
        return sum(file.size for file in self.listing.files.values())

    @property
    def files(self) -> int:
        """The number of files in the payload."""
        return len(self.listing.files)


def read_tags(path: Path) -> dict[str, bytes]:
    """Read a bag's tag files, each checked against the tag manifest."""
    where = path / TAG_MANIFEST
    try:
        content = where.read_bytes()
        expected = Manifest.parse(content, where=where).hashes
        tags = {name: (path / name).read_bytes() for name in expected}
    except OSError as error:
        raise BagError("not a bag: a tag file can't be read", where=error.filename, found=error.strerror) from error
    for name, tag in tags.items():
        if hashlib.sha256(tag).hexdigest() != expected[name]:
            raise BagError(
                "the bag's tag file is damaged", where=path / name, fix="restore it, or fetch the version again"
            )
    if missing := {manifests.NAME, INFO} - tags.keys():
        raise BagError("not a datapack bag: a tag file is missing", where=path, found=f"no {min(missing)}")
    return {**tags, TAG_MANIFEST: content}


def parse_info(content: bytes) -> dict[str, str]:
    """Read the fields of ``bag-info.txt``."""
    return dict(line.split(": ", 1) for line in content.decode().splitlines() if ": " in line)


def write_tags(path: Path, manifest: Manifest, info: Mapping[str, str], origins: Mapping[str, str]) -> None:
    """Make a folder with a payload a bag.

    Args:
        path: the folder that holds ``data/``.
        manifest: the payload's manifest.
        info: fields for ``bag-info.txt``; ``Payload-Oxum`` is added.
        origins: the address of each fetched file, by its path below ``path``.
    """
    sizes = {name: file.size for name, file in list_payload(path).files.items()}
    oxum = f"{sum(sizes.values())}.{len(sizes)}"
    tags = {
        "bagit.txt": BAGIT,
        INFO: _info({**info, "Payload-Oxum": oxum}),
        manifests.NAME: manifest.content,
    }
    if origins:
        tags[FETCH] = _fetch_lines(origins, sizes)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in tags.items()}
    (path / FETCH).unlink(missing_ok=True)  # an earlier run may have had one
    for name, content in {**tags, TAG_MANIFEST: Manifest.of(hashes).content}.items():
        with atomic_writer(path / name) as file:
            file.write(content)


def _info(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {' '.join(fields[name].split())}\n" for name in sorted(fields)).encode()


def _fetch_lines(origins: Mapping[str, str], sizes: Mapping[str, int]) -> bytes:
    lines = (f"{_address(origins[path])} {sizes[path]} {_fetch_path(path)}\n" for path in sorted_by_bytes(origins))
    return "".join(lines).encode()


def _address(address: str) -> str:
    """Write an address without the white space that ends it in ``fetch.txt``."""
    return quote(address, safe="%/:?#[]@!$&'()*+,;=~")


def _fetch_path(path: str) -> str:
    """Write a path as RFC 8493 asks: only line ends, which ours never hold, and ``%`` are encoded."""
    return path.replace("%", "%25")


def info_fields(reference: Reference, facts: Mapping[str, str | None]) -> dict[str, str]:
    """Give the fields of ``bag-info.txt``: the reference, and every fact that is known."""
    return {"External-Identifier": str(reference), **{name: value for name, value in facts.items() if value}}
