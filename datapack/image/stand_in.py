"""Stand-in bases: made of busybox for tests and the demo, never for a Safe Haven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.registry import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

STAND_IN = "datapack.stand-in"  # a label of such a base, and of images based on it
STAND_IN_MEANS = "a stand-in base, for tests and the demo only"


def refuse_stand_in(labels: Mapping[str, str], registry: str) -> None:
    """Allow an image based on a stand-in only in a registry on this machine.

    Args:
        labels: the image's labels or annotations.
        registry: ``host``, ``host:port`` or more, as at the start of an image's name.

    Raises:
        UsageError: the image would leave this machine.
    """
    if STAND_IN in labels and not is_loopback(registry):
        raise UsageError(
            f"this image is based on {STAND_IN_MEANS}",
            where=registry,
            expected="a registry on this machine, such as localhost:5000",
            fix="build it on the catalog's base, without --base",
        )
