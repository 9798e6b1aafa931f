"""The images that a COCO file names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from datapack.disk import disk_errors
from datapack.download.address import check_address
from datapack.errors import FetchError
from datapack.manifest import PAYLOAD
from datapack.payload import Missing, Wanted
from datapack.sources.source import PayloadFolder, PayloadPath, Source, join

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from datapack.download import Failure
    from datapack.payload import Payload

_Prefix = Annotated[str, AfterValidator(check_address)]


class CocoSource(Source):
    """Every image of a COCO file by its ``coco_url``, or by its ``flickr_url`` where it has no ``coco_url``."""

    coco: PayloadPath = Field(description="a COCO file in the payload, brought there by an earlier source")
    into: PayloadFolder = Field(description="the payload folder that the images go into")
    mirrors: dict[_Prefix, Annotated[tuple[_Prefix, ...], Field(min_length=1)]] = Field(
        default={}, description="for a prefix of addresses, all the prefixes to try in its place, in this order"
    )
    missing: Literal["fail"] | tuple[str, ...] | Annotated[int, Field(strict=True, ge=0)] = Field(
        "fail", description="what may be missing: nothing, the file names listed, or at most so many files"
    )

    def fetch(self, payload: Payload) -> None:
        """Fetch the images. The COCO file is read whole: about ten times its size in memory while it is read."""
        wanted = list(self._wanted(payload))
        may_miss = self._allowed_names({file.path for file in wanted})
        failures = payload.fetch(wanted, f"images of {self.coco}", self.mirrors)
        may_miss |= self._allowed_by_number(failures)
        for file, failure in failures.items():
            if file.path in may_miss:
                payload.missing[file.path] = Missing(file.origin, failure.reason)
            else:
                payload.failed[file] = failure

    def _wanted(self, payload: Payload) -> Iterator[Wanted]:
        path = payload.folder / self.coco
        if f"{PAYLOAD}/{self.coco}" not in payload.hashes:
            payload.check_failures()
            fix = "name a source that brings it before the one that reads it"
            raise FetchError("no such file in the payload", where=f"coco {self.coco}", fix=fix)
        for number, row in enumerate(_read_images(path)):
            where = _named(row, f"{self.coco}: images[{number}]")
            name, address = _text(row, where, "file_name"), _text(row, where, "coco_url", "flickr_url")
            yield Wanted(join(self.into, name), where, address, pixels=_pixels(row, where))

    def _allowed_names(self, paths: set[str]) -> set[str]:
        names = self.missing if isinstance(self.missing, tuple) else ()
        allowed = {join(self.into, name) for name in names}
        if unknown := allowed - paths:
            raise FetchError(
                "'missing' names an image that the file does not", where=f"coco {self.coco}", found=min(unknown)
            )
        return allowed

    def _allowed_by_number(self, failures: Mapping[Wanted, Failure]) -> set[str]:
        """Return what may be missing by its number: only what every address said that it has not."""
        gone = {file.path for file, failure in failures.items() if failure.definite}
        return gone if isinstance(self.missing, int) and len(gone) <= self.missing else set()


def _read_images(path: Path) -> list[Any]:
    """Read the ``images`` of a COCO file. Nothing else of it need be there."""
    try:
        with disk_errors(path):
            content = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FetchError("not a JSON file", where=path, found=str(error)) from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise FetchError("not a COCO file", where=path, expected="an object with a list 'images'")
    return images


def _text(row: object, where: str, *keys: str) -> str:
    """Return the first of these keys that a row has."""
    values = (row.get(key) for key in keys) if isinstance(row, dict) else ()
    value = next((value for value in values if value is not None and value != ""), None)
    if not isinstance(value, str):
        found = None if value is None else json.dumps(value)[:100]
        raise FetchError(f"the row has no {' or '.join(keys)}", where=where, expected="text", found=found)
    return value


def _pixels(row: Mapping[str, object], where: str) -> tuple[int, int] | None:
    """Return the width and height of a row that has both; some tools write them as 1920.0."""
    sides = [row.get("width"), row.get("height")]
    if None in sides:
        return None
    whole = [int(side) for side in sides if isinstance(side, int | float) and side == side // 1 and side > 0]
    if len(whole) != len(sides):
        found = " x ".join(map(json.dumps, sides))
        raise FetchError("not an image's size", where=where, expected="whole pixels", found=found)
    return whole[0], whole[1]


def _named(row: object, where: str) -> str:
    return f"{where} (id {row['id']!r})" if isinstance(row, dict) and "id" in row else where
