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
    """A rule that a dataset breaks, and where.

    Attributes:
        rule: what is wrong: ``code``, ``severity`` (``error``, ``warning``, ``note``), ``title``, ``why``, ``fix`` and
            ``deep``, whether only a deep check finds it.
        count: how many files, images, boxes or rows.
        examples: at most five of them, one line each.
        catalog: lines of YAML for this version that fix it; empty if the catalog can't.
        files: the files concerned, by their paths in the payload, which ``drop`` leaves out.
        boxes: by COCO file the boxes concerned, by their positions in ``annotations``.
        silenced: the reason that the catalog gives for accepting it; empty if it does not.
    """

    rule: Rule
    count: int
    examples: tuple[str, ...]
    catalog: str = ""
    files: frozenset[str] = field(default=frozenset(), repr=False)
    boxes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    silenced: str = ""


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
