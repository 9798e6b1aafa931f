"""Checksums as the catalog and lists of files write them."""

from __future__ import annotations

import re

from datapack.hashing import DIGITS, GIT_BLOB, Checksum

_HEX = re.compile(r"[0-9a-f]+")
PUBLISHED = tuple(
    algorithm for algorithm in DIGITS if algorithm != GIT_BLOB
)  # the best first: a sha256 is computed anyway


def parse_digits(algorithm: str, text: str) -> Checksum:
    """Read the digits of a whole checksum; raise `ValueError`, which says what is wrong, if they are not that."""
    digits, needed = text.strip().lower(), DIGITS[algorithm]
    if not _HEX.fullmatch(digits):
        raise ValueError(f"not a {algorithm}: expected {needed} hexadecimal digits")
    if len(digits) != needed:
        raise ValueError(f"not a {algorithm}: expected {needed} hexadecimal digits, found {len(digits)}")
    return Checksum(algorithm, digits)


def parse_checksum(text: str) -> Checksum:
    """Read a checksum that names its algorithm, such as ``md5:...``, or whose length tells it."""
    before, colon, digits = text.strip().rpartition(":")
    algorithm = before.strip().lower().replace("-", "")
    if not colon:
        algorithm = next((name for name in PUBLISHED if DIGITS[name] == len(digits)), "")
    if algorithm not in PUBLISHED:
        raise ValueError(f"not a checksum: expected {', '.join(f'{name}:...' for name in PUBLISHED)}")
    return parse_digits(algorithm, digits)
