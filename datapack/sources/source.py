"""What every source is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from datapack.payload import Payload


class Source(BaseModel):
    """An entry under ``sources:`` in the catalog; its fields are the entry's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def fetch(self, payload: Payload) -> None:
        """Bring this source's files into the payload. What is there already and whole stays as it is.

        Raises:
            FetchError: something could not be had.
        """
        raise NotImplementedError
