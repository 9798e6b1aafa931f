"""When a request is tried again, and after which pause."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

TRIES = 5  # of a request, of a download that makes no progress, and of an upload
_LONGEST_PAUSE = 60  # seconds, unless the registry asks for more
_LONGEST_RETRY_AFTER = 600  # seconds
_DIGITS = 9  # of a number of seconds; a longer one is no number but an attack
_BUSY = {408, 425, 429}
_SERVER_ERROR, _NOT_IMPLEMENTED = 500, 501


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _BUSY or (status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED)


def backoff(attempt: int, retry_after: str = "") -> float:
    """Return the seconds until the next try: what the registry asks for, or exponential backoff with jitter."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(int(retry_after[:_DIGITS]), _LONGEST_RETRY_AFTER)
    return min(_LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


def eventually(
    find: Callable[[], Found], expected: Callable[[Found], bool], wait: Callable[[float], None] = time.sleep
) -> Found:
    """Return what is found once it is as expected, or after `TRIES`: what a registry accepted may be seen later."""
    for attempt in range(1, TRIES):
        found = find()
        if expected(found):
            return found
        wait(backoff(attempt))
    return find()
