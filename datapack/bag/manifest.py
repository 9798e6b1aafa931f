"""The manifest: the sha256 of every file of a dataset.

The format is BagIt's ``manifest-sha256.txt`` (RFC 8493), which ``sha256sum -c`` reads too: one line per file, with 64
hex digits, two spaces and the path below the bag. Ours is stricter: lines are sorted by the bytes of their paths and
end in one line feed, and there is nothing else. So the same payload always has the same manifest, and its sha256, the
*dataset digest*, identifies the dataset.

This module uses only the standard library: the trainer images have no other dependency of datapack.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from datapack.bag.tag_file import read_tag_file
from datapack.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


MANIFEST = "manifest-sha256.txt"
PAYLOAD = "data"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_FAULTS = {  # what a path must not contain
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]": "a control character or a backslash",
    r"[\u202a-\u202e\u2066-\u2069]": "a bidirectional control character",  # in the log of the import too
    r"\A/": "a leading '/'",
    r"(?:\A|/)\.{0,2}(?:/|\Z)": "an empty, '.' or '..' part",
    r"\s\Z": "white space at its end",  # some tools strip it
    r"[\ud800-\udfff]": "bytes that are not UTF-8",
    r"%(?:0[AaDd]|25)": "%0A, %0D or %25, which BagIt tools read as another character",
    r"(?:\A|/)\.wh\.": "a part that begins with '.wh.', which deletes a file where an image is unpacked",
}
_FAULT = re.compile("|".join(_FAULTS))
_LONGEST = 255  # bytes of a name on any usual disk


def check_path(path: str, where: object = None) -> str:
    """Return ``path`` if a manifest may contain it: relative, and read in the same way by every tool.

    Raises:
        ManifestError: for an absolute path, an empty, ``.`` or ``..`` part, a backslash, a control character, white
            space at the end, bytes that are not UTF-8, ``%0A``, ``%0D`` or ``%25``, which BagIt tools decode, a name
            that is a whiteout in an image's layer, or one that is too long.
    """
    if _FAULT.search(path):
        reason = next(reason for pattern, reason in _FAULTS.items() if re.search(pattern, path))
    elif len(path.encode()) > _LONGEST and any(len(part.encode()) > _LONGEST for part in path.split("/")):
        reason = f"a part of more than {_LONGEST} bytes"
    else:
        return path
    raise ManifestError(f"the file name {path!a} is not allowed", where=where, found=reason, fix="rename the file")


def sorted_by_bytes(paths: Iterable[str]) -> list[str]:
    """Sort paths like ``LC_ALL=C sort``, independent of the locale.

    Python compares code points, whose order is that of their bytes in UTF-8. Other bytes, which no manifest has, come
    after nearly all characters.
    """
    return sorted(paths)


@dataclass(frozen=True)
class Manifest:
    """The sha256 (64 hex digits) of each file by its path below the bag, sorted by the bytes of the paths."""

    hashes: Mapping[str, str]

    @classmethod
    def of(cls, hashes: Mapping[str, str]) -> Manifest:
        """Make a manifest from hashes in any order; raise `ManifestError` for a path that is not allowed."""
        return cls({check_path(path): hashes[path] for path in sorted_by_bytes(hashes)})

    @classmethod
    def parse(cls, content: bytes, where: object = MANIFEST) -> Manifest:
        """Parse a manifest; raise `ManifestError`, naming the line, if it is malformed."""
        if not content.endswith(b"\n"):
            raise ManifestError(
                "the last line is cut off" if content else "the manifest is empty",
                where=where,
                fix="this copy is damaged: copy it again",
            )
        hashes: dict[str, str] = {}
        last = ""
        for number, line in enumerate(io.BytesIO(content), start=1):
            path, digest = _parse_line(line, f"{where}:{number}")
            if path <= last:
                problem = "named twice" if path in hashes else "out of order"
                raise ManifestError(f"{path} is {problem}", where=f"{where}:{number}")
            hashes[path], last = digest, path
        return cls(hashes)

    @classmethod
    def read(cls, bag: Path) -> Manifest:
        """Read the manifest of a bag."""
        path = bag / MANIFEST
        return cls.parse(read_tag_file(path, ManifestError), where=path)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the manifest file."""
        return (f"{digest}  {path}\n".encode() for path, digest in self.hashes.items())

    @property
    def content(self) -> bytes:
        """The bytes of the manifest file."""
        return b"".join(self.lines())

    @cached_property
    def digest(self) -> str:
        """The dataset digest: ``sha256:`` and the sha256 of `content` in hex."""
        digest = hashlib.sha256()
        for line in self.lines():  # a large manifest is never whole in memory
            digest.update(line)
        return f"sha256:{digest.hexdigest()}"


def _parse_line(line: bytes, where: str) -> tuple[str, str]:
    try:
        text = line[:-1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError("not UTF-8", where=where) from error
    match = _LINE.fullmatch(text)
    if not match:
        raise ManifestError(
            "not a manifest line", where=where, expected="64 hex digits, two spaces and a path", found=f"{text[:100]!a}"
        )
    return check_path(match[2], where), match[1]
