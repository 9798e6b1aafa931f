"""The catalog, ``datasets.yml``: the datasets, their versions, and where each version's files come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from datapack.catalog import about, model_section
from datapack.catalog.about import Creator, Published, Requester, ResponsibleAI, Text
from datapack.catalog.codes import NEEDS_CODE, Code
from datapack.catalog.governance import Governance, Retention
from datapack.catalog.model_section import InputSize, ModelSection, TrainedOnDataset
from datapack.catalog.models import model_problem
from datapack.catalog.origins import origin_problems
from datapack.catalog.source_entry import KINDS, SourceEntry, kinds_of
from datapack.catalog.sources import FORMS, CocoSource, SplitSource, SubsetSource
from datapack.catalog.sources.derived import inside
from datapack.catalog.sources.split import list_of
from datapack.catalog.strict import StrictModel
from datapack.catalog.validation import Vocabulary, first_problem, nearest
from datapack.errors import CatalogError, UsageError
from datapack.hashing import digest_of
from datapack.oci.spec import canonical_json
from datapack.reference import NAME, NAME_FORM, VERSION, VERSION_FORM, Reference
from datapack.yamlfile import Place, YamlFile, describe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from datapack.catalog.sources import AnySource

_NAME, _VERSION = f"^(?:{NAME.pattern})$", f"^(?:{VERSION.pattern})$"
_BASE = r"^(?:oci:\S.*|[^\s@/]+/[^\s@]+@sha256:[0-9a-f]{64})$"
_REGISTRY = r"^[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$"
URL = r"^https?://[^\s/?#@]+([/?#]\S*)?$"
_FORMS = {  # each pattern in words, for errors
    _NAME: NAME_FORM,
    _VERSION: VERSION_FORM,
    _BASE: "REGISTRY/NAME:TAG@sha256:<64 hex digits>, or oci:DIR",
    _REGISTRY: "a registry and a namespace, such as ghcr.io/my-group",
    URL: "an http or https URL, without a user name or password",
    **FORMS,
    **about.FORMS,
    **model_section.FORMS,
}


def _check_pinned(base: Any) -> Any:
    """Refuse an image that has only a tag, and say how to get its digest."""
    if isinstance(base, str) and ":" in base and "@" not in base and not base.startswith("oci:"):
        raise PydanticCustomError(
            "base",
            "{what}",
            {
                "what": "the base is not pinned by digest",
                "expected": _FORMS[_BASE],
                "fix": "run 'datapack base' to look up the digest",
            },
        )
    return base


class Defaults(Governance):
    """Settings for all datasets of the catalog."""

    base: Annotated[str, BeforeValidator(_check_pinned)] = Field(
        pattern=_BASE,
        description="the base image of import containers, pinned by digest: REGISTRY/NAME:TAG@sha256:..., or "
        "oci:DIR, a folder with an OCI layout",
    )
    registry: str | None = Field(
        None,
        pattern=_REGISTRY,
        description="the registry and namespace that 'datapack push' sends images to, such as ghcr.io/my-group; "
        "without it, it needs --to",
    )
    connections: int = Field(
        5, strict=True, ge=1, le=64, description="the largest number of connections to a host at a time"
    )


class Version(StrictModel):
    """One version of a dataset. Do not change a version once it is built; add a new one."""

    parent: str | None = Field(
        None,
        pattern=_VERSION,
        description="the version of the same dataset that this one follows: files in both are not fetched, stored or "
        "pushed again; it changes the image, never the bag",
    )
    sources: tuple[SourceEntry, ...] = Field(
        min_length=1, description="where its files come from; they are fetched in this order"
    )
    published: Published | None = Field(None, description="when this version was published, if not with the dataset")
    model: ModelSection | None = Field(
        None, description="what its weights are, in a dataset of 'kind: model'; a 'run' source says it itself"
    )
    similar_names: bool = Field(
        False,
        strict=True,
        description="'true' allows file names that differ only in case or in Unicode form (A.png and a.png), which "
        "macOS and Windows treat as the same file",
    )
    silence: dict[Code, Annotated[str, Field(min_length=1)]] = Field(
        default={},
        description="findings of 'datapack check' that are accepted: the code of each, such as DP309, with the "
        "reason; it does not change the bag",
    )

    @property
    def silenced(self) -> dict[str, str]:
        """The findings that are accepted, and why: those of `silence`, and what `allow_pickle` accepts."""
        allowed = self.model.allow_pickle if self.model else None
        return {**({NEEDS_CODE: allowed} if allowed else {}), **self.silence}


class Dataset(Governance):
    """What a dataset is and who is responsible for it, for all versions."""

    title: str = Field(min_length=1, description="a short description")
    licence: str = Field(
        min_length=1, description="the licence, as an SPDX expression (https://spdx.org/licenses) if there is one"
    )
    kind: Literal["dataset", "model"] = Field("dataset", description="'model' if the dataset is the weights of a model")
    homepage: str | None = Field(None, pattern=URL, description="a web page about the dataset, an http or https URL")
    publisher: str | None = Field(None, min_length=1, description="the organisation that publishes the dataset")
    contact: str | None = Field(
        None,
        min_length=1,
        description="who answers questions about this copy of the dataset; image hosts also see it, in the "
        "User-Agent of downloads",
    )
    description: Text | None = Field(None, description="what the dataset contains, in a few sentences")
    creators: Annotated[tuple[Creator, ...], Field(min_length=1)] = Field(
        (), description="who made the dataset: persons and organisations"
    )
    published: Published | None = Field(
        None, description="when it was published: a day, a month or a year, such as 2024-05-31, 2024-05 or 2024"
    )
    keywords: Annotated[tuple[Text, ...], Field(min_length=1)] = Field((), description="words to find the dataset by")
    citation: Text | None = Field(
        None,
        description="how to cite the dataset, in words or as BibTeX; by default creators, year, title, version, "
        "publisher and homepage",
    )
    responsible_ai: ResponsibleAI | None = Field(None, description="what to know before training on the dataset")
    requested_by: Requester | None = Field(
        None, description="who asks to bring the dataset into a Trusted Research Environment"
    )
    private: bool = Field(
        False,
        strict=True,
        description="'true' if not everybody may have the data, 'false' if everybody may; if missing, the licence "
        "decides. If 'true', datapack refuses to push to a repository that can be read without a login, and closes "
        "the folders of the data to other users",
    )
    versions: dict[Annotated[str, Field(pattern=_VERSION)], Version] = Field(
        min_length=1, description="the versions by name"
    )


@dataclass(frozen=True)
class Entry:
    """What the catalog says about one version."""

    reference: Reference
    dataset: Dataset
    version: Version
    defaults: Defaults
    origins: tuple[Entry, ...] = ()  # the versions that its sources take files from

    @property
    def base(self) -> str:
        return self.defaults.base

    @property
    def connections(self) -> int:
        return self.defaults.connections

    @cached_property
    def governance(self) -> Governance:
        """The answers for information governance: the dataset's, and the defaults' where it has none."""
        return self.dataset.answers_or(self.defaults)

    @property
    def is_model(self) -> bool:
        """Whether its files are the weights of a model."""
        return self.dataset.kind == "model"

    @property
    def sources(self) -> tuple[AnySource, ...]:
        return self.version.sources

    @property
    def parent(self) -> Reference | None:
        """The version that this one is based on."""
        return Reference(self.reference.name, self.version.parent) if self.version.parent else None

    @cached_property
    def image_folders(self) -> dict[str, str]:
        """The payload folder of the images of each COCO file that the catalog names, by its path."""
        known = {origin.reference: origin.image_folders for origin in self.origins}
        folders: dict[str, str] = {}
        for source in self.sources:
            match source:
                case CocoSource():
                    folders[source.coco] = source.into
                case SubsetSource():
                    of_origin = known[source.origin].items()
                    folders |= {inside(source.into, path): inside(source.into, folder) for path, folder in of_origin}
                case SplitSource(coco=str(coco)) if (folder := known[source.origin].get(coco)) is not None:
                    lists = (inside(source.into, list_of(part, coco)) for part in source.ratios)
                    folders |= dict.fromkeys(lists, inside(source.into, folder))
        return folders

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the sources, which shows whether the entry changed since it was fetched.

        It covers the sources of the versions that this one is derived from, and of a model what ``model.json`` says.
        It covers neither mirrors, hosts and headers, which say how to get the same files, nor the parent.
        """
        places = {"mirrors", "hosts", "headers"}
        sources = [source.model_dump(mode="json", exclude_defaults=True, exclude=places) for source in self.sources]
        model = [[self.dataset.licence, self.version.model and self.version.model.said]] if self.is_model else []
        return digest_of(canonical_json([*sources, *model, *(origin.fingerprint for origin in self.origins)]))


