"""What picklescan says of a file. It reads the file and does not load it; it does so in a process of its own.

It is a second opinion: it judges names by lists, and can be led to take all memory, as it unpacks archives.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from datapack.errors import WeightsError
from datapack.weights.isolation import Limits, run_isolated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LIMITS = Limits(memory=4 << 30, seconds=120, opens_files=True)
_MOST, _LONGEST = 100, 300  # names that are shown, and characters of each


def scan(path: Path) -> tuple[str, ...]:
    """Return what picklescan says, a line for each name in the pickles of a file, such as ``dangerous: os.system``.

    The same file gives the same lines.
    """
    try:
        return tuple(run_isolated("datapack.weights.scan:scanner", {"path": str(path.resolve())}, path, _LIMITS))
    except WeightsError:
        return ("can't read the file",)


def scanner(value: dict[str, Any]) -> Callable[[], list[str]]:
    """Return the function that scans the file at a path: in the process."""
    from picklescan.scanner import scan_file_path

    logging.getLogger("picklescan").setLevel(logging.CRITICAL + 1)  # what it finds is in its result
    return partial(_scan, scan_file_path, value["path"])


def _scan(scan_file_path: Callable[[str], Any], path: str) -> list[str]:
    try:
        result = scan_file_path(path)
    except Exception:  # of a hostile file, it may raise anything
        return ["can't read the file"]
    names = sorted({f"{one.safety.value}: {one.module}.{one.name}"[:_LONGEST] for one in result.globals})
    more = [f"and {len(names) - _MOST:,} more names"] if len(names) > _MOST else []
    return [*names[:_MOST], *more, *(["could not read all of it"] if result.scan_err else [])] or ["found nothing"]
