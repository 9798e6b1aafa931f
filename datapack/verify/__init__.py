"""Verify: hold a bag, or an image wherever it is, against its manifest.

``quick`` looks at names and sizes; ``full`` reads every byte, once. Both report everything that is wrong, sorted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.catalog.lock import Lock
from datapack.errors import BagError, MismatchError, UsageError
from datapack.oci.image import open_image
from datapack.reference import Reference
from datapack.verify.bag import verify_bag
from datapack.verify.image import verify_image
from datapack.verify.outcome import Mode, Verified

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

__all__ = ["FORMS", "Mode", "Verified", "verify", "verify_bag", "verify_image"]

FORMS = "NAME@VERSION, oci:DIR, oci-archive:FILE, docker://REGISTRY/NAME:TAG or a bag's folder"


def verify(
    text: str, folder: Path, workspace: Workspace | None, mode: Mode, reporter: Reporter, *, insecure: bool = False
) -> Verified:
    """Verify what ``text`` names, in one of `FORMS`.

    Args:
        text: what to verify.
        folder: where relative paths start.
        workspace: where a reference's bag and lock are; None outside any.
        mode: how closely to look.
        reporter: told how far it is.
        insecure: take a registry without TLS, or with a certificate that nobody vouches for.

    Raises:
        MismatchError: it differs; ``details`` has a line per difference, sorted.
        DatapackError: it can't be read at all.
    """
    form, colon, name = text.partition(":")
    if colon and form in {"oci", "oci-archive"}:
        with open_image(form, folder / name) as image:
            return verify_image(image, text, mode, reporter)
    if text.startswith("docker://"):
        return _verify_remote(text, workspace, mode, reporter, insecure)
    if (folder / text).is_dir():
        return replace(verify_bag(folder / text, mode, reporter), where=text)
    if "@" not in text or workspace is None:
        raise UsageError("nothing to verify", where=repr(text), expected=FORMS)
    return _verify_reference(text, workspace, mode, reporter)


def _verify_reference(text: str, workspace: Workspace, mode: Mode, reporter: Reporter) -> Verified:
    reference = Reference.parse(text)
    locked = Lock.read(workspace.lock).entries.get(reference)
    if not workspace.bag(reference).exists():
        raise BagError("there is no bag of it here", where=text, fix=f"'datapack fetch {text}' brings it")
    verified = verify_bag(workspace.bag(reference), mode, reporter)
    if locked is not None and locked.digest != verified.digest:
        raise MismatchError(
            "the bag is not the one that the lock names", where=text, expected=locked.digest, found=verified.digest
        )
    return replace(verified, where=text)


def _verify_remote(text: str, workspace: Workspace | None, mode: Mode, reporter: Reporter, insecure: bool) -> Verified:
    """Verify an image in a registry, as it is there, and that it is the one that the lock names, if one does."""
    from datapack.registry import Connection, ImageName, Repository
    from datapack.registry.image import RemoteImage

    repository = Repository(Connection(ImageName.parse(text.removeprefix("docker://")), insecure=insecure))
    image = RemoteImage.of(repository)
    verified = verify_image(image, text, mode, reporter)
    locked = Lock.read(workspace.lock).entries.get(verified.reference) if workspace and verified.reference else None
    if locked and locked.image and locked.image.digest != verified.image:
        raise MismatchError(
            "the image in the registry is not the one that the lock names",
            where=text,
            expected=locked.image.digest,
            found=verified.image,
        )
    return replace(verified, statements=image.check_statements())