class Catalog(StrictModel):
    """The content of ``datasets.yml``."""

    defaults: Defaults = Field(description="settings for all datasets")
    datasets: dict[Annotated[str, Field(pattern=_NAME)], Dataset] = Field(
        min_length=1, description="the datasets by name"
    )

    @classmethod
    def read(cls, path: Path) -> Catalog:
        """Read a catalog.

        Raises:
            CatalogError: it is invalid; the error names the line and the place of the first problem, and its
                ``details`` are the other problems.
        """
        file = YamlFile.read(path)
        try:
            catalog = cls.model_validate(file.value)
        except ValidationError as error:
            raise first_problem(file, error, Vocabulary(_keys, _FORMS)) from error
        entries = catalog._entries()  # without their origins, which may lead in a circle
        problems = [problem for entry in entries if (problem := _parent_problem(entry, file))]
        private = {entry.reference for entry in entries if entry.dataset.private}
        versions = {entry.reference: entry.sources for entry in entries}
        models = (
            model_problem(entry.reference, entry.sources, entry.version.model, file, is_model=entry.is_model)
            for entry in entries
        )
        problems += filter(None, models)
        if problems := problems or list(origin_problems(versions, private, file)):
            first, *others = problems
            first.details = tuple(map(str, others))
            raise first
        return catalog

    def entry(self, reference: Reference) -> Entry:
        """Return the entry of a version; raise `UsageError`, suggesting a similar one, if it does not exist."""
        dataset = self.datasets.get(reference.name)
        version = dataset.versions.get(reference.version) if dataset else None
        if dataset is None or version is None:
            known = [str(entry.reference) for entry in self.entries()]
            raise UsageError(
                f"no {reference} in the catalog"
                if dataset is None
                else f"{reference.name} has no version {reference.version}",
                expected=f"one of {', '.join(known)}",
                fix=nearest(str(reference), known),
            )
        return self._with_origins(reference, {})

    def entries(self) -> list[Entry]:
        """Return every version, in the order of the file."""
        known: dict[Reference, Entry] = {}
        return [self._with_origins(entry.reference, known) for entry in self._entries()]

    def _entries(self) -> list[Entry]:
        return [
            Entry(Reference(name, tag), dataset, version, self.defaults)
            for name, dataset in self.datasets.items()
            for tag, version in dataset.versions.items()
        ]

    def _with_origins(self, reference: Reference, known: dict[Reference, Entry]) -> Entry:
        """Return the entry of a version and of its origins, each built once and kept in ``known``."""
        if reference not in known:
            dataset = self.datasets[reference.name]
            version = dataset.versions[reference.version]
            others = dict.fromkeys(source.origin for source in version.sources if source.origin)
            origins = tuple(self._with_origins(other, known) for other in others)
            known[reference] = Entry(reference, dataset, version, self.defaults, origins)
        return known[reference]


