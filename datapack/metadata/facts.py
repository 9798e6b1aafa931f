"""The facts of a dataset that every metadata format says in its own words: gathered once, so that all say the same."""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.manifest import PAYLOAD
from datapack.catalog.licences import Licence, licences_of, may_be_public
from datapack.catalog.sources import DoiSource
from datapack.metadata.media_types import ending_of, media_type
from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.bag.bagit import Bag
    from datapack.catalog.about import Creator, Requester
    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.reference import Reference

_ADDRESS = re.compile(r"<[^<>]*>|\S+@\S+")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://datapack.github.io/dataset")


class Party(NamedTuple):
    """A person or an organisation."""

    name: str
    is_person: bool
    id: str = ""  # the URL of an ORCID iD or of a ROR
    affiliation: str = ""  # of a person


class Related(NamedTuple):
    """Where the dataset, or a part of it, comes from."""

    kind: str  # DOI or URL
    value: str

    @property
    def url(self) -> str:
        return f"https://doi.org/{self.value}" if self.kind == "DOI" else self.value


class FileKind(NamedTuple):
    """The files of one media type."""

    media_type: str
    patterns: tuple[str, ...]  # that fit these files and no others, below the bag
    files: int
    bytes: int


@dataclass(frozen=True)
class DatasetFacts:
    """What is known about a version of a dataset; empty where the catalog does not say it."""

    reference: Reference
    title: str
    description: str  # never empty: the content in numbers if the catalog has none
    licence: str  # as the catalog has it
    licences: tuple[Licence, ...]  # that it names, if it is an SPDX expression
    homepage: str
    publisher: str
    contact: str
    creators: tuple[Party, ...]
    keywords: tuple[str, ...]
    published: str  # a day, a month or a year, as ISO 8601 writes them
    citation: str
    responsible_ai: Mapping[str, str]
    requester: Party | None  # who asks to bring it into a Trusted Research Environment
    project: str  # that it is asked for
    private: bool  # not everybody may have the data
    digest: str  # the dataset digest
    bytes: int  # of the payload
    files: int
    kinds: tuple[FileKind, ...]  # the largest number of files first
    image: str  # the digest of the import container; empty if none was built of this content
    related: tuple[Related, ...]

    @property
    def name(self) -> str:
        return str(self.reference)

    @property
    def version(self) -> str:
        return self.reference.version

    @property
    def contact_name(self) -> str:
        """The contact without an e-mail address, which the public need not have."""
        return _ADDRESS.sub("", self.contact).strip() or "the contact of this copy"

    @property
    def year(self) -> str:
        """The year of publication."""
        return self.published[:4]

    @property
    def access(self) -> str:
        """Who may have the data, in a sentence."""
        return "Private: not everybody may have it; ask the contact." if self.private else "Public."

    @property
    def identifier(self) -> str:
        """A URN that only this content of this version has, the same on every machine."""
        return self.urn("dataset")

    def urn(self, what: str) -> str:
        """Return a URN of something that belongs to this content of this version, such as its crate."""
        return uuid.uuid5(_NAMESPACE, f"{what} {self.reference} {self.digest}").urn

    @property
    def cite_as(self) -> str:
        """How to cite it: as the catalog says, or as DataCite recommends; empty if too little is known."""
        if self.citation or not (self.creators and self.published):
            return self.citation
        names = "; ".join(party.name for party in self.creators)
        parts = [f"{names} ({self.year}): {self.title}. Version {self.version}", self.publisher, self.homepage]
        return ". ".join(filter(None, parts))


def dataset_facts(entry: Entry, bag: Bag, locked: LockEntry | None) -> DatasetFacts:
    """Gather the facts of a version from its catalog entry, its bag and its lock; no payload byte is read."""
    dataset = entry.dataset
    about = dataset.responsible_ai
    is_this = locked is not None and locked.digest == bag.manifest.digest
    return DatasetFacts(
        reference=entry.reference,
        title=dataset.title,
        description=dataset.description or f"{dataset.title}: {counted(bag.files, 'file')}, {size(bag.bytes)}.",
        licence=dataset.licence,
        licences=licences_of(dataset.licence),
        homepage=dataset.homepage or "",
        publisher=dataset.publisher or "",
        contact=dataset.contact or "",
        creators=tuple(map(_party, dataset.creators)),
        keywords=tuple(dict.fromkeys(dataset.keywords)),
        published=entry.version.published or dataset.published or "",
        citation=dataset.citation or "",
        responsible_ai=about.model_dump(exclude_none=True) if about else {},
        requester=_requester(dataset.requested_by) if dataset.requested_by else None,
        project=dataset.requested_by.project if dataset.requested_by else "",
        private=not may_be_public(dataset),
        digest=bag.manifest.digest,
        bytes=bag.bytes,
        files=bag.files,
        kinds=tuple(_kinds(bag)),
        image=locked.image.digest if locked and locked.image and is_this else "",
        related=tuple(dict.fromkeys(_related(entry))),
    )


def _party(creator: Creator) -> Party:
    link = f"https://orcid.org/{creator.orcid}" if creator.orcid else ""
    link = f"https://ror.org/{creator.ror}" if creator.ror else link
    return Party(creator.name, bool(creator.person), link, creator.affiliation or "")


def _requester(person: Requester) -> Party:
    return Party(
        person.person, True, f"https://orcid.org/{person.orcid}" if person.orcid else "", person.affiliation or ""
    )


def _related(entry: Entry) -> Iterator[Related]:
    """Yield where the files of a version come from, and those of the versions that it is derived from."""
    for source in entry.sources:
        if isinstance(source, DoiSource):
            yield Related("DOI", source.doi)
        elif source.page:
            yield Related("URL", source.page)
    for origin in entry.origins:
        yield from _related(origin)


def _kinds(bag: Bag) -> Iterator[FileKind]:
    """Yield the files of each media type."""
    patterns: defaultdict[str, dict[str, None]] = defaultdict(dict)  # as ordered sets
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path, found in bag.listing.files.items():
        kind, ending = media_type(path), ending_of(path)
        files[kind] += 1
        sizes[kind] += found.size
        depth = "**/" if path.count("/") > 1 else ""
        patterns[kind][f"{PAYLOAD}/{depth}*{escape(ending)}" if ending else escape(path)] = None
    for kind in sorted(files, key=lambda kind: (-files[kind], kind)):
        yield FileKind(kind, tuple(sorted(patterns[kind])), files[kind], sizes[kind])
