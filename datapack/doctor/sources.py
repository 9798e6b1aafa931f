"""The catalog, and what its sources need: credentials, variables and packages that only some of them use."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import TYPE_CHECKING

from datapack.catalog.source_entry import KINDS
from datapack.doctor.result import Result, note, ok, problem
from datapack.fetch.kinds.kaggle_credentials import MAKE_ONE, find_kaggle_credential, kaggle_places
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.catalog.model import Entry
    from datapack.catalog.sources import Source
    from datapack.doctor.place import Place

# By the kind of a source, or the scheme of its URL: the module that it needs, and the extra of datapack that has it.
_EXTRAS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "gcs": ("gcsfs", "gs"),
    "huggingface": ("huggingface_hub", "huggingface"),
}
_VARIABLE = re.compile(r"\$\{(\w+)\}")  # in the headers of a source


def catalog(place: Place) -> Iterator[Result]:
    """Check that there is a catalog and a lock, and that both can be read."""
    if place.error is not None:
        raise place.error
    if place.workspace is None:
        yield note("catalog", f"no datasets.yml in {place.folder} or above", "run 'datapack init' to start one")
    elif place.catalog is not None:
        versions = [is_here for _, is_here in place.entries()]
        datasets = counted(len(place.catalog.datasets), "dataset")
        yield ok("catalog", f"{datasets}, {counted(len(versions), 'version')}, {sum(versions):,} of them fetched here")


def needs(place: Place) -> Iterator[Result]:
    """Check what sources need beyond datapack itself. It is no problem if all versions that need it are here."""
    wanted: dict[str, bool] = {}  # by what a source needs, whether a version that is not here needs it
    for entry, is_here in place.entries():
        for need in _needs(entry):
            wanted[need] = wanted.get(need, False) or not is_here
    for need, is_urgent in sorted(wanted.items()):
        found = _look_for(need)
        if found.mark == "problem" and not is_urgent:
            found = note(found.check, f"{found.found}; every version that needs it is here", found.fix)
        yield found


def _needs(entry: Entry) -> Iterator[str]:
    """Yield what a version's sources need: a kind or a scheme, or the name of a variable after a ``$``."""
    for source in entry.sources:
        kind, value = _kind(source)
        scheme = value.partition("://")[0] if "://" in value else ""
        yield from (name for name in (kind, scheme) if name in _EXTRAS or name == "kaggle")
        for header in getattr(source, "headers", {}).values():
            yield from (f"${name}" for name in _VARIABLE.findall(header))


def _look_for(need: str) -> Result:
    if need.startswith("$"):
        return _variable(need[1:])
    return _kaggle() if need == "kaggle" else _extra(*_EXTRAS[need])


def _variable(name: str) -> Result:
    if os.environ.get(name):
        return ok("variable", f"{name} is set, for the headers of a source")
    return problem("variable", f"{name} is not set, and a source's headers need it", f"set {name} before a fetch")


def _kind(source: Source) -> tuple[str, str]:
    """Return the key that says what kind a source is, and its value."""
    key = next(key for key, kind in KINDS.items() if isinstance(source, kind))
    return key, str(getattr(source, key))


def _kaggle() -> Result:
    found = find_kaggle_credential()
    if found is None:
        return problem("kaggle", "no credential, and a source needs one", f"{MAKE_ONE}; put it in {kaggle_places()}")
    return ok("kaggle", f"a credential in {found}")


def _extra(module: str, extra: str) -> Result:
    if importlib.util.find_spec(module) is None:
        return problem(
            "packages", f"a source needs {module}, which is not installed", f"pip install 'datapack[{extra}]'"
        )
    return ok("packages", f"{module}, which a source needs")
