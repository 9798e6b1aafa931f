"""Bearer tokens: what a registry's challenge asks for, and the request that gets it (Docker's token specification)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from datapack.registry.destination import with_query
from datapack.registry.name import is_loopback
from datapack.urls import UrlError, check_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from urllib.parse import SplitResult

    from datapack.registry.login import Login
    from datapack.registry.name import ImageName

_CLIENT = "datapack"  # the client_id in token requests
_LONGEST = 1 << 16  # characters of a token; it is sent with every request
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


def is_private(realm: str, registry: ImageName) -> bool:
    """Whether nobody else can read what is sent to a token service: over TLS, or if it and the registry are here.

    A registry elsewhere that names a port of this machine could have the password sent to any program listening there.
    """
    parts = _parse(realm)
    if parts is None or parts.scheme == "https":
        return parts is not None
    return registry.is_loopback and is_loopback(parts.netloc)


def may_ask(realm: str, registry: ImageName, *, insecure: bool) -> bool:
    """Whether a token service may be asked at all, without a credential: over plain http if that is accepted."""
    return _parse(realm) is not None and (insecure or is_private(realm, registry))


def _parse(realm: str) -> SplitResult | None:
    try:
        return urlsplit(check_url(realm)) if "\\" not in realm else None
    except UrlError:
        return None


@dataclass(frozen=True)
class TokenRequest:
    """The request for a token."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, challenge: Challenge, scopes: Sequence[str], login: Login | None) -> TokenRequest:
        """Make the request that a challenge asks for: with a password, with an identity token, or anonymous.

        Args:
            challenge: of the scheme Bearer, with a realm that `may_ask`.
            scopes: what the token should allow, such as ``repository:reef:pull``.
            login: only if the realm `is_private`.
        """
        service = {"service": challenge.parameters["service"]} if "service" in challenge.parameters else {}
        realm = check_url(challenge.realm)
        if login is not None and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": _CLIENT}
            body = urlencode({**form, **service, "scope": " ".join(scopes)}).encode()
            return cls("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        headers = {"Authorization": login.basic} if login is not None else {}
        return cls("GET", with_query(realm, {**service, "scope": list(scopes)}), headers)


def parse_token(answer: Any) -> str:
    """Return the token in the answer to a `TokenRequest`, or nothing if there is none."""
    token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    if not isinstance(token, str) or len(token) > _LONGEST:
        return ""
    return token if token.isascii() and token.isprintable() else ""
