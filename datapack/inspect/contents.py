"""What the first bytes of files that are no images show: archives, programs, pickles, web pages, keys and tokens."""

from __future__ import annotations

import io
import os
import pickletools
import re
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.content import WrongContentError, check_content
from datapack.inspect.model import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHIVE, PROGRAM, PICKLE = "archive", "program", "pickle"
_LARGEST_TEXT = 1 << 18  # bytes of a file in which secrets are looked for: files with keys are small

_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_ZIP_FORMS = (  # files that are ZIP archives, and that programs read as they are
    *(".npz", ".xlsx", ".xlsm", ".docx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".whl", ".apk", ".keras", ".kmz"),
    *(".epub", ".ora", ".mcworld", ".zarr", ".ipa", ".vsix", ".nupkg", ".cbz", ".sketch", ".xpi"),
)
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin")  # of PyTorch: archives of pickles
_PICKLES = (".pkl", ".pickle", ".joblib")
_PAGES = (".html", ".htm", ".xhtml", ".md", ".xml", ".php", ".j2", ".svg", ".vue", ".mhtml", ".hbs", ".erb")
_CHECKED = (".zip", ".json")
_BEGINNINGS = {
    ".pdf": b"%PDF",
    ".h5": b"\x89HDF",
    ".hdf5": b"\x89HDF",
    ".npy": b"\x93NUMPY",
    ".npz": b"PK",
    ".xlsx": b"PK",
    ".docx": b"PK",
    ".gz": b"\x1f\x8b",
    ".sqlite": b"SQLite format 3\0",
}

_IS_ARCHIVE = re.compile(rb"Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|.{257}ustar", re.DOTALL)
_ZIP = b"PK\x03\x04"
_PROGRAM = re.compile(rb"\x7fELF|MZ.{58}|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe", re.DOTALL)
_PICKLED = re.compile(rb"\x80[\x02-\x05](?:\x95.{6}\0\0|[\x28\x29\x5d\x63\x7d\x8a\x8c\x58\x71])", re.DOTALL)
_FEW = 8  # opcodes that bytes which are no pickle hardly have in a row
_OBJECTS = re.compile(rb"\x93NUMPY.{0,40}'descr':\s?'\|O", re.DOTALL)

# Secrets whose form leaves no doubt: how each is found fast, and what it is then.
_SECRETS: tuple[tuple[str, tuple[bytes, ...], re.Pattern[bytes]], ...] = (
    ("private key", (b"PRIVATE KEY",), re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    ("AWS access key", (b"AKIA", b"ASIA"), re.compile(rb"(?<![A-Z0-9])A(?:KI|SI)A[A-Z2-7]{16}(?![A-Z0-9])")),
    (
        "GitHub token",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        re.compile(rb"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82}"),
    ),
    ("GitLab token", (b"glpat-",), re.compile(rb"glpat-[A-Za-z0-9_-]{20}")),
    (
        "Kaggle key",
        (b'"key"', b"KGAT_"),
        re.compile(
            rb'"username"\s{0,9}:\s{0,9}"[^"]{1,60}"\s{0,9},\s{0,9}"key"\s{0,9}:\s{0,9}"[0-9a-f]{32}"|KGAT_[0-9a-f]{32}'
        ),
    ),
    ("Hugging Face token", (b"hf_",), re.compile(rb"(?<![A-Za-z0-9_])hf_[A-Za-z]{34}(?![A-Za-z0-9])")),
    ("Slack token", (b"xox",), re.compile(rb"xox[abprs]-[0-9]{10,13}-[A-Za-z0-9-]{20}")),
    ("Google API key", (b"AIza",), re.compile(rb"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
)


def read_content(file: BinaryIO, path: str, head: bytes) -> Content | None:
    """Look into a file; return None if there is nothing to say.

    Args:
        file: open for reading; its position changes.
        path: its path in the payload.
        head: its first bytes.
    """
    name = path.lower()
    secrets: tuple[str, ...] = ()
    if b"\0" not in head and file.seek(0, os.SEEK_END) <= _LARGEST_TEXT:
        file.seek(0)
        secrets = tuple(_secrets(file.read(_LARGEST_TEXT)))
    form = _form(name, head)
    problem = "" if form or not head else _problem(name, head)
    return Content(path, form, secrets, problem) if form or secrets or problem else None


def _secrets(text: bytes) -> Iterator[str]:
    for name, signs, pattern in _SECRETS:
        if any(sign in text for sign in signs) and pattern.search(text):
            yield name


def _form(name: str, head: bytes) -> str:
    if name.endswith(_PICKLES) or (name.endswith(_WEIGHTS) and head.startswith(_ZIP)):
        return PICKLE
    if _is_pickle(head) or _OBJECTS.match(head):
        return PICKLE
    if _IS_ARCHIVE.match(head) or (head.startswith(_ZIP) and not name.endswith(_ZIP_FORMS)):
        return ARCHIVE
    if name.endswith(_ARCHIVES) and head.startswith(_PACKED):
        return ARCHIVE
    return PROGRAM if _is_program(head) else ""


def _is_pickle(head: bytes) -> bool:
    """Whether a file begins with opcodes of a pickle: one of 65,536 files of any bytes begins with the same two."""
    if not _PICKLED.match(head):
        return False
    count = 0
    try:
        for _ in pickletools.genops(head):
            count += 1
    except ValueError as error:  # an unknown opcode, or the end of what was read
        return count >= _FEW or "unknown" not in str(error)
    return True


def _is_program(head: bytes) -> bool:
    if not _PROGRAM.match(head):
        return False
    if head.startswith(b"MZ"):
        place = int.from_bytes(head[60:64], "little")
        return head[place : place + 4] == b"PE\0\0"
    return True


def _problem(name: str, head: bytes) -> str:
    """Say how a file differs from what its name says; nothing if it does not."""
    ending = os.path.splitext(name)[1]  # noqa: PTH122 - a name in a list, not a path on this disk
    if ending in _PAGES:
        return ""
    try:
        check_content(io.BytesIO(head), f"x{ending}" if ending in _CHECKED else "x")
    except WrongContentError as error:
        return str(error)
    return "" if head.startswith(_BEGINNINGS.get(ending, b"")) else f"not a {ending} file"
