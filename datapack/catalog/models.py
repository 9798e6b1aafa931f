"""Whether what a catalog says of models fits together: `kind: model`, the section `model:` and sources of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.catalog.sources import RunSource
from datapack.errors import CatalogError
from datapack.yamlfile import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.catalog.model import Entry
    from datapack.yamlfile import Place, YamlFile

    _Problem = tuple[Place, str, str | None]  # the place below the version, what is wrong, and what to do


def model_problem(entry: Entry, file: YamlFile) -> CatalogError | None:
    """Return an error if a version is a model without facts, or has facts of a model and is none."""
    place: Place = ("datasets", entry.reference.name, "versions", entry.reference.version)
    runs = [number for number, source in enumerate(entry.sources) if isinstance(source, RunSource)]
    found = _no_model(entry, runs) if not entry.is_model else _incomplete(entry, runs)
    if found is None:
        return None
    below, what, fix = found
    at = (*place, *below)
    return CatalogError(f"{describe(at)}: {what}", where=file.where(at), fix=fix)


def _no_model(entry: Entry, runs: Sequence[int]) -> _Problem | None:
    """Find what only a model has."""
    fix = f"add 'kind: model' to {entry.reference.name}"
    if entry.version.model is not None:
        return ("model",), "only a model has this section", fix
    return (("sources", runs[0]), "only a model can be made of a run", fix) if runs else None


def _incomplete(entry: Entry, runs: Sequence[int]) -> _Problem | None:
    """Find what a model lacks, or has twice."""
    section = entry.version.model
    if len(runs) > 1:
        return ("sources", runs[1]), "a second run, but a version is one model", "make a version of each"
    if section is None and not runs:
        return (), "missing key 'model': the section that says what the weights are", "add it, with 'architecture'"
    if section is not None and section.architecture is None and not runs:
        return ("model",), "missing key 'architecture'", None
    return None
