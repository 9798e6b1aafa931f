"""The executor: many units of work at once, stopped by the first error.

A unit of work is a value that can be pickled, and so is the function that does it: today threads do the work, and
another machine could.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import NoneType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 4  # units per worker that wait their turn or were done early: enough that no worker idles, few in memory


class Stopped(Exception):  # noqa: N818 - not an error by itself: the user sees the error of another unit
    """Other work failed, so nobody needs this unit any more."""


class Advance:
    """The progress of one unit of work.

    The work calls it with the amount that was done since the last call. It raises `Stopped` once other work has failed,
    so that a long unit ends soon.
    """

    def __init__(self, report: Callable[[int], None], stopped: threading.Event) -> None:
        self._report, self._stopped = report, stopped
        self._done = 0

    def __call__(self, amount: int) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._done += amount
        self._report(amount)

    def set(self, done: int) -> None:
        """Set the amount that is done: a unit that starts again goes back, one that skips work jumps ahead."""
        self(done - self._done)

    def wait(self, seconds: float) -> None:
        """Sleep; raise `Stopped` as soon as other work fails."""
        if self._stopped.wait(seconds):
            raise Stopped


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(
    work: Callable[[Item, Advance], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """Do the work for every item; yield the results in the order of the items.

    After the first error no further unit starts, those that are running end early, and the error is raised. The same
    happens if the caller stops iterating, or is interrupted.

    Args:
        work: does one unit; it must be safe to call from several threads.
        items: taken from as workers become free: there may be millions.
        workers: units at once; by default as many as there are cores.
        advance: called with the amount done since its last call, from several threads.
    """
    count = workers or cores()
    stopped = threading.Event()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                pending.append(pool.submit(_run, work, item, Advance(advance, stopped), stopped))
                if len(pending) >= count * _WAITING:
                    yield _oldest(pending)
            while pending:
                yield _oldest(pending)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(work: Callable[[Item, Advance], Result], item: Item, advance: Advance, stopped: threading.Event) -> Result:
    if stopped.is_set():
        raise Stopped
    try:
        return work(item, advance)
    except BaseException:
        stopped.set()  # here and not where it is noticed: the worker that failed must not take the next unit
        raise


def _oldest(pending: deque[Future[Result]]) -> Result:
    """Wait for the result of the oldest unit; if any unit fails before that, raise its error."""
    while True:
        done = [unit for unit in pending if unit.done()]
        failed = next((unit for unit in done if not isinstance(unit.exception(), (Stopped, NoneType))), None)
        if failed is not None:
            failed.result()
        if pending[0].done() and pending[0].exception() is None:
            return pending.popleft().result()
        running = [unit for unit in pending if not unit.done()]
        if not running:  # the work stopped itself: it is part of a larger unit, in which other work failed
            raise Stopped
        wait(running, return_when=FIRST_COMPLETED)
