"""Files of a Kaggle competition or dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from datapack.sources.source import Source

if TYPE_CHECKING:
    from datapack.payload import Payload


class KaggleSource(Source):
    """Files of a competition (``fathomnet2024``) or of a dataset (``owner/name``)."""

    kaggle: str = Field(description="a competition's name, or a dataset's owner/name")
    files: tuple[str, ...] = Field(min_length=1, description="the files to fetch")
    into: str = Field("", description="the payload folder that the files go into; the payload's top by default")

    def fetch(self, payload: Payload) -> None:
        raise NotImplementedError
