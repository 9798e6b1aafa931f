"""Writing the report of a version: what the page needs is read here, and passed on as values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.bagit import Bag
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.errors import BagError, DatapackError
from datapack.files import atomic_writer, disk_errors, open_regular
from datapack.inspect.check import check
from datapack.inspect.survey import survey as look
from datapack.metadata.facts import dataset_facts
from datapack.metadata.schema_org import in_page, schema_org
from datapack.report import facts
from datapack.report.choice import choose
from datapack.report.coco_lists import Lists
from datapack.report.image import image_facts
from datapack.report.model import model_page
from datapack.report.page import Head, make_page
from datapack.report.samples import Shown, draw, why_not

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.inspect.findings import Finding
    from datapack.inspect.model import Survey
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_OWNER_ONLY = 0o600
_PAGE = b"<!doctype html>"


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    path: Path
    bytes: int
    digest: str  # the dataset digest
    findings: tuple[Finding, ...]
    shown: Shown  # the images of the data in the page


def write_report(
    workspace: Workspace,
    reference: Reference,
    path: Path | None = None,
    *,
    samples: bool | None = None,
    deep: bool = False,
    reporter: Reporter,
) -> Written:
    """Write the report of a fetched version.

    Args:
        workspace: where the version is.
        reference: the version.
        path: the page; by default ``dist/<name>-<version>.report.html``.
        samples: whether the page shows images of the data; by default unless they are private or the licence has ND.
        deep: whether to decode every image, for the findings that only pixels show.
        reporter: shows progress.

    Raises:
        BagError: the version is not on this machine, or its bag is damaged.
        DatapackError: the page can't be written.
    """
    entry, lock = Catalog.read(workspace.catalog).entry(reference), Lock.read(workspace.lock)
    bag = _open(workspace, reference)
    found = look(bag, reporter, folders=entry.image_folders, deep=deep)
    results = check(found, entry.version.silenced)
    head = _head(workspace, entry, bag, lock, found)
    shown = _samples(entry, bag, found, samples)
    page = make_page(head, found, results, shown, deep=deep).encode()
    path = path or workspace.report(reference)
    _write(path, page, private=entry.dataset.private)
    return Written(path, len(page), found.digest, results, shown)


def _open(workspace: Workspace, reference: Reference) -> Bag:
    path = workspace.bag(reference)
    if not path.is_dir():
        fix = f"run 'datapack fetch {reference}' first"
        raise BagError("the version is not on this machine, so there is nothing to show", where=reference, fix=fix)
    return Bag.open(path)


def _head(workspace: Workspace, entry: Entry, bag: Bag, lock: Lock, found: Survey) -> Head:
    locked = lock.entries.get(entry.reference)
    parent = lock.entries.get(entry.parent) if entry.parent else None
    differs = locked is not None and locked.digest != bag.manifest.digest
    return Head(
        title=entry.dataset.title,
        reference=str(entry.reference),
        digest=bag.manifest.digest,
        private=entry.dataset.private,
        about=facts.about(workspace, entry, bag, lock),
        warning=f"datasets.lock has another content for this version: {locked.digest}" if locked and differs else "",
        sources=facts.sources(entry),
        hosts=facts.hosts(bag),
        since=facts.changes(workspace, entry, bag, lock),
        image=image_facts(bag, entry.reference, locked, parent) if locked else None,
        missing=facts.missing(found.missing),
        missing_reasons=facts.missing_reasons(found.missing),
        model=model_page(bag) if entry.is_model else None,
        structured=in_page(schema_org(dataset_facts(entry, bag, locked))),
    )


def _samples(entry: Entry, bag: Bag, found: Survey, samples: bool | None) -> Shown:
    if reason := why_not(entry.dataset, samples):
        return Shown((), reason, 0, 0)
    lists = Lists.of(found)
    return draw(bag.path, choose(found, lists), found.images, lists)


def _write(path: Path, page: bytes, *, private: bool) -> None:
    """Write the page; that of private data only its owner may read."""
    if path.is_dir():
        raise DatapackError("a folder is where the report should go", where=path, fix="choose another --output")
    if os.path.lexists(path):
        _check_replaceable(path)
    with disk_errors(path, DatapackError), atomic_writer(path) as file:
        if private:
            os.fchmod(file.fileno(), _OWNER_ONLY)
        file.write(page)


def _check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a page or an empty file: a catalog, a device, ..."""
    with disk_errors(path, DatapackError), open_regular(path, DatapackError) as file:
        if file.read(len(_PAGE)) not in {_PAGE, b""}:
            fix = "move it away, or choose another --output"
            raise DatapackError("this file, which is no report, would be replaced", where=path, fix=fix)
