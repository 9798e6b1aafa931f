"""The images of a version in the lock: a build must give the same ones again, unless the user accepts others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.catalog.lock import LockedImage, LockedRunnable
from datapack.errors import MismatchError

if TYPE_CHECKING:
    from datapack.catalog.lock import LockEntry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.reference import Reference


def with_image(locked: LockEntry, image: Image, base: Base, parent: str | None, packing: str) -> LockEntry:
    """Add the image, and how it was made, to an entry of the lock.

    The version's other kind of image stays in it, unless that has other data layers.
    """
    same = (locked.parent, locked.packing) in {(parent, packing), (None, None)}
    entry = replace(locked, parent=parent, packing=packing)
    layers = tuple(layer.digest for layer in image.layers)
    if image.runnable:
        made = LockedRunnable(image.digest, image.id, layers, base.digest)
        return replace(entry, runnable=made) if same else replace(_without_import(entry), runnable=made)
    return replace(
        entry,
        base=base.digest,
        stand_in=base.is_stand_in or None,
        images=(LockedImage(image.digest, image.id, layers),),
        runnable=entry.runnable if same else None,
    )


def _without_import(entry: LockEntry) -> LockEntry:
    return replace(entry, base=None, stand_in=None, images=())


def image_in(locked: LockEntry, *, runnable: bool) -> LockedImage | None:
    """Return the version's image of this kind in the lock."""
    return locked.runnable if runnable else locked.image


def base_in(locked: LockEntry, *, runnable: bool) -> str | None:
    """Return the digest of the base of the version's image of this kind in the lock."""
    if runnable:
        return locked.runnable.base if locked.runnable else None
    return locked.base


def check_base(
    locked: LockEntry | None, reference: Reference, base: Base, *, runnable: bool, update_lock: bool
) -> None:
    """Raise `MismatchError` if the base is not the one in the lock, before any work is done."""
    earlier = base_in(locked, runnable=runnable) if locked else None
    if update_lock or earlier in {None, base.digest}:
        return
    raise MismatchError(
        "the base is not the one in the lock",
        where=reference,
        expected=earlier,
        found=f"{base.digest} ({base.name})",
        fix="restore the locked base, or accept the new one with --update-lock",
    )


def check_image(image: Image, locked: LockEntry, made: LockEntry, *, update_lock: bool) -> None:
    """Raise `MismatchError` if the image is not the one in the lock."""
    earlier = image_in(locked, runnable=image.runnable)
    if update_lock or not earlier or earlier.digest == image.digest:
        return
    before, after = earlier.layers, tuple(layer.digest for layer in image.layers)
    details = []
    if locked.parent != made.parent:
        details.append(f"changed  the parent: {locked.parent or 'none'} is now {made.parent or 'none'}")
    details += [f"added    layer {digest}" for digest in after if digest not in before]
    details += [f"removed  layer {digest}" for digest in before if digest not in after]
    raise MismatchError(
        "the image is not the one in the lock",
        where=image.title,
        expected=earlier.digest,
        found=image.digest,
        fix="find out what changed, or accept it with --update-lock",
        details=tuple(details)
        or ("changed  the image's configuration: its labels, its base's name or datapack itself",),
    )
