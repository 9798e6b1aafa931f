"""`datapack check`: check a dataset for faults that spoil training, and for what must not leave."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, console
from datapack.cli.output import Marked
from datapack.text import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from datapack.api.results import Checked
    from datapack.cli.options import Commands
    from datapack.cli.output import Colour, Line
    from datapack.inspect.findings import Finding, Severity

_EXAMPLES = (
    "datapack check reef@v1",
    "datapack check reef@v1 --deep            # also decode every image",
    "datapack check data/reef/v1 --strict     # a bag's folder; warnings count as errors",
    "datapack check reef@v1 --json | jq '.findings[] | {code, count}'",
)
_SEVERITIES: dict[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "green"}  # the worst first


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        run,
        summary="find faults in the data, and what must not leave",
        examples=_EXAMPLES,
    )
    parser.add_argument("what", metavar="WHAT", help="name@version, or a bag's folder")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also decode every image, to find broken, near-duplicate, blurred, dark and empty ones",
    )
    parser.add_argument("--strict", action="store_true", help="fail for warnings too")


def run(options: argparse.Namespace) -> Answer:
    """Check a dataset; the status is 1 if there are errors that the catalog does not silence."""
    from datapack.api.checking import check

    checked = check(
        options.what, deep=options.deep, strict=options.strict, catalog=options.folder, progress=console(options)
    )
    return Answer(_value(checked), [*_lines(checked)], 0 if checked.passed else 1)


def _lines(checked: Checked) -> Iterator[Line]:
    found, unused = checked.findings, checked.unused
    unsilenced = [finding for finding in found if not finding.silenced]
    unsilenced.sort(key=lambda finding: list(_SEVERITIES).index(finding.rule.severity))  # stable: then by code
    yield from map(_row, unsilenced)
    for finding in unsilenced:
        yield from _explanation(finding)
    silenced = [finding for finding in found if finding.silenced]
    if unsilenced and (silenced or unused):
        yield ""
    for finding in silenced:
        yield f"silenced  {finding.rule.code}  {finding.count:>7,}  {finding.rule.title}: {finding.silenced}"
    for code in unused:
        yield f"silenced  {code}        0  nothing to silence: remove this line from the catalog"
    if found or unused:
        yield ""
    yield f"checked {checked.what}: {_summary(checked)}"
    yield _conclusion(unsilenced)


def _row(finding: Finding) -> Line:
    rule = finding.rule
    return Marked(f"{rule.severity:8}", _SEVERITIES[rule.severity], f"  {rule.code}  {finding.count:>7,}  {rule.title}")


def _explanation(finding: Finding) -> Iterator[Line]:
    yield ""
    yield f"{finding.rule.code}: {finding.rule.title}"
    yield f"  {finding.rule.why}"
    yield from (f"    {example}" for example in finding.examples)
    if finding.count > len(finding.examples):
        yield f"    ... {finding.count:,} in total"
    yield f"  {finding.rule.fix}"
    yield from (f"    {line}" for line in finding.catalog.splitlines())


def _summary(checked: Checked) -> str:
    parts = [
        counted(checked.files, "file"),
        counted(checked.images, "image"),
        *(
            [f"{counted(checked.boxes, 'box', 'boxes')} in {counted(checked.coco_files, 'COCO file')}"]
            * bool(checked.coco_files)
        ),
        *([counted(checked.tables, "table")] * bool(checked.tables)),
        *([counted(checked.weights, "weights file", "weights files")] * bool(checked.weights)),
        *(["every image decoded"] * bool(checked.decoded)),
    ]
    return ", ".join(parts)


def _conclusion(unsilenced: Sequence[Finding]) -> Line:
    if not unsilenced:
        return Marked("nothing found", "green", "")
    counts = ((severity, sum(one.rule.severity == severity for one in unsilenced)) for severity in _SEVERITIES)
    return "found " + ", ".join(counted(count, severity) for severity, count in counts if count)


_COUNTED = ("files", "images", "coco_files", "boxes", "tables", "weights", "decoded")


def _value(checked: Checked) -> dict[str, Any]:
    """Return the answer for JSON."""
    findings = [
        {
            **asdict(one.rule),
            "count": one.count,
            "examples": list(one.examples),
            "catalog": one.catalog or None,
            "silenced": one.silenced or None,
        }
        for one in checked.findings
    ]
    return {
        "what": checked.what,
        "digest": checked.digest,
        "passed": checked.passed,
        "checked": {name: getattr(checked, name) for name in _COUNTED},
        "findings": findings,
    }
