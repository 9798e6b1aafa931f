"""The cache of hashes of files, digests of layers and places of blobs, so that nothing is read or sent twice.

It is a SQLite file in ``.datapack/`` that is safe to delete at any time. A file counts as known while its size and
modification time are the same as when it was hashed. Rows are committed about once a second, so a kill costs only a
second of hashing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from datapack.files import FileStat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.reference import Reference


_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    reference TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, sha256 TEXT, PRIMARY KEY (reference, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layer (key TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
    registry TEXT, repository TEXT, digest TEXT, PRIMARY KEY (registry, repository, digest)
) WITHOUT ROWID;
"""


class KnownFile(NamedTuple):
    """A file's size and modification time when it was hashed, and its sha256 in hex."""

    stat: FileStat
    sha256: str


class HashCache:
    """The cache, for one process; it is thread-safe."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._pending: dict[str, list[tuple[object, ...]]] = {"file": [], "layer": [], "place": []}  # rows by table
        self._written = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[HashCache]:
        """Open the cache; a damaged file is replaced by an empty one, as it is only a cache."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = _connect(path)
        except sqlite3.DatabaseError:
            path.unlink()
            connection = _connect(path)
        cache = cls(connection)
        try:
            yield cache
        finally:
            cache.write()
            connection.close()

    def files(self, reference: Reference) -> dict[str, KnownFile]:
        """Return all known files of a version, by their path below the bag."""
        rows = "SELECT path, size, mtime_ns, sha256 FROM file WHERE reference = ?"
        self.write()
        with self._lock:
            found = self._connection.execute(rows, (str(reference),))
            return {path: KnownFile(FileStat(size, mtime), sha256) for path, size, mtime, sha256 in found}

    def record(self, reference: Reference, path: str, stat: FileStat, sha256: str) -> None:
        """Record the hash of a file that had this size and modification time."""
        self._add("file", (str(reference), path, *stat, sha256))

    def layer(self, key: str) -> str | None:
        """Return the digest of the layer with this content key, if it was built before."""
        self.write()
        with self._lock:
            row = self._connection.execute("SELECT digest FROM layer WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def record_layer(self, key: str, digest: str) -> None:
        """Record a layer's digest by its content key."""
        self._add("layer", (key, digest))

    def repositories(self, registry: str, digest: str = "") -> list[str]:
        """Return the repositories of a registry that a blob, or any blob, was pushed to, sorted."""
        rows = "SELECT DISTINCT repository FROM place WHERE registry = ? AND digest LIKE ? ORDER BY repository"
        self.write()
        with self._lock:
            return [str(row[0]) for row in self._connection.execute(rows, (registry, digest or "%"))]

    def record_place(self, registry: str, repository: str, digest: str) -> None:
        """Record that a repository has a blob."""
        self._add("place", (registry, repository, digest))

    def _add(self, table: str, row: tuple[object, ...]) -> None:
        with self._lock:
            self._pending[table].append(row)
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        """Write all pending rows in one transaction."""
        with (
            self._lock,
            contextlib.suppress(sqlite3.OperationalError),
        ):  # a full disk must not stop a build: this is only a cache
            for table, rows in self._pending.items():
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - the names are our own constants
                    rows.clear()
            self._connection.commit()
            self._written = time.monotonic()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.executescript(_SCHEMA)
    return connection
