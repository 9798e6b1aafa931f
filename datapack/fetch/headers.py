"""Headers that give access: their values come from the environment, go only where they belong, and are never shown."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from datapack.catalog.sources.headers import fill_in, variables_of
from datapack.download.responses import status_line
from datapack.download.secret_headers import NO_HEADERS, SecretHeaders
from datapack.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datapack.catalog.sources import Source
    from datapack.download import Failure

_PLAIN = re.compile(r"[ -~]+")  # what a header can contain
_REFUSED = {status_line(HTTPStatus.UNAUTHORIZED), status_line(HTTPStatus.FORBIDDEN)}


def read_headers(source: Source) -> SecretHeaders:
    """Return the headers of a source, with the values of their variables.

    They go to the servers of the URLs that the catalog names, and over https to the hosts that it names: not to others
    that a list or a redirect names.

    Raises:
        FetchError: a variable is not set, or can't be in a header. Its value is not shown.
    """
    headers = _headers_of(source)
    if not headers:
        return NO_HEADERS
    names = _variables(headers)
    variables = {name: _read(name, source.label) for name in names}
    values = {header: fill_in(value, variables) for header, value in headers.items()}
    return SecretHeaders.to(values, [*source.named_urls, *(f"https://{host}/" for host in source.named_hosts)])


def login_hint(source: Source) -> str:
    """Return what to check if a server refuses a source's headers; nothing for a source without headers."""
    headers = _headers_of(source)
    if not headers:
        return ""
    variables = " and ".join(_variables(headers))
    return f"check that {variables} is still valid and gives access; it is sent only to hosts that the catalog names"


def is_refused(failures: Iterable[Failure]) -> bool:
    """Whether a server gave a file to nobody, or not to us."""
    return any(failure.reason in _REFUSED for failure in failures)


def _headers_of(source: Source) -> Mapping[str, str]:
    return getattr(source, "headers", {})


def _variables(headers: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(name for value in headers.values() for name in variables_of(value)))


def _read(name: str, where: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise FetchError(f"the environment variable {name} is not set", where=where, fix=f"export {name}=...")
    if not _PLAIN.fullmatch(value):
        breaks = "\r" in value or "\n" in value
        found = "a line break" if breaks else "a character that is not printable ASCII"
        raise FetchError(f"the environment variable {name} can't be in a header", where=where, found=found)
    return value
