"""Where the data comes from: each source of the catalog with its page and its terms, and the hosts that answered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.bag.bagit import reread_tags
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.catalog.sources import KaggleSource
from datapack.ingress.record import Host
from datapack.ingress.record import Source as RecordedSource
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.bag.bagit import Bag
    from datapack.catalog.model import Entry


def sources_of(entry: Entry) -> Iterator[RecordedSource]:
    """Yield the sources of a version, then the sources of its origins, the versions that it takes files from."""
    for source in entry.sources:
        kind, _, what = source.label.partition(" ")
        shown = hide_secrets(what) if "://" in what else what
        competes = isinstance(source, KaggleSource) and source.is_competition
        yield RecordedSource(
            kind=kind, what=shown, address=source.page, terms=f"{source.page}/rules" if competes else None
        )
    for origin in entry.origins:
        yield from sources_of(origin)


def hosts_of(bag: Bag) -> Iterator[Host]:
    """Yield the hosts of the addresses in the bag's fetch.txt, the one with the most files first."""
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path, url in parse_fetch(reread_tags(bag).get(FETCH, b"")).items():
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        files[host] += 1
        sizes[host] += bag.listing.files[path].size if path in bag.listing.files else 0
    for host in sorted(files, key=lambda host: (-files[host], host)):
        yield Host(host=host, files=files[host], bytes=sizes[host])
