"""What a fetch says about the data once the bag is here: the findings of its checks, in short.

They are kept by the dataset's digest, so that a fetch or a build that changes nothing does not look again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datapack.coco
import datapack.inspect
import datapack.weights
from datapack import __version__
from datapack.errors import FetchError
from datapack.files import atomic_writer, disk_errors, read_limited
from datapack.hashing import hash_bytes
from datapack.jsonfile import parse_json
from datapack.oci.spec import canonical_json
from datapack.text import counted

if TYPE_CHECKING:
    from datapack.bag.bagit import Bag
    from datapack.catalog.model import Entry
    from datapack.fetch.job import FetchJob
    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

_LARGEST = 1 << 20  # bytes of what is kept
_SHOWN = 10  # findings
_SHOWN_SEVERITIES = ("error", "warning")


@dataclass(frozen=True)
class _Kept:
    """A finding in short."""

    code: str
    severity: str
    title: str
    count: int
    example: str

    def __str__(self) -> str:
        example = f", such as {self.example}" if self.example else ""
        return f"{self.severity} {self.code}: {self.title}: {self.count:,}{example}"


def note_findings(job: FetchJob, bag: Bag) -> None:
    """Note the errors and warnings that the catalog does not silence.

    Raises:
        FetchError: there are any, and the job is strict.
    """
    silence = job.entry.version.silenced
    kept = _find(job.workspace, job.entry, bag, job.reporter)
    found = [one for one in kept if one.severity in _SHOWN_SEVERITIES and one.code not in silence]
    found.sort(key=lambda one: (_SHOWN_SEVERITIES.index(one.severity), one.code))
    if not found:
        return
    reference = job.entry.reference
    if job.options.strict:
        raise FetchError(
            "--strict does not accept what the checks found",
            where=reference,
            found=" and ".join(filter(None, (_count(found, severity) for severity in _SHOWN_SEVERITIES))),
            fix=f"'datapack check {reference}' shows how to fix or silence them",
            details=tuple(map(str, found)),
        )
    for one in found[:_SHOWN]:
        job.reporter.note(f"{reference}: {one}")
    more = f"{len(found) - _SHOWN} more findings, and " if len(found) > _SHOWN else ""
    job.reporter.note(f"'datapack check {reference}' shows {more}what to do about them")


def _count(found: list[_Kept], severity: str) -> str:
    count = sum(one.severity == severity for one in found)
    return counted(count, severity) if count else ""


def summarize(workspace: Workspace, entry: Entry, bag: Bag, reporter: Reporter) -> dict[str, Any]:
    """Return what the checks found, and which findings the catalog accepts, for the provenance of an image."""
    silence = entry.version.silenced
    found: list[dict[str, Any]] = []
    for one in _find(workspace, entry, bag, reporter):
        accepted = {"accepted": silence[one.code]} if one.code in silence else {}
        found.append({"code": one.code, "severity": one.severity, "title": one.title, "count": one.count, **accepted})
    return {"datapack": __version__, "rules": _rules(entry.image_folders), "findings": found}


def _find(workspace: Workspace, entry: Entry, bag: Bag, reporter: Reporter) -> list[_Kept]:
    """Return what the checks find, from the cache if these checks have seen the same data before."""
    folders = entry.image_folders
    path = workspace.findings(bag.manifest.digest, _rules(folders))
    kept = _read(path)
    if kept is not None:
        return kept
    found = _check(bag, folders, reporter)
    with disk_errors(path):
        path.parent.mkdir(exist_ok=True)
        with atomic_writer(path) as file:
            file.write(canonical_json([asdict(one) for one in found]))
    return found


def _read(path: Path) -> list[_Kept] | None:
    """Return what is kept, or None if there is nothing, or if it is damaged."""
    try:
        rows = parse_json(read_limited(path, _LARGEST, FetchError), path, FetchError)
        found = [_Kept(**row) for row in rows]
    except (FetchError, TypeError):
        return None
    return found if isinstance(rows, list) and all(map(_is_sound, found)) else None


def _is_sound(kept: _Kept) -> bool:
    texts = (kept.code, kept.severity, kept.title, kept.example)
    return type(kept.count) is int and all(type(text) is str for text in texts)


def _check(bag: Bag, folders: dict[str, str], reporter: Reporter) -> list[_Kept]:
    from datapack.inspect.check import check  # here: a build that changes nothing needs neither numpy nor Pillow
    from datapack.inspect.survey import survey

    return [
        _Kept(found.rule.code, found.rule.severity, found.rule.title, found.count, next(iter(found.examples), ""))
        for found in check(survey(bag, reporter, folders=folders))
    ]


def _rules(folders: dict[str, str]) -> str:
    """Return a hash of what the findings depend on beside the data: the code of the checks, and the folders."""
    packages = [Path(package.__path__[0]) for package in (datapack.coco, datapack.inspect, datapack.weights)]
    modules = sorted(path for package in packages for path in package.rglob("*.py"))
    return hash_bytes(b"".join(map(Path.read_bytes, modules)) + canonical_json(folders))
