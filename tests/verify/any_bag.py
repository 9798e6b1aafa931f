"""Bags of several tools, and what datapack and bagit.py say of them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING

import bagit

from datapack.errors import DatapackError
from datapack.progress import Silent
from datapack.verify.bag import verify_bag
from tests.bags import write_bag

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"a.png": b"one", "deep/b c.png": b"two", "deep/ö.png": b"", "Z": b"three"}
A = hashlib.sha256(FILES["a.png"]).hexdigest()
logging.getLogger("bagit").setLevel(logging.CRITICAL)


def make(folder: Path, kind: str) -> Path:
    """Make a sound bag, by datapack's rules or by bagit.py."""
    if kind == "ours":
        write_bag(folder, FILES)
        return folder
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    algorithms = {"bagit.py": None, "md5": ["md5", "sha256"]}[kind]
    bagit.make_bag(str(folder), {"Contact-Name": "A\n B"}, checksums=algorithms)
    return folder


def reseal(folder: Path) -> None:
    """Write the tag manifests anew, so that they agree with the other tag files."""
    for manifest in folder.glob("tagmanifest-*.txt"):
        algorithm = manifest.stem.partition("-")[2]
        others = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("tagm"))
        lines = (f"{hashlib.new(algorithm, path.read_bytes()).hexdigest()}  {path.name}\n" for path in others)
        manifest.write_text("".join(lines))


def problem(folder: Path) -> str:
    """Return what datapack says is wrong with a bag; nothing if it is sound."""
    try:
        verify_bag(folder, "full", Silent())
    except DatapackError as error:
        return "\n".join([str(error), *error.details])
    return ""


def is_valid(folder: Path) -> bool:
    """Whether bagit.py finds a bag valid; it raises errors of many kinds for one that is not."""
    with contextlib.suppress(Exception):
        return bool(bagit.Bag(str(folder)).validate())
    return False
