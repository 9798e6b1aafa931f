"""Findings: what may be wrong with a dataset. Each has a rule with a stable code: see docs/reference/findings.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Rule:
    """What a check looks for. The code is never given to another rule."""

    code: str  # DP and three digits: 1 files, 2 images, 3 COCO files, 4 several lists, 5 tables, 6 weights
    severity: Severity  # error: training fails or data leaks; warning: results suffer; note: good to know
    title: str  # what is wrong, in the plural: "boxes outside their image"
    why: str  # one or two sentences: what it means for the user
    fix: str  # one or two sentences: what to do, with the catalog's lines where these can fix it
    deep: bool = False  # whether only a deep survey, which decodes every image, finds it


@dataclass(frozen=True)
class Finding:
    """A rule that a dataset breaks, and where."""

    rule: Rule
    count: int  # of files, images, boxes or rows
    examples: tuple[str, ...]  # at most `EXAMPLES`, one line each
    catalog: str = ""  # lines of YAML for this version that fix it; empty if the catalog can't
    # The files concerned, by their paths in the payload, which `drop` leaves out; and by COCO file the boxes, by their
    # positions in ``annotations``.
    files: frozenset[str] = field(default=frozenset(), repr=False)
    boxes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    silenced: str = ""  # the reason that the catalog gives for accepting it


EXAMPLES = 5
_LONGEST = 500  # characters of an example: a name in a COCO file may have any number


def few(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the examples of a finding: the first few lines, without the end of those that are too long to read."""
    return tuple(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..." for line in islice(lines, EXAMPLES))


def some(rule: Rule, lines: Iterable[str], catalog: str = "", files: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield a finding if there are any lines, one for each thing that the rule concerns."""
    lines = list(lines)
    if lines:
        yield Finding(rule, len(lines), few(lines), catalog, frozenset(files))


def drop_lines(reference: str, code: str) -> str:
    """Return the lines of a new version that leaves out what a finding concerns in this one."""
    return f"sources:  # of a new version\n  - subset: {reference or 'NAME@VERSION'}\n    drop: [{code}]"
