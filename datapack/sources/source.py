"""What every source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from datapack.errors import ManifestError
from datapack.manifest import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.payload import Payload


def _plain_path(path: str) -> str:
    try:
        return check_path(path)
    except ManifestError as error:
        raise ValueError(f"can't be used as a path: it has {error.found}") from error


def _plain_folder(path: str) -> str:
    return _plain_path(path.rstrip("/")) if path else path


#: A file's path in the payload.
PayloadPath = Annotated[str, AfterValidator(_plain_path)]

#: A folder's path in the payload; empty for the payload's top.
PayloadFolder = Annotated[str, AfterValidator(_plain_folder)]


def join(folder: str, name: str) -> str:
    """Put a file's name below a folder of the payload. The name is not checked here; `Payload.plan` checks all."""
    return f"{folder}/{name}" if folder else name


class Source(BaseModel, ABC):
    """An entry under ``sources:`` in the catalog; its fields are the entry's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def fetch(self, payload: Payload) -> None:
        """Bring this source's files into the payload. What is there already and whole stays as it is.

        Raises:
            FetchError: something could not be had.
        """


def fill(payload: Payload, sources: Iterable[Source]) -> None:
    """Have every source bring its files into the payload, in order. What is there already and whole stays.

    Raises:
        FetchError: a source could not bring a file, or two name the same. What is whole is kept for the next run.
    """
    payload.begin()
    for source in sources:
        source.fetch(payload)
    payload.finish()
