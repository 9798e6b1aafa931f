"""URLs: which ones may be requested, how they are quoted, and how they are shown."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_SAFE = "%/:?#[]@!$&'()*+,;=~"  # characters that need no quoting in a URL (RFC 3986); "%" may quote another already


class UrlError(ValueError):
    """A URL that must not be requested. ``str()`` says why and reveals no password."""


def quote_url(url: str) -> str:
    """Quote what a request can't contain, such as spaces; what is quoted already stays the same."""
    return quote(url.strip(), safe=_SAFE)


def check_url(url: str) -> str:
    """Return a URL in the form that is requested.

    Raises:
        UrlError: it is not http or https, has no host, or holds a password, which would end up in the dataset's bag.
    """
    quoted = quote_url(url)
    try:
        parts = urlsplit(quoted)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UrlError("not a URL") from error
    if parts.scheme not in {"http", "https"}:
        raise UrlError("not an http or https URL")
    if "@" in parts.netloc:
        raise UrlError("a URL with a user name or password")
    if not host or "%" in host:
        raise UrlError("a URL without a host name")
    return quoted


def host_of(url: str) -> str:
    """Return the host and port of a URL: ``example.org:443``."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def hide_password(url: str) -> str:
    """Return a URL without its user name and password, to show it."""
    try:
        parts = urlsplit(quote_url(url))
    except ValueError:
        return "an invalid URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def mirror_urls(url: str, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return all URLs to try for ``url``, in order: those of its longest prefix in ``mirrors``, or else just itself."""
    prefixes = [prefix for prefix in mirrors if _has_prefix(url, prefix)]
    if not prefixes:
        return (url,)
    longest = max(prefixes, key=len)
    return tuple(other + url[len(longest) :] for other in mirrors[longest])


def _has_prefix(url: str, prefix: str) -> bool:
    """Whether a URL begins with a prefix that ends at a boundary: at ``/``, ``?``, ``#`` or the end of the URL."""
    rest = url[len(prefix) :]
    return url.startswith(prefix) and (prefix.endswith("/") or not rest or rest[0] in "/?#")


def is_public(ip: str) -> bool:
    """Whether an IP address is on the public internet: not loopback, private, shared (CGNAT) or reserved."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast
