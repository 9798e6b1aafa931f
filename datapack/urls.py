"""URLs: which ones may be requested, how they are quoted, and how they are shown."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# From IANA's registries of special addresses (RFC 6890), not from `ipaddress`, whose tables depend on Python's version.
_SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared (CGNAT); has Alibaba's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's own services
            "169.254.0.0/16",  # link-local; has most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; has Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# All else is loopback, IPv4-compatible, local NAT64, unique local, site-local, link-local, multicast or reserved.
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo
            "2001:db8::/32",  # documentation
            "3ffe::/16",  # the former 6bone
            "3fff::/20",  # documentation
        ),
    )
)
# Parts of a query that give access: of AWS, Google, Azure, CloudFront, Akamai, Alibaba, Tencent, GitLab and others.
_SECRET = re.compile(
    r"""
    x-(amz|goog|oss|cos|obs|tos)-.* | q-(sign|key).* | q-ak
    | sig | signature | policy | key-pair-id | (aws|oss)?accesskeyid | googleaccessid | security-token
    | jwt | token | (access|auth|private|job|refresh|id|oauth|sas)_?token | __token__ | hdnts | hdnea | __gda__
    | (x-)?api[-_]?key | auth | authorization | password | passwd | (client_)?secret | credentials?
    """,
    re.VERBOSE,
)
# What belongs to a signature, but means something else in a query without one.
_SIGNED_WITH = re.compile(
    r"expires|hash-algorithm|se|sp|sv|sr|st|si|ss|spr|sip|srt|sdd|ses|skoid|sktid|skt|ske|sks|skv|skdutid|s[acduo]+id"
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SAFE = "%/:?#[]@!$&'()*+,;=~"  # characters that need no quoting in a URL (RFC 3986); "%" may quote another already
_QUOTED = re.compile(f"[\\w.{re.escape(_SAFE)}-]*", re.ASCII)


class UrlError(ValueError):
    """A URL that must not be requested. ``str()`` says why and reveals no password."""


def quote_url(url: str) -> str:
    """Quote what a request can't contain, such as spaces; what is quoted already stays the same."""
    return url if _QUOTED.fullmatch(url) else quote(url.strip(), safe=_SAFE)


def check_url(url: str) -> str:
    """Return a URL in the form that is requested.

    Raises:
        UrlError: it is not http or https, has no host, or holds a password, which would end up in the dataset's bag.
    """
    try:
        quoted = quote_url(url)
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


def hide_secrets(url: str) -> str:
    """Return a URL without its user name, password and signature, to show or to record it."""
    try:
        parts = urlsplit(quote_url(url))
    except ValueError:
        return "an invalid URL"
    return strip_signature(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def strip_signature(url: str) -> str:
    """Return a URL without the parts of its query that give access to anyone who has them; the rest stays as it is.

    A presigned URL is valid for some time, for everyone. It has a signature, and often the name of a key.
    """
    before, mark, query = url.partition("?")
    if not mark:
        return url
    query, hash_mark, fragment = query.partition("#")
    parts = query.split("&")
    names = [unquote_plus(part.partition("=")[0]).lower() for part in parts]
    signed = not {"sig", "signature"}.isdisjoint(names)
    secret = [bool(_SECRET.fullmatch(name) or (signed and _SIGNED_WITH.fullmatch(name))) for name in names]
    kept = "&".join(part for part, hidden in zip(parts, secret, strict=True) if not hidden)
    if len(kept) == len(query):
        return url
    return before + (mark + kept if kept else "") + hash_mark + fragment


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
    """Whether an IP address is on the public internet.

    Loopback, private, shared, link-local, multicast, documentation and reserved addresses are not, nor are those of a
    cloud's own services. An IPv6 address that stands for an IPv4 address is as public as that one.
    """
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)
        address = inner
    return not any(address in network for network in _SPECIAL_IPV4)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end up at, if there is one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
