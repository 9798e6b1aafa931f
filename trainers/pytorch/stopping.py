"""What can end a training before its last epoch: a signal, the hours that it has, numbers that are not finite.

All processes look at it together between two steps, so that all end at the same one.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from trainers.pytorch.distributed import Group

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_KEPT_EVERY = 15 * 60  # seconds: no more than this is lost to a kill, however long an epoch takes


@dataclass(frozen=True)
class Look:
    """What all processes know between two steps."""

    asked_to_stop: bool
    out_of_time: bool
    checkpoint_due: bool


@dataclass
class Ending:
    """Takes SIGTERM and Ctrl-C as a wish, while it is entered; a second one ends the process as it would have."""

    group: Group
    deadline: float  # on time.monotonic's clock
    asked: bool = False
    failure: TrainingError | None = None  # what this process found; raised by all at their next look
    kept_at: float = field(default_factory=time.monotonic)
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Ending:
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(number, self._before[number])

    def look(self) -> Look:
        """Return what all processes agree on.

        Raises:
            TrainingError: one of them has a failure; it is the same in all.
        """
        now = time.monotonic()
        due = self.group.is_first and now - self.kept_at > _KEPT_EVERY
        asked, failed, over, due = self.group.any(self.asked, self.failure is not None, now > self.deadline, due)
        if failed:
            failures = self.group.gather(self.failure and (self.failure.what, self.failure.found, self.failure.details))
            what, found, details = next(filter(None, failures))
            raise TrainingError(what, found=found, fix=_FIX, details=details)
        return Look(asked, over, due)


_FIX = "look at the boxes of these images, or lower training.learning_rate"
