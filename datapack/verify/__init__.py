"""Verify: check a bag, or an image wherever it is, against its manifest.

``quick`` checks names and sizes; ``full`` reads every byte, once. Both report everything that is wrong, sorted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.bag.bagit import DECLARATION
from datapack.catalog.lock import Lock
from datapack.errors import BagError, MismatchError, UsageError
from datapack.reference import Reference
from datapack.verify.bag import verify_bag
from datapack.verify.outcome import Mode, Verified

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

__all__ = ["FORMS", "Mode", "Verified", "verify", "verify_bag"]

FORMS = "NAME@VERSION, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker://REGISTRY/NAME:TAG or a bag's folder"


def verify(
    text: str, folder: Path, workspace: Workspace | None, mode: Mode, reporter: Reporter, *, insecure: bool = False
) -> Verified:
    """Verify what ``text`` names, in one of these `FORMS`.

    Args:
        text: what to verify.
        folder: where relative paths start.
        workspace: where a reference's bag and lock are; None outside any.
        mode: what to check.
        reporter: receives the progress.
        insecure: accept a registry without TLS, or with an untrusted certificate.

    Raises:
        MismatchError: it differs; ``details`` has a line per difference, sorted.
        DatapackError: it can't be read at all.
    """
    if text in {"", "oci:", "oci-archive:", "docker://"}:
        raise UsageError("not something that datapack can verify", where=repr(text), expected=FORMS)
    if text.startswith(("oci:", "oci-archive:")):
        from datapack.verify.stored import verify_local

        return verify_local(text, folder, workspace, mode, reporter)
    if text.startswith("docker://"):
        from datapack.verify.stored import verify_remote

        return verify_remote(text, workspace, mode, reporter, insecure=insecure)
    if (folder / text).is_dir():
        _check_folder(folder / text, text)
        return replace(verify_bag(folder / text, mode, reporter), where=text)
    if "@" not in text:
        raise UsageError("not something that datapack can verify", where=repr(text), expected=FORMS)
    return _verify_reference(text, workspace, mode, reporter)


def _check_folder(path: Path, text: str) -> None:
    """Raise an error for a folder that is no bag at all, and say what else may have been meant."""
    if (path / "index.json").is_file() and not (path / "data").exists():
        raise UsageError("an image's folder, not a bag's", where=text, fix=f"verify it as 'oci:{text}'")
    try:
        (path / DECLARATION).lstat()
    except FileNotFoundError:
        raise BagError(
            "not a bag",
            where=text,
            expected=f"a folder with {DECLARATION} and data",
            found=f"no {DECLARATION}",
            fix="name a version, NAME@VERSION, or the folder of a bag, such as data/NAME/VERSION",
        ) from None


def _verify_reference(text: str, workspace: Workspace | None, mode: Mode, reporter: Reporter) -> Verified:
    reference = Reference.parse(text)
    if workspace is None:
        raise UsageError("no datasets.yml here or in any folder above", where=text, fix="name its folder with -C")
    locked = Lock.read(workspace.lock).entries.get(reference)
    if not workspace.bag(reference).exists():
        from datapack.catalog.model import Catalog

        Catalog.read(workspace.catalog).entry(reference)  # or it says that there is no such version to fetch
        raise BagError("its bag is not here", where=text, fix=f"fetch it with 'datapack fetch {text}'")
    verified = verify_bag(workspace.bag(reference), mode, reporter)
    if locked is not None and locked.digest != verified.digest:
        raise MismatchError(
            "the bag is not the one in the lock", where=text, expected=locked.digest, found=verified.digest
        )
    return replace(verified, where=text)
