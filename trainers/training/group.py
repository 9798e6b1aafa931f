"""The processes of one training: this class is for one process alone, and a framework that has several extends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.process import Place


@dataclass(frozen=True)
class Group:
    """All processes of a training, as seen by one of them. Here it is the only one."""

    place: Place

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes files and logs."""
        return self.place.is_first

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        return flags

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value."""
        return value
