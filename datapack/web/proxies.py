"""Which proxy a request goes through, as curl and Go read it from the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.web.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_SCHEMES = {"http", "https"}


@dataclass(frozen=True)
class Proxy:
    """A proxy: its URL without a password, and ``user:password`` or nothing."""

    url: str
    login: str = ""


@dataclass(frozen=True)
class ProxyRules:
    """The proxies by the scheme of a request, and the hosts that need none."""

    proxies: Mapping[str, Proxy]
    exempt: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; names in lower case come first.

        Raises:
            SettingError: a proxy can't be used.
        """
        proxies = {}
        for scheme in sorted(_SCHEMES):
            names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
            name = next((name for name in names if name in environment), "")
            if value := environment.get(name, "").strip():
                proxies[scheme] = _parse(name, value)
        exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        return cls(proxies, tuple(entry.lower() for entry in re.split(r"[\s,]+", exempt) if entry))

    def find(self, url: str) -> Proxy | None:
        """Return the proxy for a URL, or None if it is requested directly. This machine needs no proxy."""
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_exempts(entry, host, address, port) for entry in self.exempt):
            return None
        return self.proxies.get(parts.scheme)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _exempts(entry: str, host: str, address: _Address | None, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` covers a host: ``*``, a host, a domain, an address or a range; ``:port``."""
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, at_port = _split_port(entry)
    if at_port not in {"", str(port)}:
        return False
    if address is not None:
        return address == _address(name)
    domain = name.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, str]:
    """Split ``host:port``; the port of an IPv6 address follows its brackets."""
    if match := re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d+)", entry):
        return match[1], match[2]
    return entry, ""


def _parse(name: str, value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise SettingError("not the URL of a proxy", where=name, expected="http://host:port")
    if parts.scheme not in _SCHEMES:
        raise SettingError(
            "datapack can't use this kind of proxy",
            where=name,
            expected="http or https",
            found=parts.scheme,
            fix=f"set {name} to an http proxy, or unset it and list your hosts in NO_PROXY",
        )
    login, _, address = parts.netloc.rpartition("@")
    return Proxy(f"{parts.scheme}://{address}", login)
