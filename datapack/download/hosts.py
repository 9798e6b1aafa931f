"""Hosts: when the next request to each host may be sent.

A host gets a limited number of requests at once, none while it asked for a pause, and none for the rest of the run once
it refuses connections. Waiting for one host never delays another.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_REFUSALS = 3  # refused connections in a row, each started after the previous one failed


@dataclass
class _Host(Generic[T]):
    name: str
    new: deque[T] = field(default_factory=deque)
    waiting: list[tuple[float, int, T]] = field(
        default_factory=list
    )  # a heap: when it is ready, order of arrival, item
    active: int = 0
    paused_until: float = 0.0
    refusals: int = 0
    refused_at: float = 0.0
    skipped: str = ""  # the reason, once the host is skipped

    def ready_at(self) -> float:
        """When the next item may go, if a connection is free."""
        if self.skipped:
            return 0.0
        return self.paused_until if self.new else max(self.waiting[0][0], self.paused_until)

    def next(self, now: float) -> T:
        """Return the next item: continued ones come before new ones."""
        if self.new and not (self.waiting and self.waiting[0][0] <= now):
            return self.new.popleft()
        return heapq.heappop(self.waiting)[2]


@dataclass(frozen=True)
class Turn(Generic[T]):
    """An item that may be requested from a host now; if ``skipped``, it must not be requested, for this reason."""

    host: str
    item: T
    skipped: str
    began: float


class Hosts(Generic[T]):
    """A queue per host: `add` items, `take` each when its turn comes, then `release` the connection.

    An item that needs another request is `put` back; it goes before new ones, as a redirect may be valid for a minute
    only, and as a file that has begun to arrive takes space.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._hosts: dict[str, _Host[T]] = {}
        self._queued: dict[str, _Host[T]] = {}  # those with items; the one that has waited longest is first
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._unfinished = 0
        self._closed = False

    def add(self, host: str, item: T) -> None:
        """Queue a new item for a host. It counts as unfinished until `finish` is called."""
        with self._changed:
            self._unfinished += 1
            self._queue(host).new.append(item)
            self._changed.notify()

    def put(self, host: str, item: T, *, delay: float = 0.0) -> None:
        """Queue an item for its next request, in ``delay`` seconds. It counts as unfinished until `finish` is called.

        Raises:
            RuntimeError: after `close`.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("the queue is closed")
            self._unfinished += 1
            entry = (time.monotonic() + delay, next(self._order), item)
            heapq.heappush(self._queue(host).waiting, entry)
            self._changed.notify()

    def take(self) -> Turn[T] | None:
        """Wait for the next turn; return None when all items are finished, or after `close`."""
        with self._changed:
            while self._unfinished and not self._closed:
                now = time.monotonic()
                host, ready_at = self._next_host(now)
                if host is None:
                    self._changed.wait(None if ready_at is None else ready_at - now)
                    continue
                item = host.next(now)
                host.active += 1
                del self._queued[host.name]
                if host.new or host.waiting:
                    self._queued[host.name] = host  # behind all others
                self._changed.notify()  # another item may be ready too
                return Turn(host.name, item, host.skipped, now)
            return None

    def _next_host(self, now: float) -> tuple[_Host[T] | None, float | None]:
        """Return the host whose turn it is; if there is none, return when the next item will be ready."""
        ready_at: float | None = None
        for host in self._queued.values():
            if host.active < self._connections or host.skipped:
                if (ready := host.ready_at()) <= now:
                    return host, None
                ready_at = ready if ready_at is None else min(ready, ready_at)
        return None, ready_at

    def release(self, turn: Turn[T]) -> None:
        """Release the connection of a turn."""
        with self._changed:
            self._hosts[turn.host].active -= 1
            self._changed.notify()

    def finish(self) -> None:
        """Count one item as finished; call this after queueing what it leads to."""
        with self._changed:
            self._unfinished -= 1
            if not self._unfinished:
                self._changed.notify_all()

    def close(self) -> None:
        """End all waiting; `take` returns None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> bool:
        """Pause a host for ``seconds``; return whether that is longer than its present pause."""
        with self._changed:
            until = time.monotonic() + seconds
            longer = until > self._host(host).paused_until + 1
            self._host(host).paused_until = max(until, self._host(host).paused_until)
            return longer

    def answered(self, host: str) -> None:
        """Record that a host accepted a connection."""
        with self._changed:
            self._host(host).refusals = 0

    def refused(self, turn: Turn[T], reason: str, pause: float) -> bool:
        """Record that a host refused a connection; return whether it is skipped from now on.

        Simultaneous refusals count once, and each pauses the host.
        """
        with self._changed:
            host = self._hosts[turn.host]
            if turn.began < host.refused_at or host.skipped:
                return False
            host.refusals += 1
            host.refused_at = time.monotonic()
            host.paused_until = max(host.paused_until, host.refused_at + pause)
            if host.refusals < _REFUSALS:
                return False
            self._skip(host, reason)
            return True

    def skip(self, host: str, reason: str) -> None:
        """Request nothing more from a host in this run."""
        with self._changed:
            self._skip(self._host(host), reason)

    def _skip(self, host: _Host[T], reason: str) -> None:
        host.skipped = reason
        self._changed.notify_all()

    def _host(self, name: str) -> _Host[T]:
        return self._hosts.setdefault(name, _Host(name))

    def _queue(self, name: str) -> _Host[T]:
        """Return the host, which gets an item now."""
        return self._queued.setdefault(name, self._host(name))
