"""What can end a training before its last epoch: a signal, the time limit, numbers that are not finite.

All processes agree on it between two steps, so that all of them stop at the same step.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from trainers.training.group import Group

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CHECKPOINT_EVERY = 15 * 60  # seconds: a kill loses no more than this, however long an epoch takes
_FIX = "check the boxes of these images, or lower training.learning_rate"


@dataclass(frozen=True)
class Events:
    """What all processes have agreed on between two steps."""

    stop_requested: bool
    out_of_time: bool
    checkpoint_due: bool

    def __bool__(self) -> bool:
        return self.stop_requested or self.out_of_time or self.checkpoint_due


@dataclass
class Stopping:
    """Takes SIGTERM and Ctrl-C as requests to stop, as a context manager; a second signal has its usual effect."""

    group: Group
    deadline: float  # on time.monotonic's clock
    requested: bool = False
    failure: TrainingError | None = None  # of this process; the next `poll` raises it in all of them
    saved_at: float = field(default_factory=time.monotonic)  # when the last checkpoint was written
    _handlers: dict[int, Any] = field(default_factory=dict)  # those to restore

    def __enter__(self) -> Stopping:
        self._handlers = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: object) -> None:
        self.requested = True
        signal.signal(number, self._handlers[number])

    def poll(self) -> Events:
        """Return what all processes agree on.

        Raises:
            TrainingError: one of them has failed; all of them raise the same error.
        """
        now = time.monotonic()
        due = self.group.is_first and now - self.saved_at > _CHECKPOINT_EVERY
        requested, failed, over, due = self.group.any(
            self.requested, self.failure is not None, now > self.deadline, due
        )
        if failed:
            failures = self.group.gather(self.failure and (self.failure.what, self.failure.found, self.failure.details))
            what, found, details = next(filter(None, failures))
            raise TrainingError(what, found=found, fix=_FIX, details=details)
        return Events(requested, over, due)
