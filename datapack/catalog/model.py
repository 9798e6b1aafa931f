"""The catalog, ``datasets.yml``: the datasets, their versions, and where each version's files come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from datapack.catalog.codes import Code  # noqa: TC001 - pydantic needs it
from datapack.catalog.origins import origin_problems
from datapack.catalog.sources import FORMS, AnySource, CocoSource, Source, SplitSource, SubsetSource
from datapack.catalog.sources.derived import inside
from datapack.catalog.sources.split import list_of
from datapack.catalog.validation import Vocabulary, first_problem, nearest
from datapack.errors import CatalogError, UsageError
from datapack.hashing import digest_of
from datapack.oci.spec import canonical_json
from datapack.reference import NAME, NAME_FORM, VERSION, VERSION_FORM, Reference
from datapack.yamlfile import Place, YamlFile, describe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


# The models of sources by the key that tells them apart, which is the first field of their own.
KINDS: dict[str, type[Source]] = {
    next(name for name in kind.model_fields if name not in Source.model_fields): kind for kind in get_args(AnySource)
}
_NAME, _VERSION = f"^(?:{NAME.pattern})$", f"^(?:{VERSION.pattern})$"
_BASE = r"^(?:oci:\S.*|[^\s@/]+/[^\s@]+@sha256:[0-9a-f]{64})$"
_REGISTRY = r"^[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$"
URL = r"^https?://[^\s/]+\S*$"
_FORMS = {  # each pattern in words, for errors
    _NAME: NAME_FORM,
    _VERSION: VERSION_FORM,
    _BASE: "REGISTRY/NAME:TAG@sha256:<64 hex digits>, or oci:DIR",
    _REGISTRY: "a registry and a namespace, such as ghcr.io/my-group",
    URL: "an http or https URL",
    **FORMS,
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re", str_strip_whitespace=True)


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


class Defaults(_Model):
    """Settings for all datasets of the catalog."""

    base: Annotated[str, BeforeValidator(_check_pinned)] = Field(
        pattern=_BASE,
        description="the base image of import containers, pinned by digest: NAME:TAG@sha256:..., or oci:DIR",
    )
    registry: str | None = Field(
        None,
        pattern=_REGISTRY,
        description="the registry and namespace that images are pushed to, such as ghcr.io/my-group",
    )
    connections: int = Field(
        5, strict=True, ge=1, le=64, description="the maximum number of simultaneous connections to a host"
    )


def _entry_keys(entry: Any) -> Iterable[str]:
    """Return the keys of a source, which may be a mapping from the file or a model."""
    return entry.keys() if isinstance(entry, dict) else type(entry).model_fields if isinstance(entry, Source) else ()


def _kinds(keys: Iterable[str]) -> list[str]:
    """Return the kinds that a source with these keys may have: ``coco`` beside ``subset`` is a key of the subset."""
    named = KINDS.keys() & keys
    fitting = [kind for kind in named if named <= KINDS[kind].model_fields.keys()]
    return sorted(fitting or named)


def _check_kind(entry: Any) -> Any:
    """Refuse a source of no kind or of several kinds, before its keys are validated."""
    keys = _entry_keys(entry)
    kinds = _kinds(keys)
    if len(kinds) != 1:
        raise PydanticCustomError(
            "kind",
            "{what}",
            {
                "what": "the source has more than one kind" if kinds else "unknown kind of source",
                "expected": f"one of the keys {', '.join(sorted(KINDS))}",
                "found": " and ".join(kinds) or ", ".join(keys) or "no key",
                "fix": None if kinds else next(filter(None, (nearest(key, KINDS) for key in keys)), None),
            },
        )
    return entry


def _tag(kind: str) -> str:
    """Return a tag that can't be a key of the file, so that error paths cannot be confused."""
    return f"<{kind}>"


if TYPE_CHECKING:
    SourceEntry = AnySource
else:
    SourceEntry = Annotated[
        reduce(or_, (Annotated[source, Tag(_tag(kind))] for kind, source in KINDS.items())),
        Discriminator(lambda entry: _tag(_kinds(_entry_keys(entry))[0])),
        BeforeValidator(_check_kind),
    ]


class Version(_Model):
    """One version of a dataset. Do not change a version once it is built; add a new one."""

    parent: str | None = Field(
        None,
        pattern=_VERSION,
        description="the version that this one is based on: files in both are not fetched, stored or pushed again",
    )
    sources: tuple[SourceEntry, ...] = Field(
        min_length=1, description="where its files come from; they are fetched in this order"
    )
    similar_names: bool = Field(
        False,
        strict=True,
        description="allow file names that differ only in case or in Unicode form: macOS and Windows take them for one",
    )
    silence: dict[Code, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="findings of 'datapack check' that are accepted: the code of each, with the reason"
    )


class Dataset(_Model):
    """What a dataset is and who is responsible for it, for all versions."""

    title: str = Field(min_length=1, description="a short description")
    licence: str = Field(min_length=1, description="the licence, as an SPDX expression if there is one")
    homepage: str | None = Field(None, pattern=URL, description="a web page about the dataset")
    publisher: str | None = Field(None, min_length=1, description="the organisation that publishes the dataset")
    contact: str | None = Field(None, min_length=1, description="who answers questions about this copy of the dataset")
    private: bool = Field(
        False, strict=True, description="whether its images must not be pushed to where anyone can pull them"
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

        It covers the sources of the versions that this one is derived from. It covers neither mirrors, hosts and
        headers, which say how to get the same files, nor the parent.
        """
        places = {"mirrors", "hosts", "headers"}
        sources = [source.model_dump(mode="json", exclude_defaults=True, exclude=places) for source in self.sources]
        return digest_of(canonical_json([*sources, *(origin.fingerprint for origin in self.origins)]))


class Catalog(_Model):
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


def _keys(file: YamlFile, place: Place) -> Iterable[str]:
    """Return the known keys at a place in a catalog."""
    match place:
        case ():
            return Catalog.model_fields
        case ("defaults",):
            return Defaults.model_fields
        case ("datasets", _):
            return Dataset.model_fields
        case ("datasets", _, "versions", _):
            return Version.model_fields
        case ("datasets", _, "versions", _, "sources", _):
            return KINDS[_kinds(file.get(place))[0]].model_fields
    return ()
