"""Validation errors of YAML files that people write: one line each, with the file, the line, the place and what to do.

pydantic finds the problems; this module words them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.yamlfile import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from datapack.errors import DatapackError
    from datapack.yamlfile import Place, YamlFile


# What was expected, by pydantic's error type. For other types pydantic's own words are used.
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "keys with values",
    "dict_type": "keys with values",
    "greater_than_equal": "a number of at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "keys with values",
    "string_too_short": "some text",
    "string_type": "text",
    "too_short": "at least one entry",
    "tuple_type": "a list",
}
_MISSING = {"missing", "missing_argument"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_LONGEST = 60  # characters of a value that an error shows


@dataclass(frozen=True)
class Vocabulary:
    """What an error may say about one type of file: known keys at a place, all its patterns in words, a general fix."""

    keys: Callable[[YamlFile, Place], Iterable[str]]
    forms: Mapping[str, str]
    fix: str | None = None


def first_problem(file: YamlFile, error: ValidationError, vocabulary: Vocabulary) -> DatapackError:
    """Return an error for the first problem in a file; its ``details`` are the other problems, a line each."""
    names: list[tuple[Place, list[ErrorDetails]]] = []
    values: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        place = _place(file.value, detail)
        if _is_name(detail):
            names.append((place, [detail]))
        else:
            values.setdefault(place, []).append(detail)
    # For a value that may have several types, pydantic reports why each of them fails. If one of them nearly fits, only
    # the problems deeper inside it are of interest.
    places = [*values, *(place for place, _ in names)]
    deepest = [(place, values[place]) for place in values if not any(_is_inside(other, place) for other in places)]
    ordered = sorted([*names, *deepest], key=lambda found: _order(file, *found))
    first, *others = (_problem(file, place, details, vocabulary) for place, details in ordered)
    first.details = tuple(str(other) for other in others)
    return first


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Suggest the most similar known name, if one is similar enough."""
    matches = difflib.get_close_matches(text, list(known), n=1)
    return f"did you mean {matches[0]!r}?" if matches else None


def _order(file: YamlFile, place: Place, details: list[ErrorDetails]) -> tuple[bool, int, str]:
    """Sort problems by line, but missing keys last: often such a key is there and only misspelt."""
    return details[0]["type"] in _MISSING, file.line(place), describe(place)


def _is_name(detail: ErrorDetails) -> bool:
    """Whether the key is wrong, not its value."""
    return detail["loc"][-1:] == ("[key]",)


def _is_inside(place: Place, other: Place) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _place(value: Any, detail: ErrorDetails) -> Place:
    """Return the place of an error in the file, without steps that only pydantic has, such as a branch of a union."""
    place: list[str | int] = []
    for step in detail["loc"]:
        inside: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step in inside:
            place.append(step)
            value = value[step]
    if detail["type"] in _MISSING:
        place.append(detail["loc"][-1])
    return tuple(place)


def _problem(file: YamlFile, place: Place, details: list[ErrorDetails], vocabulary: Vocabulary) -> DatapackError:
    """Word the problem at one place; there are several details if several types were tried."""
    detail, where = details[0], file.where(place)
    if detail["type"] in _MISSING:
        return file.error(_at(place[:-1], f"missing key {place[-1]!r}"), where=where, fix=vocabulary.fix)
    if detail["type"] in _UNKNOWN:
        known = sorted(vocabulary.keys(file, place[:-1]))
        return file.error(
            _at(place[:-1], f"unknown key {place[-1]!r}"),
            where=where,
            expected=f"one of {', '.join(known)}",
            fix=nearest(str(place[-1]), known) or vocabulary.fix,
        )
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":  # worded by the model itself; the value may hold a secret, so it is not shown
        return file.error(_at(place, str(context["error"])), where=where)
    return file.error(
        _at(place, context.get("what", "invalid name" if _is_name(detail) else "invalid value")),
        where=where,
        expected=" or ".join(dict.fromkeys(_expected(one, vocabulary) for one in details)),
        found=context.get("found", _show(detail["input"])),
        fix=context.get("fix") or vocabulary.fix or _quote(detail),
    )


def _quote(detail: ErrorDetails) -> str | None:
    """Say how a value of another type becomes text: YAML reads ``2024`` as a number and ``true`` as a boolean."""
    is_plain = isinstance(detail["input"], bool | int | float)
    return "put it in quotes" if detail["type"] == "string_type" and is_plain else None


def _at(place: Place, what: str) -> str:
    return f"{describe(place)}: {what}" if place else what


def _expected(detail: ErrorDetails, vocabulary: Vocabulary) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "string_pattern_mismatch":
        return vocabulary.forms[context["pattern"]]
    if detail["type"] in _EXPECTED:
        return _EXPECTED[detail["type"]].format(**context)
    return str(context.get("expected") or detail["msg"].removeprefix("Input should be "))


def _show(value: Any) -> str:
    """Format a value briefly, as YAML writes it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "keys with values" if value else "no keys"
        case list():
            return "a list" if value else "an empty list"
        case str():
            return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
        case _:
            return f"the number {value}"
