"""Any BagIt bag, whichever tool wrote it: the rules of RFC 8493, and the bag's checksums of its files.

datapack's own bags have a narrower form, which `bagit` reads. Where tools differ, the strict reading counts: names
that BagIt tools read in two ways are refused, and so are links, and bags with only md5 or sha1 manifests, which anyone
can forge.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.bagit import DECLARATION, INFO, check_declaration, parse_info
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.bag.listing import is_folder
from datapack.bag.manifest import PAYLOAD, Manifest, check_path
from datapack.bag.tag_file import read_tag_file, tag_lines
from datapack.errors import BagError
from datapack.hashing import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = re.compile(r"(tag)?manifest-(.+)\.txt")
_LINE = re.compile(r"([0-9A-Fa-f]+)[ \t]+\*?(.+)")  # one space or several, and the mark of md5sum --binary
_DIGITS = {
    name: 2 * hashlib.new(name, usedforsecurity=False).digest_size
    for name in hashlib.algorithms_guaranteed
    if not name.startswith("shake")  # of any length
}
_FORGED = {"md5", "sha1"}
_BEST = "sha256"
_NO_TAGS = (f"{PAYLOAD}/", "tagmanifest-", "~")  # how names begin that a tag manifest may not have


@dataclass(frozen=True)
class Checksums:
    """A payload manifest or a tag manifest: the checksum of each file, in lower-case hex, by its path below the bag."""

    name: str  # such as manifest-sha512.txt
    algorithm: str
    hashes: Mapping[str, str]
    digest: str  # of the bytes of the manifest
    is_ours: bool  # whether datapack would write the same bytes


@dataclass(frozen=True)
class AnyBag:
    """A bag on disk: its manifests and its description. No payload byte is read."""

    path: Path
    version: str
    manifests: tuple[Checksums, ...]
    tag_manifests: tuple[Checksums, ...]
    info: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> AnyBag:
        """Read a bag's tag files.

        Raises:
            BagError: it is not a bag, or one that proves nothing.
            ManifestError: a manifest names a file that is not allowed.
        """
        if not is_folder(path / PAYLOAD):
            found = "a link" if (path / PAYLOAD).is_symlink() else None
            raise BagError(f"not a bag: it has no folder {PAYLOAD!r}", where=path, found=found)
        version = check_declaration(read_tag_file(path / DECLARATION), path / DECLARATION)
        names = sorted(entry.name for entry in path.iterdir())
        payload = [_read_checksums(path / name) for name in names if name.startswith("manifest-")]
        tags = [_read_checksums(path / name) for name in names if name.startswith("tagmanifest-")]
        payload.sort(key=lambda manifest: manifest.algorithm != _BEST)
        info = parse_info(read_tag_file(path / INFO), path / INFO) if INFO in names else {}
        bag = cls(path, version, tuple(payload), tuple(tags), info)
        bag._check()
        if FETCH in names:
            bag._check_fetch()
        return bag

    def _check(self) -> None:
        """Refuse a bag whose manifests name forbidden files or prove nothing."""
        if not self.manifests:
            raise BagError("not a bag: it has no manifest", where=self.path, expected="such as manifest-sha256.txt")
        for manifest in self.manifests:
            _refuse(manifest, self.path, [path for path in manifest.hashes if not path.startswith(f"{PAYLOAD}/")])
        for manifest in self.tag_manifests:
            _refuse(manifest, self.path, [path for path in manifest.hashes if path.startswith(_NO_TAGS)])
        if not self.names:
            raise BagError("the bag is empty: its manifest names no file", where=self.path / self.manifests[0].name)
        proven = {path for manifest in self.manifests if manifest.algorithm not in _FORGED for path in manifest.hashes}
        if unproven := self.names - proven:
            raise BagError(
                "the bag proves nothing: anyone can make another file with the same md5 or sha1",
                where=self.path,
                expected="a manifest of sha256 or better",
                found=f"none for {min(unproven)}",
            )

    def _check_fetch(self) -> None:
        where = self.path / FETCH
        for path in parse_fetch(read_tag_file(where), where):
            if path not in self.names:
                raise BagError("names a file that is in no manifest", where=where, found=path)

    @property
    def names(self) -> set[str]:
        """The payload files that any manifest names."""
        return {path for manifest in self.manifests for path in manifest.hashes}

    def gaps(self) -> list[str]:
        """Return a line for each file that a manifest leaves out although BagIt 1.0 requires it there."""
        if self.version != "1.0":
            return []
        tags = {manifest.name for manifest in self.manifests}
        lists = [(one, self.names) for one in self.manifests] + [(one, tags) for one in self.tag_manifests]
        return [f"unlisted {path}, in {one.name}" for one, names in lists for path in sorted(names - one.hashes.keys())]


def _refuse(manifest: Checksums, bag: Path, paths: list[str]) -> None:
    """Raise an error for the first of these paths, which are not allowed in a manifest."""
    if paths:
        raise BagError("the manifest names a file that is not allowed", where=bag / manifest.name, found=min(paths))


def _read_checksums(path: Path) -> Checksums:
    match = _NAME.fullmatch(path.name)
    algorithm = match[2] if match else ""
    if algorithm not in _DIGITS:
        raise BagError(
            "a manifest of an unknown kind: it can't be verified",
            where=path,
            expected=f"manifest-ALGORITHM.txt, with one of {', '.join(sorted(_DIGITS))}",
        )
    content = read_tag_file(path)
    hashes: dict[str, str] = {}
    for number, line in enumerate(tag_lines(content, path), start=1):
        if not line.strip():
            continue
        name, digest = _parse_line(line, _DIGITS[algorithm], f"{path}:{number}")
        if name in hashes:
            raise BagError(f"{name} is named twice", where=f"{path}:{number}")
        hashes[name] = digest
    ours = algorithm == _BEST and Manifest.of(hashes).content == content
    return Checksums(path.name, algorithm, hashes, digest_of(content), ours)


def _parse_line(line: str, digits: int, where: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if not match or len(match[1]) != digits:
        expected = f"{digits} hex digits, a space and a path"
        raise BagError("not a manifest line", where=where, expected=expected, found=f"{line[:100]!a}")
    return check_path(match[2], where), match[1].lower()
