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
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from datapack.files import FileStat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
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
_MAX_TIME = 1 << 63  # ns: what SQLite can store, up to the year 2262

_FILES = "SELECT path, size, mtime_ns, sha256 FROM file WHERE reference = ?"
_FILE = f"{_FILES} AND path = ?"


class KnownFile(NamedTuple):
    """A file's size and modification time when it was hashed, and its sha256 in hex."""

    stat: FileStat
    sha256: str


class HashCache:
    """The cache, for one process; it is thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _connect(path)
        self._lock = threading.Lock()
        self._pending: dict[str, list[tuple[object, ...]]] = {"file": [], "layer": [], "place": []}  # rows by table
        self._written = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[HashCache]:
        """Open the cache; a damaged file is replaced by an empty one, as it is only a cache."""
        opened = cls(path)
        try:
            yield opened
        finally:
            opened.write()
            opened._connection.close()

    def find(self, owner: Reference | str, paths: Iterable[str]) -> Iterator[tuple[str, KnownFile]]:
        """Yield those of these files that are known, with their paths.

        Their owner is a version, whose paths are those below the bag, or an archive or a store, named by a digest or
        the like: what it holds under a name never changes, so its files have no time.

        The caller takes all of them, and does nothing else with the cache meanwhile.
        """
        for path, size, mtime, sha256 in self._select_each(_FILE, ((str(owner), path) for path in paths)):
            yield path, KnownFile(FileStat(size, mtime), sha256)

    def unknown(self, reference: Reference, hashes: Mapping[str, str], stats: Mapping[str, FileStat]) -> set[str]:
        """Return which of a bag's files have another size, time or hash than was recorded, or were never recorded.

        Args:
            reference: the version.
            hashes: the sha256 of each file, by its path below the bag.
            stats: the size and time of each file now.
        """
        unknown = set(hashes)
        for path, size, mtime, sha256 in self._select(_FILES, str(reference)):
            if hashes.get(path) == sha256 and stats.get(path) == (size, mtime):
                unknown.discard(path)
        return unknown

    def record(self, owner: Reference | str, path: str, stat: FileStat, sha256: str) -> None:
        """Record the hash of a file that had this size and modification time; `find` says who can be its owner."""
        if abs(stat.mtime_ns) < _MAX_TIME:
            self._add("file", (str(owner), path, *stat, sha256))

    def layer(self, key: str) -> str | None:
        """Return the digest of the layer with this content key, if it was built before."""
        rows = list(self._select("SELECT digest FROM layer WHERE key = ?", key))
        return str(rows[0][0]) if rows else None

    def record_layer(self, key: str, digest: str) -> None:
        """Record a layer's digest by its content key."""
        self._add("layer", (key, digest))

    def repositories(self, registry: str, digest: str = "") -> list[str]:
        """Return the repositories of a registry that a blob, or any blob, was pushed to, sorted."""
        rows = "SELECT DISTINCT repository FROM place WHERE registry = ? AND digest LIKE ? ORDER BY repository"
        return [str(row[0]) for row in self._select(rows, registry, digest or "%")]

    def places(self, digest: str) -> list[str]:
        """Return where a blob was pushed to, ``registry/repository``, sorted."""
        rows = "SELECT registry || '/' || repository AS place FROM place WHERE digest = ? ORDER BY place"
        return [str(row[0]) for row in self._select(rows, digest)]

    def forget(self, reference: Reference) -> None:
        """Forget the files of a version, by their names."""
        list(self._select("DELETE FROM file WHERE reference = ?", str(reference)))

    def record_place(self, registry: str, repository: str, digest: str) -> None:
        """Record that a repository has a blob."""
        self._add("place", (registry, repository, digest))

    def _add(self, table: str, row: tuple[object, ...]) -> None:
        with self._lock:
            self._pending[table].append(row)
        if time.monotonic() - self._written > 1:
            self.write()

    def _select(self, rows: str, *values: str) -> Iterator[Any]:
        """Yield rows; the caller takes all of them, and does nothing else with the cache meanwhile."""
        yield from self._select_each(rows, [values])

    def _select_each(self, rows: str, values: Iterable[tuple[str, ...]]) -> Iterator[Any]:
        """Yield the rows for each of these values, as `_select` does."""
        self.write()
        with self._lock:
            try:
                for each in values:
                    yield from self._connection.execute(rows, each)
            except sqlite3.DatabaseError:  # damaged, or of another form: start again with an empty one
                self._connection.close()
                self._path.unlink(missing_ok=True)
                self._connection = _connect(self._path)

    def write(self) -> None:
        """Write all pending rows in one transaction."""
        with (
            self._lock,
            contextlib.suppress(sqlite3.DatabaseError),
        ):  # neither a full disk nor a damaged cache may stop a build
            for table, rows in self._pending.items():
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - the names are our own constants
                    rows.clear()
            self._connection.commit()
            self._written = time.monotonic()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database; if it can't be opened even after it was removed, use one in memory."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _open(path)
        except (sqlite3.DatabaseError, OSError):
            with contextlib.suppress(OSError):
                path.unlink()
    return _open(":memory:")


def _open(path: Path | str) -> sqlite3.Connection:
    """Open the database; raise `DatabaseError` if it is damaged, or has other tables, or views and triggers.

    A cloned repository can bring one along: reading from a view may never end.
    """
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    try:
        connection.executescript(_SCHEMA)
        if _definitions(connection) != _own_definitions():
            raise sqlite3.DatabaseError("not a cache of this datapack")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


@cache
def _own_definitions() -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _definitions(connection)


def _definitions(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
