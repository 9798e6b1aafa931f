"""Files of a derived version: links to those of the other version, and COCO files that are cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.fetch_txt import FETCH, read_fetch
from datapack.bag.manifest import PAYLOAD
from datapack.coco.cut import Kept, cut
from datapack.errors import FetchError
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import FileStat, atomic_writer, disk_errors, link_or_copy, sync_folder
from datapack.hashing import Checksum, hash_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from datapack.catalog.sources import SplitSource, SubsetSource
    from datapack.fetch.context import FetchContext, Origin
    from datapack.fetch.derived.content import Content
    from datapack.inspect.model import Coco


@dataclass(frozen=True)
class Links:
    """Puts files of another version into the payload."""

    source: SubsetSource | SplitSource
    origin: Origin
    context: FetchContext

    def add(self, paths: Iterable[str]) -> None:
        """Link files to those of the other version, at the same paths below ``into``, with the URLs they came from.

        A file that an earlier source has brought here is not brought again.

        Raises:
            FetchError: a file is not what the other bag's manifest says.
        """
        bag, payload = self.origin.bag, self.context.payload
        urls = read_fetch(bag.path / FETCH) if FETCH in bag.tags else {}
        wanted = {}
        for path in paths:
            inside = f"{PAYLOAD}/{path}"
            target, sha256 = payload_path(self.source.into, path), bag.manifest.hashes[inside]
            if payload.hashes.get(target) != sha256:
                checksum = Checksum("sha256", sha256)
                wanted[WantedFile(target, self.source.label, urls.get(inside, ""), checksum)] = inside
        payload.keep(payload.claim(list(wanted)))
        new = {file: inside for file, inside in wanted.items() if not payload.has(file.path)}
        self._check(list(new.values()))
        folders = {(payload.folder / file.path).parent for file in new}
        with disk_errors(payload.folder):
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for file, inside in new.items():
                link_or_copy(bag.path / inside, payload.folder / file.path)
                payload.add(file, file.checksum.digits, bag.listing.files[inside])
            for folder in folders:
                sync_folder(folder)

    def add_cut(self, coco: Coco, name: str, images: Collection[str], content: Content) -> None:
        """Add a COCO file with the rows of these images; one that loses nothing stays as it is, with its own name.

        Args:
            coco: the file.
            name: its path in the new payload, below ``into``.
            images: the paths of the images that stay.
            content: which boxes are left out.
        """
        places = [number for number, path in enumerate(coco.images) if path in images]
        dropped = content.dropped.get(coco.path, frozenset())
        if name == coco.path and len(places) == len(coco) and not dropped and not coco.bad_count:
            self.add([coco.path])
            return
        ids = coco.ids.tolist()
        keys = frozenset((ids[place], coco.names[place]) for place in places)
        self._check([f"{PAYLOAD}/{coco.path}"])
        kept = Kept(keys, frozenset(identity for identity, _ in keys), dropped)
        self._write(name, cut(self.origin.bag.path / PAYLOAD / coco.path, kept))

    def _write(self, name: str, parts: Iterator[bytes]) -> None:
        payload = self.context.payload
        file = WantedFile(payload_path(self.source.into, name), self.source.label)
        payload.claim([file])
        path, digest = payload.folder / file.path, hashlib.sha256()
        with disk_errors(path):
            with atomic_writer(path) as out:
                for part in parts:
                    out.write(part)
                    digest.update(part)
            payload.add(file, digest.hexdigest(), FileStat.of(path.stat()))

    def _check(self, paths: Sequence[str]) -> None:
        """Raise `FetchError` for a file of the other bag that its manifest does not fit; known files are not read."""
        bag, reference, cache = self.origin.bag, self.origin.entry.reference, self.context.payload.cache
        hashes = {path: bag.manifest.hashes[path] for path in paths}
        unknown = sorted(cache.unknown(reference, hashes, bag.listing.files))
        total = sum(bag.listing.files[path].size for path in unknown)
        with disk_errors(bag.path), self.context.reporter.progress(f"checking {reference}", total, "B") as advance:
            for path, sha256 in hash_files(bag.path, unknown, advance=advance):
                if sha256 != hashes[path]:
                    raise FetchError(
                        "the file is not what the bag's manifest says",
                        where=bag.path / path,
                        fix=f"remove it, and run 'datapack fetch {reference}' to get it back",
                    )
                cache.record(reference, path, bag.listing.files[path], sha256)
