"""Verify: check a bag, or an image wherever it is, against its manifest.

``quick`` checks names and sizes; ``full`` reads every byte, once. Both report everything that is wrong, sorted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.catalog.lock import Lock
from datapack.errors import BagError, DatapackError, MismatchError, UsageError
from datapack.hashing import is_digest
from datapack.image.base import PLATFORM, find_base
from datapack.oci.archive import Archive
from datapack.oci.image import StoredImage, read_image
from datapack.oci.layout import Layout
from datapack.reference import Reference
from datapack.verify.bag import verify_bag
from datapack.verify.image import verify_image
from datapack.verify.outcome import Mode, Verified

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

__all__ = ["FORMS", "Mode", "Verified", "verify", "verify_bag", "verify_image"]

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
    form, colon, name = text.partition(":")
    if colon and form == "oci":
        return _verify_local(Layout.at(folder, name), text, workspace, mode, reporter)
    if colon and form == "oci-archive":
        return _verify_local(Archive.at(folder, name), text, workspace, mode, reporter)
    if text.startswith("docker://"):
        return _verify_remote(text, workspace, mode, reporter, insecure)
    if (folder / text).is_dir():
        if (folder / text / "index.json").is_file() and not (folder / text / "data").exists():
            raise UsageError("an image's folder, not a bag's", where=text, fix=f"verify it as 'oci:{text}'")
        return replace(verify_bag(folder / text, mode, reporter), where=text)
    if "@" not in text or workspace is None:
        raise UsageError("not something that datapack can verify", where=repr(text), expected=FORMS)
    return _verify_reference(text, workspace, mode, reporter)


def _verify_reference(text: str, workspace: Workspace, mode: Mode, reporter: Reporter) -> Verified:
    reference = Reference.parse(text)
    locked = Lock.read(workspace.lock).entries.get(reference)
    if not workspace.bag(reference).exists():
        raise BagError("its bag is not here", where=text, fix=f"fetch it with 'datapack fetch {text}'")
    verified = verify_bag(workspace.bag(reference), mode, reporter)
    if locked is not None and locked.digest != verified.digest:
        raise MismatchError(
            "the bag is not the one in the lock", where=text, expected=locked.digest, found=verified.digest
        )
    return replace(verified, where=text)


def _verify_local(
    storage: Layout | Archive, text: str, workspace: Workspace | None, mode: Mode, reporter: Reporter
) -> Verified:
    verified = verify_image(storage, text, mode, reporter, lambda _, digest: _cached_base(workspace, digest))
    return _compare_with_lock(verified, workspace)


def _verify_remote(text: str, workspace: Workspace | None, mode: Mode, reporter: Reporter, insecure: bool) -> Verified:
    from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
    from datapack.registry.referrers import check_statements

    name = ImageName.parse(text.removeprefix("docker://"))
    image = RemoteImage.find(Repository(RegistryClient(name, insecure=insecure)))

    def find_base(base: str, digest: str) -> StoredImage | None:
        """Ask the image's own registry too, and no other: anyone may have written the name of another."""
        known = _cached_base(workspace, digest)
        if known is not None or base.partition("/")[0] != name.registry:
            return known
        try:
            there = ImageName.parse(f"{base}@{digest}")
            remote = RemoteImage.find(Repository(RegistryClient(there, insecure=insecure)))
            return read_image(remote, remote.image(), base, PLATFORM)
        except DatapackError:
            return None

    verified = _compare_with_lock(verify_image(image, text, mode, reporter, find_base), workspace)
    return replace(verified, statements=check_statements(image))


def _cached_base(workspace: Workspace | None, digest: str) -> StoredImage | None:
    """Return the base with a digest if it was ever fetched here."""
    if workspace is None or not is_digest(digest):
        return None
    return find_base(Layout(workspace.bases), digest, digest)


def _compare_with_lock(verified: Verified, workspace: Workspace | None) -> Verified:
    """Raise `MismatchError` if the lock has another image of the version; if it has this one, its base is right too."""
    locked = Lock.read(workspace.lock).entries.get(verified.reference) if workspace and verified.reference else None
    if locked is None:
        return verified
    for what, expected, found in (
        ("dataset", locked.digest, verified.digest),
        ("image", locked.image and locked.image.digest, verified.image),
    ):
        if expected and expected != found:
            raise MismatchError(
                f"the {what} is not the one in the lock", where=verified.where, expected=expected, found=found
            )
    known = locked.image is not None and verified.base_check != "closed"
    return replace(verified, base_check="compared") if known else verified
