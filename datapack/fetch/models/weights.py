"""The weights of a model: which file they are, and whether loading one of the files would run code."""

from __future__ import annotations

import os
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.errors import DatapackError, FetchError, shown
from datapack.files import disk_errors, open_regular
from datapack.weights.read import HEAD, is_safetensors, read_weights
from datapack.weights.scan import scan
from datapack.weights.torch_legacy import runs_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from datapack.fetch.payload import Payload

SCAN = "pickle-scan.txt"  # its path in the payload
# Files that are weights by their names.
ENDING = ".safetensors"
SUFFIXES = frozenset({ENDING, ".pt", ".pth", ".ckpt", ".bin", ".onnx", ".keras", ".h5"})
# Files that Python's pickle or PyTorch would read: by their names, or by how they begin.
_PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"})
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"  # a pickle since protocol 2, and PyTorch's archives
_OPENED = {"PyTorch", "PyTorch before 1.6", "PyTorch before 0.2", "pickle"}  # formats whose calls are known
_HIGHEST = 5  # protocol of pickles
_UNKNOWN = "unknown: "
_SHOWN = 5


def find_weights(payload: Payload, named: str | None, where: str) -> str:
    """Return the payload path of the weights: the one that is named, or else the only weights file.

    Raises:
        FetchError: the file is not there, or none or several could be meant.
    """
    if named is not None:
        if not payload.has(named):
            fix = "name a file that one of the sources gives, with its folder"
            raise FetchError("no such file in the payload", where=f"{where}: weights: {named}", fix=fix)
        return named
    found = sorted(path for path in payload.hashes if PurePosixPath(path).suffix.lower() in SUFFIXES)
    if len(found) == 1:
        return found[0]
    raise FetchError(
        "several files could be the weights" if found else "no file in the payload has the name of a weights file",
        where=where,
        expected=f"one file that ends in {', '.join(sorted(SUFFIXES))}",
        found=", ".join(found[:_SHOWN]) or None,
        fix="name the file with 'weights' in the section 'model'",
    )


def scan_pickles(payload: Payload, reason: str | None, where: str) -> bytes | None:
    """Find out what loading the files of the payload would run; nothing is loaded.

    Args:
        payload: all files of a model.
        reason: why the catalog accepts pickles that run code; None if it does not.
        where: the version, for errors.

    Returns:
        What would be run and the reason, for `SCAN`; None if no file runs code.

    Raises:
        FetchError: a file would run code, and the catalog does not accept that.
    """
    with disk_errors(payload.folder):
        pickles = sorted(path for path in payload.hashes if is_pickle(payload.folder / path))
        found = {path: calls for path in pickles if (calls := _calls(payload.folder / path))}
    if not found:
        return None
    if reason is None:
        raise _refusal(found, where)
    return "".join(f"{line}\n" for line in _result(payload, found, reason)).encode()


def _refusal(found: Mapping[str, tuple[str, ...]], where: str) -> FetchError:
    path, calls = next(iter(found.items()))
    details = tuple(f"{path}: {call}" for path, calls in found.items() for call in calls)
    more = f", and {len(calls) - _SHOWN:,} more" if len(calls) > _SHOWN else ""
    known = not calls[0].startswith(_UNKNOWN)
    return FetchError(
        "loading this pickle would run code" if known else "nobody can tell what loading this file would run",
        where=f"{where}: {path}",
        found=f"{', '.join(calls[:_SHOWN])}{more}",
        fix="use safetensors, or give the section 'model' either 'convert: true' or 'allow_pickle: <reason>'",
        details=details if len(details) > 1 else (),
    )


def is_pickle(path: Path) -> bool:
    """Whether PyTorch or Python's pickle would take a file for a pickle: by its name, its first bytes, or its calls."""
    with open_regular(path, FetchError, follow=False) as file:
        head = file.read(HEAD)
        runs = runs_code(file, file.seek(0, os.SEEK_END))
    suffix = path.suffix.lower()
    begins_so = head[:1] == _PICKLE and head[1:2] <= bytes([_HIGHEST])
    if is_safetensors(head):  # its length in the first bytes can look like a pickle; by this name, nobody unpickles it
        return begins_so and suffix != ENDING
    return begins_so or runs or suffix in _PICKLES or (head.startswith(_ZIP) and _has_pickle(path))


def _has_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).suffix.lower() in _PICKLES for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError):
        return False  # PyTorch can't read it either


def _calls(path: Path) -> tuple[str, ...]:
    """Return what loading a file would call; what can't be told counts as a call."""
    try:
        read = read_weights(path)
    except DatapackError as error:
        found = "" if error.found is None else f": {error.found}"  # without the place, which is another one elsewhere
        return (f"{_UNKNOWN}{error.what}{found}",)
    return read.calls if read.format in _OPENED else (f"{_UNKNOWN}its name is that of {read.format}",)


def _result(payload: Payload, found: Mapping[str, tuple[str, ...]], reason: str) -> Iterator[str]:
    """Yield the lines of the result. The same files give the same lines."""
    yield "Loading these files with Python's pickle or PyTorch runs code. Read this before you do."
    yield f"reason to pack them anyway: {shown(reason)}"
    for path, calls in found.items():
        yield ""
        yield f"{path}, sha256 {payload.hashes[path]}"
        yield from (f"  would run  {shown(call)}" for call in calls)
        yield from (f"  picklescan {shown(line)}" for line in scan(payload.folder / path))
