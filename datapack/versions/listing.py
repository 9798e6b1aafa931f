"""The table of `datapack list`: the state of every version in the catalog. Only names are checked; no data is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from datapack.catalog.model_summary import UNKNOWN, known_model, model_json, summary
from datapack.errors import ImageError
from datapack.image.stand_in import STAND_IN_MEANS
from datapack.oci.layout import Layout
from datapack.text import short_digest, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.lock import Lock, LockEntry
    from datapack.catalog.model import Catalog, Entry
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

WIDTH = 100  # characters per line
_HEADS = ("VERSION", "FETCHED", "VERSIONED", "BUILT", "FILES", "SIZE", "DATASET DIGEST", "ACCESS")
_NUMBERS = {"FILES", "SIZE"}
_NO = "-"
Built = Literal["here", "elsewhere", ""]


@dataclass(frozen=True)
class Row:
    """The state of one version. Values that come from the lock are None until the lock has them."""

    reference: Reference
    title: str
    licence: str
    private: bool
    fetched: bool  # its bag exists here
    versioned: bool  # DVC's pointer to its bag exists here
    built: Built  # whether the default target holds the image in the lock
    files: int | None = None
    bytes: int | None = None
    digest: str | None = None
    stand_in: bool = False  # its image is only for tests and the demo
    kind: str = "dataset"  # or model
    model: ModelFacts | None = None  # what is known of a model

    def to_json(self) -> dict[str, Any]:
        """Return the row for JSON."""
        model = model_json(self.model) if self.model else None
        return {**vars(self), "reference": str(self.reference), "built": self.built or None, "model": model}


def rows(workspace: Workspace, catalog: Catalog, lock: Lock) -> list[Row]:
    """Return a row per version, in the order of the catalog."""
    return [_row(workspace, entry, lock.entries.get(entry.reference)) for entry in catalog.entries()]


def _row(workspace: Workspace, entry: Entry, locked: LockEntry | None) -> Row:
    reference, dataset = entry.reference, entry.dataset
    return Row(
        reference=reference,
        title=dataset.title,
        licence=dataset.licence,
        private=dataset.private,
        fetched=workspace.bag(reference).is_dir(),
        versioned=workspace.pointer(reference).is_file(),
        built=built(workspace, reference, locked.image.digest if locked and locked.image else None),
        files=locked.files if locked else None,
        bytes=locked.bytes if locked else None,
        digest=locked.digest if locked else None,
        stand_in=bool(locked and locked.stand_in),
        kind=dataset.kind,
        model=known_model(workspace, entry),
    )


def built(workspace: Workspace, reference: Reference, image: str | None) -> Built:
    """Say where the image with this digest is. If it is not in the default target, it was built elsewhere."""
    if image is None:
        return ""
    try:
        return "here" if Layout(workspace.dist(reference)).image().digest == image else "elsewhere"
    except ImageError:
        return "elsewhere"


def table(rows: Sequence[Row]) -> str:
    """Format rows in `WIDTH` columns, unless a reference is very long.

    A version takes two lines, and one more each if it is a model and if its image has a stand-in base.
    """
    cells = [_HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *lines = (_line(line, widths) for line in cells)
    return "\n".join([head, *(f"{line}\n{_about(row)}" for row, line in zip(rows, lines, strict=True))])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        str(row.reference),
        "yes" if row.fetched else _NO,
        "yes" if row.versioned else _NO,
        row.built or _NO,
        _NO if row.files is None else f"{row.files:,}",
        _NO if row.bytes is None else size(row.bytes),
        _NO if row.digest is None else short_digest(row.digest),
        "private" if row.private else "public",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if head in _NUMBERS else cell.ljust(width)
        for head, cell, width in zip(_HEADS, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _about(row: Row) -> str:
    """Return the title and the licence, and what a model is, each shortened to fit its line."""
    title, licence = " ".join(row.title.split()), f" ({' '.join(row.licence.split())})"
    room = max(WIDTH - len(licence) - 2, 20)
    lines = [f"  {title if len(title) <= room else f'{title[: room - 3].rstrip()}...'}{licence}"]
    if row.kind == "model":
        about = f"model: {summary(row.model) if row.model else UNKNOWN}"
        lines.append(f"  {about if len(about) <= WIDTH - 2 else f'{about[: WIDTH - 5].rstrip()}...'}")
    if row.stand_in:
        lines.append(f"  its image is not for a Safe Haven: it is based on {STAND_IN_MEANS}")
    return "\n".join(lines)
