"""Targets: where an image is written. Each form is one module with one class, named as in skopeo and podman.

A target takes the blobs of an image one by one, returns the digest of each, and at the end takes the image's manifest.
Until then nothing is visible under the target's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.image.kinds import image_name, image_title
from datapack.targets.target import Delivery, Target

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from datapack.catalog.model import Entry

__all__ = ["FORMS", "Delivery", "Target", "check_target", "open_target", "parse_target"]

FORMS = "oci:DIR, oci-archive:FILE (or - for a pipe), docker-daemon:[NAME:TAG], docker://[REGISTRY/NAME:TAG]"


def check_target(text: str, entry: Entry, *, runnable: bool = False) -> None:
    """Check all that can be known of a target without its disk, engine or registry, before any work is done.

    Raises:
        UsageError: ``text`` names no target, or one that can't take this version's image.
    """
    form, name = parse_target(text)
    if form == "oci-archive" and name == "-":
        from datapack.targets.archive import check_pipe

        check_pipe()
    elif form == "docker-daemon":
        from datapack.targets.daemon import check_name

        check_name(name or _tagged(entry, runnable=runnable))
    elif form == "docker":
        from datapack.targets.registry import pushed_name

        pushed_name(name, entry, runnable=runnable)


def open_target(text: str, delivery: Delivery) -> AbstractContextManager[Target]:
    """Open the target that ``text`` names.

    Raises:
        UsageError: there is no such form.
        ImageError: it can't be written, or contains something else.
    """
    folder = delivery.folder
    tagged = _tagged(delivery.entry, runnable=delivery.runnable)
    title = image_title(delivery.entry.reference, runnable=delivery.runnable)
    form, name = parse_target(text)
    if form == "oci":
        from datapack.targets.layout import open_layout

        return open_layout(folder / name, title, delivery.others, verify=delivery.verify)
    if form == "oci-archive":
        from datapack.targets.archive import open_archive, open_pipe

        return open_pipe() if name == "-" else open_archive(folder / name, title, tagged)
    if form == "docker-daemon":
        from datapack.targets.daemon import open_daemon

        return open_daemon(name or tagged, delivery.reporter)
    from datapack.targets.registry import open_registry

    return open_registry(name, delivery)


def parse_target(text: str) -> tuple[str, str]:
    """Split a target into its form and its name, which may be empty for an engine or a registry."""
    form, _, name = text.partition(":")
    if form == "docker" and name.startswith("//"):
        return form, name.removeprefix("//")
    if form == "docker-daemon" or (form in {"oci", "oci-archive"} and name and ":" not in name):
        return form, name
    raise UsageError("not a target", where=repr(text), expected=FORMS)


def _tagged(entry: Entry, *, runnable: bool) -> str:
    """Return the default name of an image: ``name:version``."""
    return f"{image_name(entry.reference, runnable=runnable)}:{entry.reference.version}"
