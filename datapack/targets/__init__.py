"""Targets: where an image is written. Each form is one module with one class, named as in skopeo and podman.

A target takes the blobs of an image one by one, returns the digest of each, and at the end takes the image's manifest.
Until then nothing is visible under the target's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.targets.target import Delivery, Target

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["FORMS", "Delivery", "Target", "open_target"]

FORMS = "oci:DIR, oci-archive:FILE (or - for a pipe), docker-daemon:[NAME:TAG], docker://[REGISTRY/NAME:TAG]"


def open_target(text: str, delivery: Delivery) -> AbstractContextManager[Target]:
    """Open the target that ``text`` names.

    Raises:
        UsageError: there is no such form.
        ImageError: it can't be written, or contains something else.
    """
    folder, reference = delivery.folder, delivery.entry.reference
    form, _, name = text.partition(":")
    if form == "oci" and name and ":" not in name:
        from datapack.targets.layout import open_layout

        return open_layout(folder / name, reference, verify=delivery.verify)
    if form == "oci-archive" and name and ":" not in name:
        from datapack.targets.archive import open_archive, open_pipe

        return open_pipe() if name == "-" else open_archive(folder / name, reference)
    if form == "docker-daemon":
        from datapack.targets.daemon import open_daemon

        return open_daemon(name or f"{reference.name}:{reference.version}")
    if form == "docker" and name.startswith("//"):
        from datapack.targets.registry import open_registry

        return open_registry(name.removeprefix("//"), delivery)
    raise UsageError("not a target", where=repr(text), expected=FORMS)
