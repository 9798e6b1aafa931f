"""What is known already, so that it is not read or sent again: hashes of files, digests of layers, places of blobs.

A SQLite file in ``.datapack/``, safe to delete at any time. A file counts as known while its size and its modification
time are those it had when it was hashed. Rows are committed about once a second: a kill costs only a second's hashing.
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
    """A file as it was when it was hashed, and its sha256 in hex."""

    stat: FileStat
    sha256: str


class HashCache:
    """The cache, for one process; safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[object, ...]]] = {
            "file": [],
            "layer": [],
            "place": [],
        }  # rows, by their table
        self._written = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[HashCache]:
        """Open the cache; a file that is damaged is only a cache, so it is begun anew."""
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
        """Return all that is known of a version's files, by their path below the bag."""
        rows = "SELECT path, size, mtime_ns, sha256 FROM file WHERE reference = ?"
        self.write()
        with self._lock:
            found = self._connection.execute(rows, (str(reference),))
            return {path: KnownFile(FileStat(size, mtime), sha256) for path, size, mtime, sha256 in found}

    def record(self, reference: Reference, path: str, stat: FileStat, sha256: str) -> None:
        """Remember the hash of a file that looked so when it was read."""
        self._add("file", (str(reference), path, *stat, sha256))

    def layer(self, key: str) -> str | None:
        """Return the digest of the layer whose content has this key, if it was written before."""
        self.write()
        with self._lock:
            row = self._connection.execute("SELECT digest FROM layer WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def record_layer(self, key: str, digest: str) -> None:
        """Remember the digest of a layer by the key of its content."""
        self._add("layer", (key, digest))

    def repositories(self, registry: str, digest: str = "") -> list[str]:
        """Return the repositories of a registry that a blob was brought to, or any blob, sorted."""
        rows = "SELECT DISTINCT repository FROM place WHERE registry = ? AND digest LIKE ? ORDER BY repository"
        self.write()
        with self._lock:
            return [str(row[0]) for row in self._connection.execute(rows, (registry, digest or "%"))]

    def record_place(self, registry: str, repository: str, digest: str) -> None:
        """Remember that a repository has a blob."""
        self._add("place", (registry, repository, digest))

    def _add(self, table: str, row: tuple[object, ...]) -> None:
        with self._lock:
            self._waiting[table].append(row)
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        """Write what waits, in one transaction."""
        with self._lock, contextlib.suppress(sqlite3.OperationalError):  # a full disk: it is only a cache
            for table, rows in self._waiting.items():
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names
                    rows.clear()
            self._connection.commit()
            self._written = time.monotonic()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.executescript(_SCHEMA)
    return connection
