"""Where a registry may lead us with a ``Location``, and which URLs may have its credential.

A registry is trusted with the image, so it may send it on: to itself, over TLS to a host on the public internet, and on
this machine if it is on this machine too. It must not make datapack talk to other hosts of a private network, and it
must not have the data, or anything about it, sent where others can read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

from datapack.errors import ImageError
from datapack.registry.name import is_loopback
from datapack.urls import UrlError, check_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from urllib.parse import SplitResult

    from datapack.registry.name import ImageName

_PORTS = {"http": 80, "https": 443}
_LONGEST = 8192  # characters of a URL


@dataclass(frozen=True)
class Destination:
    """A URL that may be requested."""

    url: str
    own: bool  # the registry itself: it gets the credential
    public_only: bool  # only on the public internet

    def with_query(self, params: Mapping[str, str]) -> Destination:
        """Add parameters to the query."""
        return replace(self, url=with_query(self.url, params))


@dataclass(frozen=True)
class Site:
    """A registry, and where it may lead."""

    name: ImageName
    root: str  # such as https://registry.test:5000

    def url(self, path: str) -> Destination:
        """Return the URL of a path below the repository, such as ``blobs/uploads/``."""
        return Destination(f"{self.root}/v2/{self.name.repository}/{path}", own=True, public_only=False)

    def follow(self, source: str, location: str) -> Destination:
        """Return where a ``Location`` leads that came in the answer to a request to ``source``.

        Raises:
            ImageError: it is no URL, or leads where the registry may not lead.
        """
        if not location:
            raise self._refuse("no place")
        try:
            url = check_url(urljoin(source, location[: _LONGEST + 1]))
        except (UrlError, ValueError) as error:
            raise self._refuse(str(error) if isinstance(error, UrlError) else "not a URL") from None
        if len(url) > _LONGEST or "\\" in url:
            raise self._refuse("not a URL")
        root, target = urlsplit(self.root), urlsplit(url.partition("#")[0])
        if target.hostname == root.hostname and (root.scheme, target.scheme) == ("https", "http"):
            target = _over_tls(target)  # behind a proxy, a registry may not know that its clients use TLS
        found = target.geturl()
        if target.hostname == root.hostname:
            return Destination(found, own=_origin(target) == _origin(root), public_only=False)
        if is_loopback(root.netloc) and is_loopback(target.netloc):
            return Destination(found, own=False, public_only=False)
        if target.scheme != "https":
            raise self._refuse(f"{target.scheme}://{target.netloc}")
        return Destination(found, own=False, public_only=True)

    def _refuse(self, found: str) -> ImageError:
        return ImageError(
            "the registry redirects to a place that is not allowed",
            where=self.name,
            expected="the registry itself, or https to a host on the public internet",
            found=found,
            fix="this registry can't be relied on: ask its operator",
        )


def with_query(url: str, params: Mapping[str, str | Sequence[str]]) -> str:
    """Add parameters to the query of a URL; one with several values is repeated."""
    query = urlencode(params, doseq=True)
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _over_tls(target: SplitResult) -> SplitResult:
    plain = f":{_PORTS['http']}"
    return target._replace(scheme="https", netloc=target.netloc.removesuffix(plain))


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
