"""Bags as in an image, made without datapack, so that the tests do not rely on what they test."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_bag(folder: Path, files: Mapping[str, bytes], licence: str = "CC-BY-4.0") -> str:
    """Write a bag with these payload files, named below ``data/``; return its dataset digest."""
    for name, content in files.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    size = sum(map(len, files.values()))
    info = f"External-Identifier: reef@v1\nLicence: {licence}\nPayload-Oxum: {size}.{len(files)}\n"
    tags = {
        "bag-info.txt": info.encode(),
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "manifest-sha256.txt": _manifest({f"data/{name}": content for name, content in files.items()}),
    }
    tags["tagmanifest-sha256.txt"] = _manifest(tags)
    for name, content in tags.items():
        (folder / name).write_bytes(content)
    return digest_of(folder)


def digest_of(folder: Path) -> str:
    """Return a bag's dataset digest."""
    return f"sha256:{hashlib.sha256((folder / 'manifest-sha256.txt').read_bytes()).hexdigest()}"


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _manifest(files: Mapping[str, bytes]) -> bytes:
    names = sorted(files, key=str.encode)
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names).encode()
