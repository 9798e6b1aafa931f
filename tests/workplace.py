"""A folder in which tests fetch a payload repeatedly, as a build would."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from datapack.bag.listing import list_payload
from datapack.download import Downloader
from datapack.fetch.context import FetchContext
from datapack.fetch.payload import Payload
from datapack.fetch.sources import fetch_sources
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.workspace.cache import HashCache

REFERENCE = Reference("reef", "v1")


def mount(folder: Path, options: str) -> bool:
    """Mount a disk in memory, if this user may; the caller unmounts it."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Fetched(NamedTuple):
    """What was fetched: the hashes of all files, and the URLs of those that were downloaded."""

    hashes: Mapping[str, str]
    urls: Mapping[str, str]


class Workplace:
    """A catalog's folder, and the bag that is made in it."""

    def __init__(self, root: Path):
        self.root = root
        self.bag = root / "data" / "reef" / "v1.partial"
        self.failures = root / "data" / "reef" / "v1.failures.json"
        self.notes = []
        (root / "catalog").mkdir(exist_ok=True)

    def fetch(self, *sources, model=None, **options) -> Fetched:
        with HashCache.open(self.root / "hashes.sqlite") as cache:
            payload = Payload(REFERENCE, self.bag, cache, self)
            downloader = Downloader(
                **{"backoff": lambda tries: 0.01, "timeout": 5.0, "is_public": lambda ip: True, **options}
            )
            context = FetchContext(payload, downloader, self.root / "catalog", self)
            contents = fetch_sources(sources, context, self.failures, model)
        assert contents.manifest.hashes == self.hashes()
        assert contents.listing == list_payload(self.bag)
        return Fetched(contents.manifest.hashes, contents.urls)

    def note(self, text):
        self.notes.append(text)

    detail = Silent().detail
    progress = Silent().progress

    def hashes(self):
        """The files that are really there, including temporary ones."""
        files = (path for path in (self.bag / "data").rglob("*") if not path.is_dir())
        return {path.relative_to(self.bag).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def write(self, name: str, content: bytes = b"x") -> Path:
        path = self.root / "catalog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path
