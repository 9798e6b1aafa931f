"""The facts of a model: what the catalog says, what a run recorded, and the categories in a COCO file."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datapack.bag.model_facts import TrainedOn
from datapack.coco.rows import START, read_rows
from datapack.errors import FetchError

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.bag.model_facts import ModelFacts

_CLOSE = 1e-3  # of metrics: people write three digits, rounded or cut
_MOST = 100_000  # categories
_SHOWN = 5


def merge(said: ModelFacts, recorded: ModelFacts | None, where: str) -> ModelFacts:
    """Return what a run recorded, and beyond that what the catalog says.

    Args:
        said: what the catalog says.
        recorded: what the run recorded; None if the version is not made from a run.
        where: the version, for errors.

    Raises:
        FetchError: the two contradict each other.
    """
    if recorded is None:
        return said
    fix = "correct the section 'model', or leave this out: the run's record has it"
    for key in ("architecture", "weights", "categories", "min_size", "max_size", "trained_on"):
        ours, theirs = getattr(said, key), getattr(recorded, key)
        if ours and ours != theirs:
            raise FetchError(
                f"{key} does not match the run", where=where, expected=_shown(ours), found=_shown(theirs), fix=fix
            )
    for name in said.metrics.keys() & recorded.metrics.keys():
        if not math.isclose(said.metrics[name], recorded.metrics[name], abs_tol=_CLOSE):
            expected, found = said.metrics[name], recorded.metrics[name]
            raise FetchError(f"{name} does not match the run", where=where, expected=expected, found=found, fix=fix)
    return replace(recorded, metrics={**said.metrics, **recorded.metrics}, card=said.card)


def _shown(value: Any) -> str:
    """Format a fact for an error."""
    match value:
        case None | ():
            return "nothing"
        case tuple():
            names = ", ".join(f"{identity} {name}" for identity, name in value[:_SHOWN])
            return f"{names}, ..." if len(value) > _SHOWN else names
        case str() | int():
            return str(value)
    return value.label if isinstance(value, TrainedOn) else repr(value)


def read_categories(path: Path, where: str) -> tuple[tuple[int, str], ...]:
    """Return the ids and names of the categories in a COCO file, by id: in the order of a detector's labels.

    Raises:
        FetchError: it is not JSON, or has no usable categories.
    """
    rows = [value for key, place, value in read_rows(path) if key == "categories" and place != START]
    expected = "a list 'categories' of rows with a whole number 'id' and a text 'name'"
    if not rows or len(rows) > _MOST:
        raise FetchError("no usable list of categories", where=where, expected=expected, found=f"{len(rows):,} rows")
    found: dict[int, str] = {}
    for row in rows:
        try:
            identity, name = int(row["id"]), row["name"]
            is_usable = identity == row["id"] and isinstance(name, str) and name and identity not in found
        except (KeyError, TypeError, ValueError, OverflowError):
            is_usable = False
        if not is_usable:
            raise FetchError("a category that can't be used", where=where, expected=expected, found=f"{row!r:.100}")
        found[identity] = name
    return tuple(sorted(found.items()))
