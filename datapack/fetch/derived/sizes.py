"""The sizes of images: as a COCO file gives them, or else as the header of the image's file does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.errors import FetchError
from datapack.files import open_regular
from datapack.inspect.forms import form_of_name
from datapack.inspect.images import read_image

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from datapack.fetch.context import Origin
    from datapack.inspect.model import Coco


def shorter_sides(paths: Collection[str], cocos: Iterable[Coco], origin: Origin) -> Iterator[tuple[str, int]]:
    """Yield each of these images with its shorter side in pixels: 0 for a file that is no image or is broken."""
    known: dict[str, int] = {}
    for coco in cocos:
        sides = coco.sizes.min(axis=1).tolist()
        known.update((path, side) for path, side in zip(coco.images, sides, strict=True) if side)
    for path in sorted(paths):
        yield path, known.get(path) or _read(origin, path)


def _read(origin: Origin, path: str) -> int:
    with open_regular(origin.bag.path / PAYLOAD / path, FetchError, follow=False) as file:
        image = read_image(file, path, form_of_name(path))
    return min(image.shown_size) if image else 0
