"""Fetch the images that a COCO file lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeGuard

from datapack.coco.rows import is_text, read_images
from datapack.errors import FetchError
from datapack.fetch.listed import fetch_listed
from datapack.fetch.payload import WantedFile, payload_path
from datapack.urls import quote_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from datapack.catalog.sources import CocoSource
    from datapack.fetch.context import FetchContext, SourceResult

_SHOWN = 40  # characters of an image's id in an error


def fetch_coco(source: CocoSource, context: FetchContext) -> SourceResult:
    """Fetch the images."""
    wanted = list(_list_wanted(source, context.payload.folder / source.coco))
    return fetch_listed(source, wanted, context, f"images of {source.coco}")


def _list_wanted(source: CocoSource, path: Path) -> Iterator[WantedFile]:
    sizes: dict[tuple[int, int], tuple[int, int]] = {}  # most images have one of a few sizes
    for number, row in enumerate(read_images(path)):
        where = _named(row, f"{source.coco}: images[{number}]")
        name, url = _text(row, where, "file_name"), _text(row, where, "coco_url", "flickr_url")
        pixels = _pixels(row, where)
        yield WantedFile(
            payload_path(source.into, name), where, quote_url(url), pixels=pixels and sizes.setdefault(pixels, pixels)
        )


def _text(row: object, where: str, *keys: str) -> str:
    """Return the value of the first of these keys that a row has."""
    values = (row.get(key) for key in keys) if isinstance(row, dict) else ()
    value = next((value for value in values if value is not None and value != ""), None)
    if not isinstance(value, str) or not is_text(value):
        found = None if value is None else json.dumps(value)[:100]
        raise FetchError(f"the row has no {' or '.join(keys)}", where=where, expected="text", found=found)
    return value


def _pixels(row: Mapping[str, object], where: str) -> tuple[int, int] | None:
    """Return the width and height of a row that has both; some tools write them as 1920.0."""
    sides = [row.get("width"), row.get("height")]
    if None in sides:
        return None
    whole = [int(side) for side in sides if _is_number(side) and side == side // 1 and side > 0]
    if len(whole) != len(sides):
        found = " x ".join(map(json.dumps, sides))
        raise FetchError("invalid image size", where=where, expected="whole pixels", found=found)
    return whole[0], whole[1]


def _is_number(side: object) -> TypeGuard[int | float]:
    return isinstance(side, int | float) and not isinstance(side, bool)


def _named(row: object, where: str) -> str:
    return f"{where} (id {repr(row['id'])[:_SHOWN]})" if isinstance(row, dict) and "id" in row else where