def _parent_problem(entry: Entry, file: YamlFile) -> CatalogError | None:
    """Return an error if a version's parent is not a version of the dataset, or leads back to the version."""
    versions, version = entry.dataset.versions, entry.reference.version
    chain = {version: None}  # an ordered set
    parent = versions[version].parent
    while parent is not None and parent in versions and parent not in chain:
        chain[parent] = None
        parent = versions[parent].parent
    place = ("datasets", entry.reference.name, "versions", version, "parent")
    if parent == version:
        return CatalogError(
            f"{describe(place)}: circular parents",
            where=file.where(place),
            expected="an earlier version",
            found=" -> ".join([*chain, version]),
        )
    if entry.version.parent is not None and entry.version.parent not in versions:
        others = [other for other in versions if other != version]
        return CatalogError(
            f"{describe(place)}: not a version of {entry.reference.name}",
            where=file.where(place),
            expected=f"one of {', '.join(others)}" if others else "another version, but there is none",
            found=repr(entry.version.parent),
            fix=nearest(entry.version.parent, others),
        )
    return None


# The models that have keys, by their place below a version.
_BELOW_VERSION: dict[Place, type[StrictModel]] = {
    (): Version,
    ("model",): ModelSection,
    ("model", "input"): InputSize,
    ("model", "trained_on"): TrainedOnDataset,
}
_BELOW_DATASET: dict[str, type[StrictModel]] = {
    "creators": Creator,
    "requested_by": Requester,
    "responsible_ai": ResponsibleAI,
    "retention": Retention,
}


def _keys(file: YamlFile, place: Place) -> Iterable[str]:
    """Return the known keys at a place in a catalog."""
    model: type[BaseModel] | None = None
    match place:
        case ():
            model = Catalog
        case ("defaults",):
            model = Defaults
        case ("defaults", "retention"):
            model = Retention
        case ("datasets", _):
            model = Dataset
        case ("datasets", _, "versions", _, "sources", _):
            model = KINDS[kinds_of(file.get(place))[0]]
        case ("datasets", _, "versions", _, *below):
            model = _BELOW_VERSION.get(tuple(below))
        case ("datasets", _, key, *_):
            model = _BELOW_DATASET.get(str(key))
    return model.model_fields if model else ()
