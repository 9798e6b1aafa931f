"""What findings of the check concern in another version, and a derived one leaves out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import FetchError
from datapack.inspect.check import RULES, check
from datapack.inspect.survey import survey
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.catalog.sources import SplitSource, SubsetSource
    from datapack.fetch.context import Origin
    from datapack.inspect.findings import Finding
    from datapack.progress import Reporter


class Dropped(NamedTuple):
    """What is left out, by paths below the payload."""

    files: frozenset[str]  # images go with their rows
    boxes: Mapping[str, frozenset[int]]  # by COCO file, positions in ``annotations``


def find_dropped(source: SubsetSource | SplitSource, origin: Origin, reporter: Reporter) -> Dropped:
    """Check a version, and return what the findings with these codes concern.

    Whether the catalog silences a finding there does not matter. A finding that concerns boxes leaves out only these.

    Raises:
        FetchError: a finding concerns no file and no box.
    """
    if not source.drop:
        return Dropped(frozenset(), {})
    deep = any(RULES[code].deep for code in source.drop)
    surveyed = survey(origin.bag, reporter, folders=origin.entry.image_folders, deep=deep)
    found = {finding.rule.code: finding for finding in check(surveyed)}
    files: set[str] = set()
    boxes: dict[str, set[int]] = defaultdict(set)
    for code in dict.fromkeys(source.drop):
        finding = found.get(code)
        if finding is None:
            reporter.note(f"{source.label}: {code} finds nothing to drop")
            continue
        if not finding.boxes and not finding.files:
            raise FetchError(
                f"{code} can't be dropped: it concerns no file and no box",
                where=source.label,
                found=finding.rule.title,
                fix="take it out of 'drop', and correct the data",
            )
        reporter.note(f"{source.label}: {code} leaves out {_amount(finding)}: {finding.rule.title}")
        if not finding.boxes:
            files |= finding.files
        for path, positions in finding.boxes.items():
            boxes[path].update(positions.tolist())
    return Dropped(frozenset(files), {path: frozenset(positions) for path, positions in boxes.items()})


def _amount(finding: Finding) -> str:
    count = sum(map(len, finding.boxes.values()))
    return counted(count, "box", "boxes") if count else counted(len(finding.files), "file")
