"""Bins of counts and sizes for histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNTS = (0, 1, 2, 3, 4, 6, 11, 21, 51, 101, 201, 501, 1001, 2001, 5001, 10001)


@dataclass(frozen=True)
class Bins:
    """Ranges in a row: each begins at its start, and ends before the next one; the last has no end."""

    starts: tuple[float, ...]
    labels: tuple[str, ...]

    def count(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the values in each bin; those before the first bin count in the first one."""
        return np.histogram(np.clip(values, self.starts[0], None), [*self.starts, np.inf])[0]


def count_bins(most: int, least: int = 0) -> Bins:
    """Return bins of whole numbers from ``least`` to ``most``, narrow for small numbers and wide for large ones."""
    starts = [start for start in _COUNTS if least <= start <= max(most, least)]
    ends = [*(start - 1 for start in starts[1:]), None]
    labels = [_range(start, most if end is None else end) for start, end in zip(starts, ends, strict=True)]
    return Bins(tuple(starts), tuple(labels))


def _range(start: int, end: int) -> str:
    return f"{start:,}" if end <= start else f"{start:,}–{end:,}"  # noqa: RUF001 - a dash between numbers
