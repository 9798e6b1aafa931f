"""The bag: a BagIt 1.0 folder (RFC 8493) that holds one version of a dataset.

Its payload, ``data/``, has the files of the sources. Its tag files describe it and contain nothing that changes from
run to run: the same payload from the same catalog entry makes the same bag.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.changes import compare_names
from datapack.bag.fetch_txt import FETCH, fetch_lines, parse_fetch
from datapack.bag.listing import Listing, list_payload
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.bag.tag_file import read_tag_file, tag_lines
from datapack.errors import BagError
from datapack.files import atomic_writer
from datapack.hashing import hash_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class PayloadFile(NamedTuple):
    """A payload file: its path below the bag, its size in bytes, its sha256 in hex."""

    path: str
    size: int
    sha256: str


BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
DECLARATION, INFO, TAG_MANIFEST = "bagit.txt", "bag-info.txt", "tagmanifest-sha256.txt"
IDENTIFIER, OXUM = "External-Identifier", "Payload-Oxum"
_TAGS = frozenset({DECLARATION, INFO, MANIFEST, FETCH})  # what the tag manifest of our bags may name
_DECLARATION = re.compile(r"BagIt-Version: (\S+)\nTag-File-Character-Encoding: (\S+)")
_VERSIONS = ("0.97", "1.0")  # bagit.py writes the first, RFC 8493 describes the second
_COUNTS = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")
_LABELS = {label.lower(): label for label in (IDENTIFIER, OXUM)}  # reserved labels have no case (RFC 8493, 2.2.2)


@dataclass(frozen=True)
class Bag:
    """A bag on disk; the names of its files and their total size are checked."""

    path: Path
    manifest: Manifest
    listing: Listing
    info: Mapping[str, str]  # the fields of bag-info.txt
    tags: Mapping[str, str]  # the sha256 of each tag file, by its name

    @classmethod
    def open(cls, path: Path, listing: Listing | None = None) -> Bag:
        """Read a bag's tag files and list its payload, unless ``listing`` is given; no payload byte is read.

        Raises:
            BagError: a tag file is damaged, or the payload is not complete.
            ManifestError: the manifest is invalid.
        """
        tags = read_tags(path)
        manifest = Manifest.parse(tags[MANIFEST], where=path / MANIFEST)
        hashes = {name: hash_bytes(content) for name, content in tags.items()}
        return cls.complete(path, manifest, listing or list_payload(path), parse_info(tags[INFO]), hashes)

    @classmethod
    def complete(
        cls, path: Path, manifest: Manifest, listing: Listing, info: Mapping[str, str], tags: Mapping[str, str]
    ) -> Bag:
        """Make a bag from its parts; raise `BagError` if the payload is not complete."""
        bag = cls(path, manifest, listing, info, tags)
        difference = compare_names(manifest, listing)
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
    """Read the tag files of a bag that datapack wrote, and check each against the tag manifest."""
    where = path / TAG_MANIFEST
    content = read_tag_file(where)
    expected = Manifest.parse(content, where=where).hashes
    if others := expected.keys() - _TAGS:
        raise BagError("not a datapack bag: its tag manifest names another file", where=where, found=min(others))
    if missing := _TAGS - {FETCH} - expected.keys():
        raise BagError("not a datapack bag: a tag file is missing", where=path, found=f"no {min(missing)}")
    tags = {name: _read_tag(path / name, sha256) for name, sha256 in expected.items()}
    if tags[DECLARATION] != BAGIT:
        raise BagError("not a datapack bag", where=path / DECLARATION, expected=repr(BAGIT.decode()))
    parse_info(tags[INFO], path / INFO)
    parse_fetch(tags.get(FETCH, b""), path / FETCH)
    return {**tags, TAG_MANIFEST: content}


def reread_tags(bag: Bag) -> dict[str, bytes]:
    """Read the tag files of an open bag; raise `BagError` for one that is no longer the same."""
    return {name: _read_tag(bag.path / name, sha256) for name, sha256 in bag.tags.items()}


def _read_tag(path: Path, sha256: str) -> bytes:
    content = read_tag_file(path)
    if hash_bytes(content) != sha256:
        raise BagError("the tag file is damaged", where=path, fix="restore it, or fetch the version again")
    return content


def check_declaration(content: bytes, where: object = DECLARATION) -> str:
    """Return the version in ``bagit.txt``; raise `BagError` unless it is exactly as RFC 8493 requires."""
    text = "\n".join(tag_lines(content, where))
    match = _DECLARATION.fullmatch(text)
    if text.startswith("\ufeff"):
        raise BagError("not a bag", where=where, expected="no byte-order mark")
    if not match:
        expected = "the two lines 'BagIt-Version: 1.0' and 'Tag-File-Character-Encoding: UTF-8'"
        raise BagError("not a bag", where=where, expected=expected, found=f"{content[:80]!a}" if content else "nothing")
    if match[1] not in _VERSIONS:
        raise BagError(
            "a BagIt version that datapack does not know", where=where, expected=" or ".join(_VERSIONS), found=match[1]
        )
    if match[2].upper() != "UTF-8":
        raise BagError("an encoding that datapack does not read", where=where, expected="UTF-8", found=match[2])
    return match[1]


def parse_info(content: bytes, where: object = INFO) -> dict[str, str]:
    """Read the fields of ``bag-info.txt``: of several with the same label the first, with folded lines as one.

    Raises:
        BagError: it is not UTF-8, or a line is not a field.
    """
    fields: list[tuple[str, list[str]]] = []
    for number, line in enumerate(tag_lines(content, where), start=1):
        label, colon, value = line.partition(":")
        if line[:1] in {" ", "\t"} and fields:
            fields[-1][1].append(line.strip())
        elif colon and label.strip():
            fields.append((_LABELS.get(label.strip().lower(), label.strip()), [value.strip()]))
        elif line.strip():
            raise BagError("not a field", where=f"{where}:{number}", expected="LABEL: VALUE", found=f"{line[:80]!a}")
    return {label: " ".join(values) for label, values in reversed(fields)}


def write_tags(
    path: Path, manifest: Manifest, listing: Listing, info: Mapping[str, str], urls: Mapping[str, str]
) -> Bag:
    """Write the tag files that turn a folder with a complete payload into a bag; return the bag.

    Args:
        path: the folder that holds ``data/``.
        manifest: the payload's manifest.
        listing: the payload's files.
        info: fields for ``bag-info.txt``; ``Payload-Oxum`` is added.
        urls: the URL of each downloaded file, by its path below ``path``.

    Raises:
        BagError: the payload is not complete.
    """
    about = _info({**info, OXUM: oxum(listing)})
    tags = {DECLARATION: iter([BAGIT]), INFO: iter([about]), MANIFEST: manifest.lines()}
    if urls:
        tags[FETCH] = fetch_lines(urls, listing.files)
    else:
        (path / FETCH).unlink(missing_ok=True)  # it may be left from an earlier run
    hashes = {name: _write(path / name, lines) for name, lines in tags.items()}
    hashes[TAG_MANIFEST] = _write(path / TAG_MANIFEST, Manifest.of(hashes).lines())
    return Bag.complete(path, manifest, listing, parse_info(about), hashes)


def _write(path: Path, lines: Iterator[bytes]) -> str:
    """Write a file line by line, as it may be large; return its sha256 in hex."""
    digest = hashlib.sha256()
    with atomic_writer(path) as file:
        for line in lines:
            file.write(line)
            digest.update(line)
    return digest.hexdigest()


def oxum(listing: Listing) -> str:
    """Return the ``Payload-Oxum`` of a payload: ``<bytes>.<files>``."""
    return f"{listing.size}.{len(listing.files)}"


def parse_oxum(info: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the bytes and the number of files that ``Payload-Oxum`` states, or None if it is missing or malformed."""
    counts = _COUNTS.fullmatch(info.get(OXUM, ""))
    return (int(counts[1]), int(counts[2])) if counts else None


def _info(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {' '.join(fields[name].split())}\n" for name in sorted(fields)).encode()


def info_fields(identifier: str, facts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the fields of ``bag-info.txt``: the identifier, such as ``fathom24@v1``, and every fact that is known."""
    return {IDENTIFIER: identifier, **{name: value for name, value in facts.items() if value}}
