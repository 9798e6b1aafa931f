"""Headers that give access: sent only to the servers that they are meant for, and shown nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def origin_of(url: str) -> str:
    """Return the scheme, host and port of a URL: ``https://example.org:443``."""
    return f"{urlsplit(url).scheme}://{host_of(url)}"


@dataclass(frozen=True, slots=True)
class SecretHeaders:
    """Headers with a secret, and the servers that they may be sent to, as `origin_of` writes them."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: frozenset[str] = frozenset()

    @classmethod
    def to(cls, values: Mapping[str, str], urls: Iterable[str]) -> SecretHeaders:
        """Make headers for the servers of these URLs. One that is named at port 80 may also get them at its https."""
        origins = frozenset(map(origin_of, urls))
        secure = {f"https://{origin[7:-3]}:443" for origin in origins if origin[:7] + origin[-3:] == "http://:80"}
        return cls(values, origins | secure)

    def __bool__(self) -> bool:
        return bool(self.values)

    def for_request(self, chain: Sequence[str]) -> Mapping[str, str]:
        """Return the headers for the last URL of a chain of redirects: none once the chain has left the servers."""
        return self.values if self.values and self.origins.issuperset(map(origin_of, chain)) else {}


NO_HEADERS = SecretHeaders()
