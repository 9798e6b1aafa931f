"""Addresses of files on the web: which may be asked, how they are sent, and how they are shown."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_SAFE = "%/:?#[]@!$&'()*+,;=~"  # what stands in an address as it is (RFC 3986), "%" since it may be quoted already


class UrlError(ValueError):
    """An address that must not be asked. ``str()`` says why and holds no secret of it."""


def quote_url(address: str) -> str:
    """Quote what can't be sent as it is, such as raw spaces; what is quoted already stays as it is."""
    return quote(address.strip(), safe=_SAFE)


def check_url(address: str) -> str:
    """Return an address as it is to be sent.

    Raises:
        UrlError: it is not http or https, has no host, or holds a password: that would end in the dataset's bag.
    """
    quoted = quote_url(address)
    try:
        parts = urlsplit(quoted)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UrlError("not an address") from error
    if parts.scheme not in {"http", "https"}:
        raise UrlError("not an http or https address")
    if "@" in parts.netloc:
        raise UrlError("an address with a user name or password in it")
    if not host or "%" in host:
        raise UrlError("an address without a host name")
    return quoted


def host_of(address: str) -> str:
    """Return the host and port that an address is asked at: ``example.org:443``."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def shown(address: str) -> str:
    """Write an address for people: without a user name and a password."""
    try:
        parts = urlsplit(quote_url(address))
    except ValueError:
        return "an address that can't be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def mirrored(address: str, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return all the addresses to try for one, in order: those of the longest prefix that it begins with."""
    prefixes = [prefix for prefix in mirrors if _begins(address, prefix)]
    if not prefixes:
        return (address,)
    longest = max(prefixes, key=len)
    return tuple(other + address[len(longest) :] for other in mirrors[longest])


def _begins(address: str, prefix: str) -> bool:
    """Whether an address begins with a prefix that ends where a part of the address does."""
    rest = address[len(prefix) :]
    return address.startswith(prefix) and (prefix.endswith("/") or not rest or rest[0] in "/?#")


def is_public(number: str) -> bool:
    """Whether an IP address is one of the open internet: not loopback, private, shared (CGNAT) or reserved."""
    address = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast
