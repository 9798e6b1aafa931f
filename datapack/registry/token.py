"""Bearer tokens: what a registry's challenge asks for, and the request that gets it (Docker's token specification)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datapack.registry.name import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datapack.registry.login import Login

_CLIENT = "datapack"  # the client_id in token requests
_PARAMETER = re.compile(r'([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"[\w!#$%&'*+.^`|~-]+(?=\s|,|$)")
_SEPARATOR = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header: a scheme in lower case and its parameters."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")


def parse_challenges(header: str) -> list[Challenge]:
    """Read the challenges of a ``WWW-Authenticate`` header (RFC 9110, 11.6.1); what follows an error is ignored."""
    challenges: list[tuple[str, dict[str, str]]] = []
    position = _end_of(_SEPARATOR, header, 0)
    while position < len(header):
        if challenges and (match := _PARAMETER.match(header, position)):
            value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            challenges[-1][1][match[1].lower()] = value
        elif match := _SCHEME.match(header, position):
            challenges.append((match[0].lower(), {}))
        else:
            break
        position = _end_of(_SEPARATOR, header, match.end())
    return [Challenge(scheme, parameters) for scheme, parameters in challenges]


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def is_private(url: str) -> bool:
    """Whether nobody else can read what is sent to a URL: over TLS, or on this machine."""
    parts = urlsplit(url)
    plain = "@" not in parts.netloc and "\\" not in url  # urllib3 reads the host of such a URL differently
    return plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc)))


@dataclass(frozen=True)
class TokenRequest:
    """The request for a token."""

    method: str
    url: str
    options: Mapping[str, Any]  # headers, params, data, as requests names them

    @classmethod
    def of(cls, challenge: Challenge, scopes: Sequence[str], login: Login | None) -> TokenRequest:
        """Make the request that a challenge asks for: with a password, with an identity token, or anonymous.

        Args:
            challenge: of the scheme Bearer.
            scopes: what the token should allow, such as ``repository:reef:pull``.
            login: sent only to a realm where nobody else can read it.
        """
        service = {"service": challenge.parameters["service"]} if "service" in challenge.parameters else {}
        if login is None or not is_private(challenge.realm):
            return cls("GET", challenge.realm, {"params": {**service, "scope": list(scopes)}})
        if login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": _CLIENT}
            return cls("POST", challenge.realm, {"data": {**form, **service, "scope": " ".join(scopes)}})
        params, headers = {**service, "scope": list(scopes)}, {"Authorization": login.basic}
        return cls("GET", challenge.realm, {"params": params, "headers": headers})


def parse_token(answer: Any) -> str:
    """Return the token in the answer to a `TokenRequest`, or nothing if there is none."""
    token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else ""
