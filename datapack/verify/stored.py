"""Verify an image where it is stored, in a layout, an archive or a registry; then compare it with the lock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.catalog.lock import Lock
from datapack.errors import DatapackError, MismatchError
from datapack.hashing import is_digest
from datapack.image.base import PLATFORM, find_base
from datapack.oci.archive import Archive
from datapack.oci.image import StoredImage, read_image
from datapack.oci.layout import Layout
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import check_statements
from datapack.verify.image import verify_image

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.verify.outcome import Mode, Verified
    from datapack.workspace.folder import Workspace


def verify_local(text: str, folder: Path, workspace: Workspace | None, mode: Mode, reporter: Reporter) -> Verified:
    """Verify an image on disk, ``oci:DIR[:TAG]`` or ``oci-archive:FILE[:TAG]``, from ``folder`` on."""
    form, _, name = text.partition(":")
    storage = Layout.at(folder, name) if form == "oci" else Archive.at(folder, name)
    verified = verify_image(storage, text, mode, reporter, lambda _, digest: _cached_base(workspace, digest))
    return _compare_with_lock(verified, workspace)


def verify_remote(
    text: str, workspace: Workspace | None, mode: Mode, reporter: Reporter, *, insecure: bool
) -> Verified:
    """Verify an image in a registry, ``docker://REGISTRY/NAME:TAG``, and the statements attached to it."""
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
    image = locked.runnable if verified.runnable else locked.image
    for what, expected, found in (
        ("dataset", locked.digest, verified.digest),
        ("image", image and image.digest, verified.image),
    ):
        if expected and expected != found:
            raise MismatchError(
                f"the {what} is not the one in the lock", where=verified.where, expected=expected, found=found
            )
    known = image is not None and verified.base_check != "closed"
    return replace(verified, base_check="compared") if known else verified
