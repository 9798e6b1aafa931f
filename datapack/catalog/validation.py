"""What is wrong in a YAML file that people write: each problem with its file, line, place, and what was expected there.

pydantic finds the problems; here they become our one-line errors.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import CatalogError
from datapack.yamlfile import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from datapack.yamlfile import Document, Place


# What was expected, by pydantic's name of the error; what is not here is said in pydantic's own words.
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "keys with values",
    "dict_type": "keys with values",
    "greater_than_equal": "a number of at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
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
_LONGEST = 60  # letters of a value that an error shows


@dataclass(frozen=True)
class Vocabulary:
    """The words of one kind of file: its keys by their place, what its patterns stand for, and what always helps."""

    keys: Callable[[Document, Place], Iterable[str]]
    forms: Mapping[str, str]
    fix: str | None = None


def first_problem(document: Document, error: ValidationError, vocabulary: Vocabulary) -> CatalogError:
    """Make an error of the first problem in a file; its ``details`` are the others, a line each."""
    names: list[tuple[Place, list[ErrorDetails]]] = []
    values: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        place = _place(document.value, detail)
        if _is_name(detail):
            names.append((place, [detail]))
        else:
            values.setdefault(place, []).append(detail)
    # A value may be of several types: where one of them is nearly met, only what is wrong deeper inside is of interest.
    deepest = [(place, values[place]) for place in values if not any(_is_inside(other, place) for other in values)]
    ordered = sorted([*names, *deepest], key=lambda found: _order(document, *found))
    first, *others = (_problem(document, place, details, vocabulary) for place, details in ordered)
    first.details = tuple(str(other) for other in others)
    return first


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Ask whether one of the known names was meant, where one is near."""
    matches = difflib.get_close_matches(text, list(known), n=1)
    return f"did you mean {matches[0]!r}?" if matches else None


def _order(document: Document, place: Place, details: list[ErrorDetails]) -> tuple[bool, int, str]:
    """Tell problems in the order of the file; a missing key last, as it is often there and only spelt wrongly."""
    return details[0]["type"] in _MISSING, document.line(place), describe(place)


def _is_name(detail: ErrorDetails) -> bool:
    """Whether it is the name before a value that is wrong, not the value."""
    return detail["loc"][-1:] == ("[key]",)


def _is_inside(place: Place, other: Place) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _place(value: Any, detail: ErrorDetails) -> Place:
    """Give the place of an error in the file, without pydantic's own steps, such as the branch of a union."""
    place: list[str | int] = []
    for step in detail["loc"]:
        inside: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step in inside:
            place.append(step)
            value = value[step]
    if detail["type"] in _MISSING:
        place.append(detail["loc"][-1])
    return tuple(place)


def _problem(document: Document, place: Place, details: list[ErrorDetails], vocabulary: Vocabulary) -> CatalogError:
    """Say what is wrong at one place; there are several details where several types were tried."""
    detail, where = details[0], document.where(place)
    if detail["type"] in _MISSING:
        return CatalogError(_at(place[:-1], f"the key {place[-1]!r} is missing"), where=where, fix=vocabulary.fix)
    if detail["type"] in _UNKNOWN:
        known = sorted(vocabulary.keys(document, place[:-1]))
        return CatalogError(
            _at(place[:-1], f"unknown key {place[-1]!r}"),
            where=where,
            expected=f"one of {', '.join(known)}",
            fix=nearest(str(place[-1]), known) or vocabulary.fix,
        )
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":  # a model's own words; the value may hold a secret
        return CatalogError(_at(place, str(context["error"])), where=where)
    return CatalogError(
        _at(place, context.get("what", "wrong name" if _is_name(detail) else "wrong value")),
        where=where,
        expected=" or ".join(dict.fromkeys(_expected(one, vocabulary) for one in details)),
        found=context.get("found", _show(detail["input"])),
        fix=context.get("fix") or vocabulary.fix,
    )


def _at(place: Place, what: str) -> str:
    return f"{describe(place)}: {what}" if place else what


def _expected(detail: ErrorDetails, vocabulary: Vocabulary) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "string_pattern_mismatch":
        return vocabulary.forms.get(context["pattern"], f"text of the form {context['pattern']}")
    if detail["type"] in _EXPECTED:
        return _EXPECTED[detail["type"]].format(**context)
    return str(context.get("expected") or detail["msg"].removeprefix("Input should be "))


def _show(value: Any) -> str:
    """Write a value in short, as it stands in YAML."""
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
