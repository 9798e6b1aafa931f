"""What the record needs, and the catalog does not say: one line for each answer, with its place and an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datapack.catalog.governance import Governance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.catalog.model import Entry
    from datapack.yamlfile import YamlFile


class Missing(NamedTuple):
    """An answer that is missing."""

    key: str  # of the catalog, or an option
    where: str  # FILE:LINE
    what: str
    example: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; add {self.example}"


_ASKED = (
    ("description", "what the dataset contains", "description: Images of the sea floor, with boxes around animals."),
    ("owner", "who owns the data and decides on its use", "owner: 'My University, data-office@example.org'"),
    ("purpose", "what the data is needed for", "purpose: To train a detector of animals."),
    ("projects", "which projects may use the data", "projects: [eidf123]"),
    ("retention", "until when the data may stay", "retention: {until: 2029-12-31, reason: the data agreement}"),
)


def projects_of(entry: Entry) -> tuple[str, ...]:
    """Return the projects that may use the data; without a list, the one of the person who asks for it."""
    requester = entry.dataset.requested_by
    return entry.governance.projects or ((requester.project,) if requester else ())


def missing_answers(entry: Entry, file: YamlFile, received: object) -> Iterator[Missing]:
    """Yield each answer that is missing.

    Args:
        entry: the version in the catalog.
        file: the catalog, for the line of the dataset.
        received: when the data was received; None if it is not known.
    """
    name = entry.reference.name
    where = file.where(("datasets", name))
    for key, meaning, example in _ASKED:
        holder = entry.governance if key in Governance.model_fields else entry.dataset
        if not (projects_of(entry) if key == "projects" else getattr(holder, key)):
            yield Missing(key, where, f"datasets.{name} has no '{key}', {meaning}", f"'{example}'")
    if received is None:
        what = f"nothing says when {entry.reference} was received: no commit has its line in datasets.lock"
        yield Missing("--received", where, what, "the option '--received 2026-11-28', or commit datasets.lock")
