"""The facts of the page's head: whose data it is, where it is from, what is missing, what changed since the parent."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.bag.bagit import reread_tags
from datapack.bag.changes import Changes
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.catalog.git import commit_date, last_commit
from datapack.errors import DatapackError
from datapack.fetch.history import manifest_here
from datapack.files import read_limited
from datapack.page.cells import Listing, bytes_of, code, link, name
from datapack.page.svg import isolated
from datapack.report.files import below_payload
from datapack.text import counted, size
from datapack.urls import hide_secrets, strip_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from datapack.bag.bagit import Bag
    from datapack.bag.missing import Missing
    from datapack.catalog.lock import Lock
    from datapack.catalog.model import Entry
    from datapack.catalog.sources import Source
    from datapack.workspace.folder import Workspace

MOST_ROWS, EXAMPLES = 50, 5
_DIGEST_SHOWN = 12  # of a commit
_LARGEST_STATEMENT = 16 << 20  # bytes

Fact = tuple[str, "str | Markup | None"]


def about(workspace: Workspace, entry: Entry, bag: Bag, lock: Lock) -> list[Fact]:
    """Return what the catalog, the bag, the lock and git say of a version."""
    dataset, locked = entry.dataset, lock.entries.get(entry.reference)
    return [
        ("Version", name(str(entry.reference))),
        ("Dataset digest", code(bag.manifest.digest)),
        ("Content", f"{counted(bag.files, 'file')}, {size(bag.bytes)}"),
        ("Licence", name(dataset.licence)),
        ("Access", "private: not everybody may have it" if dataset.private else "public"),
        ("Publisher", name(dataset.publisher) if dataset.publisher else None),
        ("Contact", name(dataset.contact) if dataset.contact else None),
        ("Homepage", link(dataset.homepage, dataset.homepage) if dataset.homepage else None),
        ("Based on", name(str(entry.parent)) if entry.parent else None),
        ("Catalog", _catalog(workspace)),
        ("DVC", code(locked.dvc) if locked and locked.dvc else None),
        ("Provenance", _provenance(workspace, entry, locked.image.digest) if locked and locked.image else None),
    ]


def _provenance(workspace: Workspace, entry: Entry, image: str) -> Markup | None:
    """Return where the statement of the image's origin is, if it is beside the default target and of this image."""
    path = workspace.dist(entry.reference)
    path = path.with_name(f"{path.name}.provenance.json")
    try:
        statement = json.loads(read_limited(path, _LARGEST_STATEMENT, DatapackError))
        (digest,) = statement["subject"][0]["digest"].values()
    except (DatapackError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return code(str(path.relative_to(workspace.root))) if image == f"sha256:{digest}" else None


def _catalog(workspace: Workspace) -> str | None:
    commit = last_commit(workspace.catalog)
    if commit is None:
        return None
    changed = ", changed since" if commit.changed else ""
    return f"commit {commit.id[:_DIGEST_SHOWN]} of {commit_date(workspace.catalog, commit.id)}{changed}"


def sources(entry: Entry) -> Listing:
    """Return the table of the sources in the catalog."""
    folders = [getattr(source, "into", "") for source in entry.sources]
    rows = [
        (code(_label(source)), code(folder) if folder else "the top")
        for source, folder in zip(entry.sources, folders, strict=True)
    ]
    return Listing("Sources, in their order", ("Source", "Into"), rows)


def _label(source: Source) -> str:
    """Return a source's kind and what it names; of a URL, without what gives access."""
    kind, _, value = source.label.partition(" ")
    return f"{kind} {strip_signature(hide_secrets(value)) if '://' in value else value}"


def hosts(bag: Bag) -> Listing:
    """Return the table of the hosts that the bag's files were fetched from."""
    urls = parse_fetch(reread_tags(bag).get(FETCH, b""))
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path, url in urls.items():
        host = _host(url)
        counts[host] += 1
        sizes[host] += bag.listing.files[path].size if path in bag.listing.files else 0
    ordered = sorted(counts, key=lambda host: (-counts[host], host))
    rows = [(name(host), counts[host], bytes_of(sizes[host])) for host in ordered[:MOST_ROWS]]
    left = len(ordered) - len(rows)
    more = f"And {counted(left, 'more host')}." if left > 0 else ""
    return Listing("Downloaded from", ("Host", "Files", "Size"), rows, more)


def _host(url: str) -> str:
    """Return the scheme and the host of a URL, without a user name or a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class Since:
    """What changed since the parent version."""

    summary: str
    listing: Listing


def changes(workspace: Workspace, entry: Entry, bag: Bag, lock: Lock) -> Since | None:
    """Compare a version with its parent, if this machine knows the parent; None if it has none."""
    if entry.parent is None:
        return None
    parent = lock.entries.get(entry.parent)
    manifest = manifest_here(workspace, entry.parent, parent.digest) if parent else None
    if manifest is None:
        unknown = f"What {entry.parent} contains is not known on this machine, so what changed since is not either."
        return Since(unknown, Listing("Changes", ("Change", "File"), []))
    found = Changes.between(manifest, bag.manifest)
    kinds = (("added", found.added), ("removed", found.removed), ("changed", found.changed))
    rows = [(kind, code(below_payload(path))) for kind, paths in kinds for path in paths[:EXAMPLES]]
    parts = [f"{len(paths):,} {kind}" for kind, paths in kinds if paths]
    summary = f"Since {entry.parent}: {', '.join(parts) or 'no file'}{'' if parts else ' changed'}."
    most = max(map(len, (found.added, found.removed, found.changed)))
    more = f"At most {EXAMPLES} of each; 'datapack diff {entry.parent} {entry.reference} --all' lists every file."
    return Since(summary, Listing("Changes", ("Change", "File"), rows, more if most > EXAMPLES else ""))


def missing(files: Mapping[str, Missing]) -> Listing:
    """Return the table of the files that are missing, with the reasons."""
    rows = [(code(path), name(files[path].reason, 200)) for path in sorted(files)[:MOST_ROWS]]
    left = len(files) - len(rows)
    more = f"And {counted(left, 'more file')}; missing.csv in the data lists all." if left else ""
    return Listing("Files that are missing, as the catalog allows", ("File", "Reason"), rows, more)


def missing_reasons(files: Mapping[str, Missing]) -> str:
    """Say how often there is which reason."""
    reasons: Sequence[tuple[str, int]] = Counter(each.reason for each in files.values()).most_common(EXAMPLES)
    return "; ".join(f"{isolated(reason, 100)} ({count:,})" for reason, count in reasons)
