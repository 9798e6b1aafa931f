"""Signatures on disk: files beside what they are of, so that they can be kept in git.

Those of ``v1`` are ``v1.sigstore.json`` and any ``v1.NAME.sigstore.json``, where others can put theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import DatapackError, SignatureError, UsageError
from datapack.files import atomic_writer, read_limited
from datapack.signing.bundle import LIMIT, Bundle
from datapack.signing.check import Found

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.signing.keys import PublicKey

ENDING = ".sigstore.json"


def own_file(path: Path) -> Path:
    """Return where the signature of a bag, a layout or an archive is written."""
    return path.with_name(f"{path.name}{ENDING}")


def provenance_file(file: Path) -> Path:
    """Return where the signature of an image's provenance is written, beside that of the image itself."""
    return file.with_name(f"{file.name.removesuffix(ENDING)}.provenance{ENDING}")


def files_beside(path: Path) -> list[Path]:
    """Return the files with signatures of a bag, a layout or an archive, sorted; folders are none."""
    if not path.parent.is_dir():
        return []
    named = (other for other in path.parent.iterdir() if other.name.startswith(f"{path.name}."))
    return sorted(other for other in named if other.name.endswith(ENDING) and not other.is_dir())


def read_found(path: Path) -> Found:
    """Read a file that should be a signature."""
    try:
        return Found(str(path), read_limited(path, LIMIT, SignatureError))
    except DatapackError as error:
        return Found(str(path), b"", str(error))


def write_bundle(path: Path, bundle: Bundle, key: PublicKey) -> None:
    """Write a signature; replace an earlier one only if it names the same key.

    Raises:
        UsageError: something else is there.
    """
    _check_replaceable(path, key)
    with atomic_writer(path) as file:
        file.write(bundle.content)


def _check_replaceable(path: Path, key: PublicKey) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir():
        raise UsageError("a folder is where the signature should go", where=path, fix="name another file with --output")
    try:
        found = Bundle.parse(read_limited(path, LIMIT, SignatureError), path)
    except DatapackError as error:
        fix = "name another file with --output"
        raise UsageError("something else is where the signature should go", where=path, found=error, fix=fix) from error
    if not found.names(key):
        other = f"{path.name.removesuffix(ENDING)}.NAME{ENDING}"
        fix = f"put yours beside it: --output {path.with_name(other)}"
        raise UsageError("a signature by another key is here", where=path, found=f"the hint {found.hint}", fix=fix)
