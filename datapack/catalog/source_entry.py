"""An entry under ``sources:``: its keys tell which kind of source it is."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BeforeValidator, Discriminator, Tag
from pydantic_core import PydanticCustomError

from datapack.catalog.sources import AnySource, Source
from datapack.catalog.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

# The models of sources by the key that tells them apart, which is the first field of their own.
KINDS: dict[str, type[Source]] = {
    next(name for name in kind.model_fields if name not in Source.model_fields): kind for kind in get_args(AnySource)
}


def _entry_keys(entry: Any) -> Iterable[str]:
    """Return the keys of a source, which may be a mapping from the file or a model."""
    return entry.keys() if isinstance(entry, dict) else type(entry).model_fields if isinstance(entry, Source) else ()


def kinds_of(keys: Iterable[str]) -> list[str]:
    """Return the kinds that a source with these keys may have: ``coco`` beside ``subset`` is a key of the subset."""
    named = KINDS.keys() & keys
    fitting = [kind for kind in named if named <= KINDS[kind].model_fields.keys()]
    return sorted(fitting or named)


def _check_kind(entry: Any) -> Any:
    """Refuse a source of no kind or of several kinds, before its keys are validated."""
    keys = _entry_keys(entry)
    kinds = kinds_of(keys)
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
        Discriminator(lambda entry: _tag(kinds_of(_entry_keys(entry))[0])),
        BeforeValidator(_check_kind),
    ]
