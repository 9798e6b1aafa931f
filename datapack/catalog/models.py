"""Whether what a catalog says of models fits together: `kind: model`, the section `model:` and sources of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.catalog.sources import RunSource
from datapack.errors import CatalogError
from datapack.yamlfile import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.catalog.model_section import ModelSection
    from datapack.catalog.sources import Source
    from datapack.reference import Reference
    from datapack.yamlfile import Place, YamlFile

    _Problem = tuple[Place, str, str | None]  # the place below the version, what is wrong, and what to do


def model_problem(
    reference: Reference, sources: Sequence[Source], section: ModelSection | None, file: YamlFile, *, is_model: bool
) -> CatalogError | None:
    """Return an error if a version is a model without facts, or has facts of a model and is none.

    Args:
        reference: the version.
        sources: its sources.
        section: its section `model`.
        file: the catalog.
        is_model: whether its dataset is of `kind: model`.
    """
    place: Place = ("datasets", reference.name, "versions", reference.version)
    runs = [number for number, source in enumerate(sources) if isinstance(source, RunSource)]
    found = _incomplete(section, runs) if is_model else _no_model(section, runs, reference)
    if found is None:
        return None
    below, what, fix = found
    at = (*place, *below)
    return CatalogError(f"{describe(at)}: {what}", where=file.where(at), fix=fix)


def _no_model(section: ModelSection | None, runs: Sequence[int], reference: Reference) -> _Problem | None:
    """Find what only a model has."""
    fix = f"add 'kind: model' to {reference.name}"
    if section is not None:
        return ("model",), "only a model has this section", fix
    return (("sources", runs[0]), "only a model can be made from a run", fix) if runs else None


def _incomplete(section: ModelSection | None, runs: Sequence[int]) -> _Problem | None:
    """Find what a model lacks, or has twice."""
    if len(runs) > 1:
        return ("sources", runs[1]), "a second run, but a version is one model", "make a version of each"
    if section is None and not runs:
        return (), "missing key 'model': the section that says what the weights are", "add it, with 'architecture'"
    if section is not None and section.architecture is None and not runs:
        return ("model",), "missing key 'architecture'", None
    return None
