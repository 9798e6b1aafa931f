"""What a registry answers: a whole answer in memory, and the errors for answers that can't be used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError, shown
from datapack.web import InvalidAnswerError, NoConnectionError, PrivateAddressError, UntrustedError
from datapack.web.errors import NoTlsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datapack.registry.name import ImageName
    from datapack.web import Response, WebError

LIMIT = 4 << 20  # bytes of a manifest, an error, a token or a list, as registries themselves limit manifests
_MESSAGE_SHOWN = 200  # letters of a registry's own message


@dataclass(frozen=True)
class Answer:
    """The whole answer to a request."""

    url: str  # that was asked, after redirects
    status: int
    headers: Mapping[str, str]  # names in any case
    length: int | None  # of the body; after a HEAD request, of the body that was not sent
    content: bytes = b""

    @classmethod
    def read(cls, response: Response, method: str) -> Answer:
        """Read a response to its end; raise `WebError` if that fails, or if it is longer than `LIMIT`."""
        content = b"" if method == "HEAD" else response.read(LIMIT)
        return cls(response.url, response.status, response.headers, response.length, content)

    @property
    def ok(self) -> bool:
        """Whether the registry did what was asked, whichever of the codes for that it uses."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json(self) -> Any:
        """Return the JSON in the body, or None if it is something else, such as a web page."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class RefusedError(ImageError):
    """A registry refused a request. ``status`` is HTTP's, ``code`` the registry's own, if it gave one."""

    def __init__(self, answer: Answer, name: object, doing: str, fix: str, secrets: Iterable[str] = ()) -> None:
        self.status = answer.status
        self.retry_after = answer.headers.get("Retry-After", "")
        self.code, message = _reason(answer.json())
        said = f"{self.code} {message}"
        for secret in secrets:  # some registries repeat the credential that they refuse
            said = said.replace(secret, "...")
        said = " ".join(said.split())[:_MESSAGE_SHOWN]
        found = f"HTTP {_status_line(self.status)}" + (f" ({shown(said)})" if said else "")
        super().__init__(f"the registry refuses {doing}", where=name, found=found, fix=fix)


def _reason(document: Any) -> tuple[str, str]:
    """Return the code and the message in an error; not every registry has them, and no proxy in front of one."""
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    code, message = (first.get("code"), first.get("message")) if isinstance(first, dict) else ("", "")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status}"


class UnreachableError(ImageError):
    """A registry sent no answer, or only a part of one. ``max_tries``: how many tries are useful."""

    max_tries = 10**6


class _DownError(UnreachableError):
    max_tries = 2


class _FinalError(UnreachableError):
    max_tries = 1


def unreachable(error: WebError, name: ImageName) -> UnreachableError:
    """Make the error that says why no answer came, without the URL, which may contain a token."""
    match error:
        case UntrustedError():
            return _FinalError(
                "the registry's certificate can't be trusted",
                where=name,
                found=error.why,
                fix="name the file of its certificate authority in REQUESTS_CA_BUNDLE, or use --insecure",
            )
        case NoTlsError():
            return _FinalError(
                "the registry does not speak TLS",
                where=name,
                found=error,
                fix="check the name; --insecure uses plain http, where others can read everything, the token too",
            )
        case PrivateAddressError():
            return _FinalError(
                "the registry redirects to a place that is not allowed",
                where=name,
                expected="the registry itself, or https to a host on the public internet",
                found=error,
                fix="configure the registry to store and serve its blobs itself",
            )
        case InvalidAnswerError():
            fix = "check the name; if it is right, ask the registry's operator"
            return _FinalError("the registry's answer can't be read", where=name, found=error, fix=fix)
    kind = _DownError if isinstance(error, NoConnectionError) else UnreachableError
    fix = "check the network and run the same command again"
    return kind("the registry can't be reached", where=name, found=error, fix=fix)
