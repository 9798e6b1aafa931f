"""The content of `run.json`: the data, the versions and the configuration of a run, and how it ended."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import trainers

if TYPE_CHECKING:
    from collections.abc import Mapping

Outcome = Literal["running", "ok", "failed", "stopped"]


@dataclass(frozen=True)
class DatasetRecord:
    """The data of a run: what was checked, and how it was split."""

    reference: str
    digest: str
    verify: Literal["full", "quick"]  # every byte, or names and the total size
    files: int
    bytes: int
    train_images: int
    train_boxes: int
    validation_images: int
    validation_boxes: int
    categories: int
    sequences: int


@dataclass(frozen=True)
class Device:
    """What a framework works on, and its versions."""

    name: str  # as the framework has it, such as cpu or cuda:0
    gpu: str | None  # its name
    processes: int
    versions: Mapping[str, str | None]


@dataclass(frozen=True)
class RunRecord:
    """A run. What is unknown, or not known yet, is None."""

    run: str
    command: str  # train, evaluate or predict
    outcome: Outcome
    reason: str | None  # why it failed or stopped
    started: str  # of this job, as `now` gives it
    ended: str | None
    resumed: int | None  # epochs that earlier jobs had finished
    dataset: DatasetRecord
    model: str
    weights: str  # the initial ones, as configured
    weights_digest: str | None  # of their file: sha256: and 64 hex digits
    seed: int
    device: str
    gpu: str | None
    world_size: int  # processes
    versions: dict[str, str | None]
    configuration: dict[str, Any]  # every key, with its default

    @property
    def seconds(self) -> float | None:
        """The duration of this job."""
        return None if self.ended is None else seconds(self.started, self.ended)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `run.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunRecord:
        """Make a record from the content of `run.json`."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(content)


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds(started: str, ended: str) -> float:
    """Return the seconds between two times of `now`."""
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()


def versions(framework: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the versions of everything that a result may depend on, of a framework too; None: not installed."""
    ours = {"trainers": trainers.__version__, "python": platform.python_version()}
    return ours | dict(framework) | {name: version(name) for name in ("hotcoco", "imagecodecs", "numpy", "pillow")}


def version(name: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def in_words(moment: str) -> str:
    """Return a moment as reports show it: ``28 November 2026, 04:17:25 UTC``."""
    return f"{datetime.fromisoformat(moment):%d %B %Y, %H:%M:%S} UTC"
