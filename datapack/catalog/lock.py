"""The lock, ``datasets.lock``: the exact content of each version. datapack writes it; keep it in git."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from datapack.catalog.packing import FORM
from datapack.catalog.validation import Vocabulary, first_problem
from datapack.errors import CatalogError, UsageError
from datapack.files import atomic_writer
from datapack.reference import Reference
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from datapack.yamlfile import Place


HEADER = "# Written by datapack: what each version of datasets.yml is. Keep it in git; do not edit it.\n"
_DIGEST = r"^sha256:[0-9a-f]{64}$"
_DVC_HASH = r"^[0-9a-f]{32}\.dir$"
_FORMS = {
    _DIGEST: "sha256:<64 hex digits>",
    _DVC_HASH: "<32 hex digits>.dir",
    FORM: "a packing, such as 0*512 2*1 0*33",
}
_FIX = "restore the file from git"
_UNSET: tuple[object, ...] = (None, (), {})
_ONE_LINE = 10_000  # characters: lines are never folded, so that each line of a git diff is a complete value
Digest = Annotated[str, Field(pattern=_DIGEST)]
Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LockedImage:
    """An image that was built."""

    digest: Digest  # of the image's manifest, its name in a registry
    id: Digest  # of its config, which engines show
    layers: tuple[Digest, ...]  # lowest first, including the base's


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LockedRunnable(LockedImage):
    """The ready-to-run image of a model, and the trainer image below it."""

    base: Digest


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LockEntry:
    """The exact content of one version. Only the first three values are always known."""

    digest: Digest  # of the bag's manifest: the dataset digest
    bytes: Count  # of the payload
    files: Count  # in the payload
    dvc: Annotated[str, Field(pattern=_DVC_HASH)] | None = None  # DVC's hash of the bag
    catalog: Digest | None = None  # the fingerprint of the catalog entry that the bag was made from
    origins: dict[str, Digest] = field(default_factory=dict)  # the versions it is derived from, as they were then
    base: Digest | None = None  # of the base image
    stand_in: Literal[True] | None = None  # whether the base is a stand-in, only for tests and the demo
    parent: str | None = None  # the version whose layers the images keep as far as possible
    packing: Annotated[str, Field(pattern=FORM)] | None = None  # the data layer of each file in the manifest
    images: tuple[LockedImage, ...] = ()  # that contain the version
    runnable: LockedRunnable | None = None  # the ready-to-run image of a model

    @property
    def image(self) -> LockedImage | None:
        """The image that contains the version, if it was built."""
        return self.images[0] if self.images else None


@dataclass(frozen=True)
class Lock:
    """The entries of all versions, by reference."""

    entries: Mapping[Reference, LockEntry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read a lock, which is empty if there is no file; raise `CatalogError`, naming the line, if it is invalid."""
        if not os.path.lexists(path):  # a link that leads nowhere is an error: its lock must not be forgotten
            return cls()
        file = YamlFile.read(path)
        _check_form(file)
        try:
            entries = _adapter().validate_python({} if file.value is None else file.value)
        except ValidationError as error:
            raise first_problem(file, error, Vocabulary(_keys, _FORMS, _FIX)) from error
        return cls({_reference(file, text): entry for text, entry in entries.items()})

    def with_entry(self, reference: Reference, entry: LockEntry) -> Lock:
        """Return this lock with one version's entry added or replaced."""
        return Lock({**self.entries, reference: entry})

    def without(self, reference: Reference) -> Lock:
        """Return this lock without a version."""
        return Lock({other: entry for other, entry in self.entries.items() if other != reference})

    def write_unless(self, written: Lock, path: Path) -> None:
        """Write the lock unless it equals ``written``, the one on disk."""
        if self != written:
            self.write(path)

    def write(self, path: Path) -> None:
        """Write the lock atomically. The same entries give the same bytes."""
        versions = {
            str(reference): {key: value for key, value in asdict(entry).items() if value not in _UNSET}
            for reference, entry in sorted(self.entries.items())
        }
        text = yaml.safe_dump(versions, sort_keys=False, width=_ONE_LINE) if versions else ""
        with atomic_writer(path) as file:
            file.write((HEADER + text).encode())


def _check_form(file: YamlFile) -> None:
    """Raise `CatalogError` for a lock of datapack 0.1 from before it could list several images of a version."""
    entries = file.value if isinstance(file.value, dict) else {}
    for text, entry in entries.items():
        if isinstance(entry, dict) and "image" in entry:
            raise CatalogError(
                "an older datapack wrote this lock",
                where=file.where((text, "image")),
                expected="images: [{digest: ..., id: ..., layers: [...]}]",
                found="image, image_id and layers",
                fix="move the three there, or remove them and build the version again",
            )


@cache
def _adapter() -> TypeAdapter[dict[str, LockEntry]]:
    return TypeAdapter(dict[str, LockEntry])


def _keys(file: YamlFile, place: Place) -> Iterable[str]:
    kind = LockedImage if "images" in place else LockedRunnable if "runnable" in place else LockEntry
    return [known.name for known in fields(kind)]


def _reference(file: YamlFile, text: str) -> Reference:
    try:
        return Reference.parse(text)
    except UsageError as error:
        raise CatalogError(
            error.what, where=file.where((text,)), expected=error.expected, found=repr(text), fix=_FIX
        ) from error
