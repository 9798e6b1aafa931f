"""Headers of requests, whose values come from environment variables: the catalog never holds a secret."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[ -~]*")
_LONG_WORD = re.compile(r"[^\s,;]{20,}")
# What datapack sets itself, or what belongs to one connection.
_RESERVED = re.compile(
    "accept-encoding|connection|content-length|expect|host|if-range|keep-alive|proxy-.*|range|te|trailer"
    "|transfer-encoding|upgrade|user-agent",
    re.IGNORECASE,
)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a header, such as Authorization")
    if _RESERVED.fullmatch(name):
        raise ValueError("a header that datapack sets itself")
    return name


def _check_value(value: str) -> str:
    if not _VARIABLE.search(value):
        raise ValueError("a secret must not be in the catalog: name the variable that has it, such as ${MY_TOKEN}")
    rest = _VARIABLE.sub(" ", value)
    if not _PRINTABLE.fullmatch(rest) or "${" in rest:
        raise ValueError("not a value for a header: expected one such as 'Bearer ${MY_TOKEN}'")
    if _LONG_WORD.search(rest):
        raise ValueError("what looks like a secret must not be in the catalog: put it into the variable too")
    return value


def _check_form(headers: Any) -> Any:
    """Refuse what is not text by names, without showing it."""
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("not names of headers with values, such as Authorization: 'Bearer ${MY_TOKEN}'")
    return headers


def _check_unique(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is named twice")
    return headers


def variables_of(value: str) -> list[str]:
    """Return the names of the variables in a header's value, in order."""
    return _VARIABLE.findall(value)


def fill_in(value: str, variables: dict[str, str]) -> str:
    """Return a header's value with the values of its variables."""
    return _VARIABLE.sub(lambda match: variables[match[1]], value)


#: Headers by name; each value names at least one variable, as in ``Bearer ${MY_TOKEN}``.
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_check_name)], Annotated[str, AfterValidator(_check_value)]],
    BeforeValidator(_check_form),
    AfterValidator(_check_unique),
]
HEADERS: dict[str, str] = Field(
    default={},
    description="headers of requests that give access; their values name environment variables, as in 'Bearer "
    "${MY_TOKEN}'",
)
