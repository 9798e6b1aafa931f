"""What a format requires, and the catalog does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.metadata.facts import DatasetFacts

CROISSANT, DATACITE, RO_CRATE, FIVE_SAFES = "Croissant", "DataCite", "RO-Crate", "Five Safes"


class Missing(NamedTuple):
    """An answer that the catalog must give, and the formats that can't do without it."""

    key: str  # its place in the catalog
    meaning: str
    example: str
    formats: tuple[str, ...]

    def __str__(self) -> str:
        need = f"{', '.join(self.formats)} need{'s' if len(self.formats) == 1 else ''} it"
        return f"{self.key}: {self.meaning}; {need}: add {self.example}"


def missing_answers(facts: DatasetFacts) -> Iterator[Missing]:
    """Yield each answer that is missing."""
    place = f"datasets.{facts.reference.name}"
    if not facts.creators:
        example = "creators: [{person: 'Family, Given'}]"
        yield Missing(f"{place}.creators", "who made the dataset", example, (CROISSANT, DATACITE))
    if not facts.published:
        meaning = "when it was published"
        yield Missing(f"{place}.published", meaning, "published: 2024-05-31", (CROISSANT, DATACITE, RO_CRATE))
    if not facts.publisher:
        meaning = "the organisation that publishes it"
        yield Missing(f"{place}.publisher", meaning, "publisher: My University", (DATACITE,))
    if not facts.requester:
        meaning = "who asks to bring it in, and for which project"
        example = "requested_by: {person: 'Family, Given', affiliation: My University, project: My project}"
        yield Missing(f"{place}.requested_by", meaning, example, (FIVE_SAFES,))
