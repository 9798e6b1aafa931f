"""Where the data comes from: each source of the catalog with its page and its terms, and the hosts that answered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.bag.bagit import reread_tags
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.catalog.sources import DoiSource, HuggingFaceSource, KaggleSource, UrlSource
from datapack.ingress.record import Host
from datapack.ingress.record import Source as RecordedSource
from datapack.urls import hide_secrets, strip_signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.bag.bagit import Bag
    from datapack.catalog.model import Entry
    from datapack.catalog.sources import Source


def sources_of(entry: Entry) -> Iterator[RecordedSource]:
    """Yield the sources of a version, then those of the versions that it is derived from."""
    for source in entry.sources:
        kind, _, what = source.label.partition(" ")
        address, terms = _pages(source)
        shown = strip_signature(hide_secrets(what)) if "://" in what else what
        yield RecordedSource(kind=kind, what=shown, address=address, terms=terms)
    for origin in entry.origins:
        yield from sources_of(origin)


def _pages(source: Source) -> tuple[str | None, str | None]:
    """Return the page of a source, and that of its terms."""
    match source:
        case DoiSource():
            return f"https://doi.org/{source.doi}", None
        case HuggingFaceSource():
            return f"https://huggingface.co/{source.huggingface}/tree/{source.revision}", None
        case KaggleSource() if source.is_competition:
            page = f"https://www.kaggle.com/competitions/{source.kaggle}"
            return page, f"{page}/rules"
        case KaggleSource():
            return f"https://www.kaggle.com/datasets/{source.kaggle}", None
        case UrlSource():
            return strip_signature(hide_secrets(source.url)), None
    return None, None


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
