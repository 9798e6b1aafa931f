"""`datapack check`: check a dataset for faults that spoil training, and for what must not leave."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, console, workspace
from datapack.cli.output import Marked
from datapack.errors import UsageError
from datapack.text import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from datapack.bag.bagit import Bag
    from datapack.cli.options import Commands
    from datapack.cli.output import Colour, Line
    from datapack.inspect.findings import Finding, Severity
    from datapack.inspect.model import Survey

_EXAMPLES = (
    "datapack check reef@v1",
    "datapack check reef@v1 --deep            # also decode every image",
    "datapack check data/reef/v1 --strict     # a bag's folder; warnings count as errors",
    "datapack check reef@v1 --json | jq '.findings[] | {code, count}'",
)
_SEVERITIES: dict[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "green"}  # the worst first


class _Wanted(NamedTuple):
    """What to check: a bag, and what the catalog says about it."""

    bag: Bag
    folders: Mapping[str, str]
    silence: Mapping[str, str]


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
        "--deep", action="store_true", help="decode every image, to find broken, near-duplicate, blurred and dark ones"
    )
    parser.add_argument("--strict", action="store_true", help="fail for warnings too")


def run(options: argparse.Namespace) -> Answer:
    """Check a dataset; the status is 1 if there are errors that the catalog does not silence."""
    from datapack.inspect.check import check, open_findings
    from datapack.inspect.survey import survey

    wanted = _find(options)
    seen = survey(wanted.bag, console(options), folders=wanted.folders, deep=options.deep)
    found = check(seen, wanted.silence)
    status = 1 if open_findings(found, strict=options.strict) else 0
    unused = sorted(wanted.silence.keys() - {finding.rule.code for finding in found})
    return Answer(_value(options.what, seen, found, status), [*_lines(options.what, seen, found, unused)], status)


def _find(options: argparse.Namespace) -> _Wanted:
    """Find the bag: a folder, or the one of a version of the catalog."""
    from datapack.bag.bagit import DECLARATION, Bag
    from datapack.catalog.model import Catalog
    from datapack.reference import Reference

    folder = options.folder.resolve() / options.what
    if "@" not in Path(options.what).name or folder.is_dir():
        if not folder.is_dir():
            expected = "name@version, or a bag's folder"
            raise UsageError("neither a version nor a folder", where="WHAT", expected=expected, found=options.what)
        if not (folder / DECLARATION).exists():
            fix = "give the version too, such as 'datapack check NAME@v1'; 'datapack list' shows all"
            raise UsageError("not a bag", where=options.what, expected=f"a folder with {DECLARATION}", fix=fix)
        return _Wanted(Bag.open(folder), {}, {})
    here, reference = workspace(options), Reference.parse(options.what)
    entry = Catalog.read(here.catalog).entry(reference)
    path = here.bag(reference)
    if not path.is_dir():
        raise UsageError("not fetched yet", where=reference, fix=f"run 'datapack fetch {reference}' first")
    return _Wanted(Bag.open(path), entry.image_folders, entry.version.silenced)


def _lines(what: str, seen: Survey, found: Sequence[Finding], unused: Sequence[str]) -> Iterator[Line]:
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
    yield f"checked {what}: {_summary(seen)}"
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


def _summary(seen: Survey) -> str:
    boxes = sum(len(coco.boxes) for coco in seen.cocos)
    parts = [
        counted(len(seen.files), "file"),
        counted(len(seen.images), "image"),
        *([f"{counted(boxes, 'box', 'boxes')} in {counted(len(seen.cocos), 'COCO file')}"] * bool(seen.cocos)),
        *([counted(len(seen.tables), "table")] * bool(seen.tables)),
        *([counted(len(seen.weights), "weights file", "weights files")] * bool(seen.weights)),
        *(["every image decoded"] * bool(seen.deep)),
    ]
    return ", ".join(parts)


def _conclusion(unsilenced: Sequence[Finding]) -> Line:
    if not unsilenced:
        return Marked("nothing found", "green", "")
    counts = ((severity, sum(one.rule.severity == severity for one in unsilenced)) for severity in _SEVERITIES)
    return "found " + ", ".join(counted(count, severity) for severity, count in counts if count)


def _value(what: str, seen: Survey, found: Sequence[Finding], status: int) -> dict[str, Any]:
    """Return the answer for JSON."""
    checked = {
        "files": len(seen.files),
        "images": len(seen.images),
        "coco_files": len(seen.cocos),
        "boxes": sum(len(coco.boxes) for coco in seen.cocos),
        "tables": len(seen.tables),
        "weights": len(seen.weights),
        "decoded": len(seen.deep),
    }
    findings = [
        {
            **asdict(one.rule),
            "count": one.count,
            "examples": list(one.examples),
            "catalog": one.catalog or None,
            "silenced": one.silenced or None,
        }
        for one in found
    ]
    return {"what": what, "digest": seen.digest, "passed": not status, "checked": checked, "findings": findings}
