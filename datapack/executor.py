"""The executor: many units of work at once, stopped by the first error or by a signal.

A unit of work is a value that can be pickled, and so is the function that does it: today threads do the work, and
another machine could.

Python runs the handler of a signal between any two steps of the main thread. If it raised an exception where the main
thread has just taken a lock of a pool, the lock would stay taken, and the program would hang. So code that uses such
locks runs in `held`, and a handler raises through `raise_unless_held`. The main thread waits in `SimpleQueue.get`,
which an exception leaves safely.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import contextmanager
from queue import SimpleQueue
from types import NoneType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 4  # units per worker that wait their turn or were done early: enough that no worker idles, few in memory


_holds: list[None] = []  # one for each `held` that the main thread is in
_late: list[Callable[[], None]] = []  # what raises the exceptions of the signals that came meanwhile


@contextmanager
def held() -> Iterator[None]:
    """Let no signal raise an exception in the body, only at its end; the body is short, or nobody could stop it.

    Only the main thread runs handlers of signals; in another thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()
        if _late and not _holds:
            late = list(_late)
            _late.clear()
            for raise_late in late:
                raise_late()


def raise_unless_held(raise_now: Callable[[], None]) -> None:
    """Raise the exception of a signal: now, or at the end of the body of `held` that the main thread is in."""
    if _holds:
        _late.append(raise_now)
    else:
        raise_now()


def forget_interrupt() -> None:
    """Let Python end with its exit status after a `KeyboardInterrupt` that was caught.

    If it came through ``exec``, as of the code that makes a dataclass, ``python -m`` would end itself by SIGINT.
    """
    exec("")  # noqa: S102 - nothing but this resets it


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
    from concurrent.futures import ThreadPoolExecutor  # here: only a command that works needs it

    count = workers or cores()
    stopped = threading.Event()
    pending: deque[Future[Result]] = deque()
    ended: SimpleQueue[None] = SimpleQueue()  # has an entry if any unit has ended since it was last emptied
    pool = ThreadPoolExecutor(count)
    try:
        for item in items:
            with held():
                unit = pool.submit(_run, work, item, Advance(advance, stopped), stopped)
                unit.add_done_callback(lambda _: ended.put(None))
            pending.append(unit)
            if len(pending) >= count * _WAITING:
                yield _oldest(pending, ended)
        while pending:
            yield _oldest(pending, ended)
    finally:
        with held():
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _run(work: Callable[[Item, Advance], Result], item: Item, advance: Advance, stopped: threading.Event) -> Result:
    if stopped.is_set():
        raise Stopped
    try:
        return work(item, advance)
    except BaseException:
        stopped.set()  # here and not where it is noticed: the worker that failed must not take the next unit
        raise


def _oldest(pending: deque[Future[Result]], ended: SimpleQueue[None]) -> Result:
    """Wait for the result of the oldest unit; if any unit fails before that, raise its error."""
    while True:
        while not ended.empty():
            ended.get()
        with held():
            done = [unit for unit in pending if unit.done()]
            failed = next((unit for unit in done if not isinstance(unit.exception(), (Stopped, NoneType))), None)
            if failed is not None:
                failed.result()
            if pending[0].done() and pending[0].exception() is None:
                return pending.popleft().result()
        if len(done) == len(
            pending
        ):  # the work stopped itself: it is part of a larger unit, in which other work failed
            raise Stopped
        ended.get()


def result_of(unit: Future[Result]) -> Result:
    """Wait for the result of a unit of a pool, where a signal can end the wait safely."""
    ended: SimpleQueue[object] = SimpleQueue()
    with held():
        unit.add_done_callback(ended.put)
    ended.get()
    with held():
        return unit.result()
