"""Turns: which host may be asked for what, and when.

A host is asked over at most so many connections at once, is left alone while it asked for that, and is left out for the
rest of the run when it takes no connection. What waits for one host keeps no other host waiting.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_REFUSALS = 3  # connections refused in a row, each begun after the one before had failed


@dataclass
class _Host(Generic[T]):
    name: str
    waiting: list[tuple[float, int, T]] = field(default_factory=list)  # a heap: ready when, order of arrival, what
    active: int = 0
    paused_until: float = 0.0
    refusals: int = 0
    refused_at: float = 0.0
    left_out: str = ""  # why, once it is

    def ready_at(self) -> float:
        """When the next one that waits may go, as far as time decides."""
        return 0.0 if self.left_out else max(self.waiting[0][0], self.paused_until)


@dataclass(frozen=True)
class Turn(Generic[T]):
    """Something whose turn it is at a host. ``left_out`` says why the host must not be asked, if it must not."""

    host: str
    item: T
    left_out: str
    began: float


class Hosts(Generic[T]):
    """The queue of a run: `put` what waits for a host, `take` it when its turn comes, then `release` the host."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._hosts: dict[str, _Host[T]] = {}
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._unfinished = 0
        self._closed = False

    def put(self, host: str, item: T, *, delay: float = 0.0) -> None:
        """Let an item wait for a host, and for ``delay`` seconds at least. It counts until `finish` is called for it.

        Raises:
            RuntimeError: after `close`.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("these hosts are asked no more")
            self._unfinished += 1
            entry = (time.monotonic() + delay, next(self._order), item)
            heapq.heappush(self._host(host).waiting, entry)
            self._changed.notify()

    def take(self) -> Turn[T] | None:
        """Wait for the next turn; return None when everything is finished, or after `close`."""
        with self._changed:
            while self._unfinished and not self._closed:
                now = time.monotonic()
                free = (host for host in self._hosts.values() if self._is_free(host))
                host = min(free, key=_Host.ready_at, default=None)
                if host is None:
                    self._changed.wait()
                elif (wait := host.ready_at() - now) > 0:
                    self._changed.wait(wait)
                else:
                    _, _, item = heapq.heappop(host.waiting)
                    host.active += 1
                    self._changed.notify()  # there may be more whose turn it is
                    return Turn(host.name, item, host.left_out, now)
            return None

    def release(self, turn: Turn[T]) -> None:
        """Give the connection back."""
        with self._changed:
            self._hosts[turn.host].active -= 1
            self._changed.notify()

    def finish(self) -> None:
        """Count one item that was put as dealt with, after whatever it leads to was put."""
        with self._changed:
            self._unfinished -= 1
            if not self._unfinished:
                self._changed.notify_all()

    def close(self) -> None:
        """Give no more turns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> bool:
        """Ask nothing of a host for so many seconds; return whether that is longer than it was to rest already."""
        with self._changed:
            until = time.monotonic() + seconds
            longer = until > self._host(host).paused_until + 1
            self._host(host).paused_until = max(until, self._host(host).paused_until)
            return longer

    def answered(self, host: str) -> None:
        """Note that a host took a connection."""
        with self._changed:
            self._host(host).refusals = 0

    def refused(self, turn: Turn[T], reason: str, pause: float) -> bool:
        """Note that a host took no connection; return whether it is left out from now on.

        Connections that were tried at the same time count once, and the host rests after each such time.
        """
        with self._changed:
            host = self._hosts[turn.host]
            if turn.began < host.refused_at or host.left_out:
                return False
            host.refusals += 1
            host.refused_at = time.monotonic()
            host.paused_until = max(host.paused_until, host.refused_at + pause)
            if host.refusals < _REFUSALS:
                return False
            self._leave_out(host, reason)
            return True

    def leave_out(self, host: str, reason: str) -> None:
        """Ask nothing more of a host in this run."""
        with self._changed:
            self._leave_out(self._host(host), reason)

    def _leave_out(self, host: _Host[T], reason: str) -> None:
        host.left_out = reason
        self._changed.notify_all()

    def _host(self, name: str) -> _Host[T]:
        return self._hosts.setdefault(name, _Host(name))

    def _is_free(self, host: _Host[T]) -> bool:
        return bool(host.waiting) and (host.active < self._connections or bool(host.left_out))
