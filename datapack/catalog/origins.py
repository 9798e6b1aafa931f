"""The origins of derived versions: the other versions of the catalog that their files are from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from datapack.catalog.validation import nearest
from datapack.errors import CatalogError
from datapack.yamlfile import describe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from datapack.catalog.sources import Source
    from datapack.reference import Reference
    from datapack.yamlfile import Place, YamlFile

_NO_DERIVATIVES = re.compile(r"(?<![a-z])nd(?![a-z])|no[- ]?deriv", re.IGNORECASE)


def forbids_adaptations(licence: str) -> bool:
    """Whether a licence, such as CC-BY-ND-4.0, forbids to share adaptations of the data."""
    return _NO_DERIVATIVES.search(licence) is not None


def origin_problems(
    versions: Mapping[Reference, Sequence[Source]], private: Collection[Reference], file: YamlFile
) -> Iterator[CatalogError]:
    """Yield an error for each source of files from a version that does not exist, must stay private, or is a circle.

    Args:
        versions: the sources of each version.
        private: the versions of private datasets.
        file: the catalog.
    """
    unknown = [problem for version in versions for problem in _unknown(version, versions, file)]
    yield from unknown
    for version in versions if not unknown else ():
        for origin, place in _origins(version, versions):
            if chain := _chain(origin, version, versions):
                what, found = "a version can't be derived from itself", " -> ".join(map(str, chain))
                yield CatalogError(f"{describe(place)}: {what}", where=file.where(place), found=found)
            elif origin in private and version not in private:
                yield CatalogError(
                    f"{describe(place)}: {origin} is private, so what is derived from it must be private too",
                    where=file.where(place),
                    fix=f"add 'private: true' to {version.name}",
                )


def _origins(version: Reference, versions: Mapping[Reference, Sequence[Source]]) -> Iterator[tuple[Reference, Place]]:
    """Yield the version that each source takes files from, if any, and the place of its name in the catalog."""
    for number, source in enumerate(versions[version]):
        if source.origin:
            kind = source.label.partition(" ")[0]
            yield source.origin, ("datasets", version.name, "versions", version.version, "sources", number, kind)


def _unknown(
    version: Reference, versions: Mapping[Reference, Sequence[Source]], file: YamlFile
) -> Iterator[CatalogError]:
    for origin, place in _origins(version, versions):
        if origin not in versions:
            others = [str(other) for other in versions if other != version]
            yield CatalogError(
                f"{describe(place)}: no such version in the catalog",
                where=file.where(place),
                expected=f"one of {', '.join(others)}" if others else "another version, but there is none",
                found=str(origin),
                fix=nearest(str(origin), others),
            )


def _chain(origin: Reference, end: Reference, versions: Mapping[Reference, Sequence[Source]]) -> list[Reference]:
    """Return the versions on the way from ``end`` through its origin back to itself; none if no way leads back."""
    before = {origin: end}
    pending = [origin]
    while pending and end not in before:
        at = pending.pop()
        for other, _ in _origins(at, versions):
            if other not in before:
                before[other] = at
                pending.append(other)
    if end not in before:
        return []
    way = [end, before[end]]
    while way[-1] != end:
        way.append(before[way[-1]])
    return way[::-1]
