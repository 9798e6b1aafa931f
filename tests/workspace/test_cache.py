"""The hash cache: what it stores, and what happens when it is damaged."""

import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from datapack.files import FileStat
from datapack.reference import Reference
from datapack.workspace.cache import HashCache, KnownFile

REEF, ATOLL = Reference("reef", "v1"), Reference("atoll", "v1")
STAT = FileStat(3, 1_700_000_000_123_456_789)
NAMES = [*"abc", "early", "late", "data/ö.png", *(f"data/{n}" for n in range(1000))]


def files(cache, reference, names=NAMES):
    """All of these files that are known."""
    return dict(cache.find(reference, names))


def test_recorded_file_is_known_at_once_and_later(tmp_path):
    """A row is found in the same run and in the next one, only for its own version."""
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        cache.record(REEF, "data/ö.png", STAT, "a" * 64)
        assert files(cache, REEF) == {"data/ö.png": KnownFile(STAT, "a" * 64)}
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        assert files(cache, REEF) == {"data/ö.png": KnownFile(STAT, "a" * 64)}
        assert files(cache, ATOLL) == {}


def test_last_record_counts(tmp_path):
    """A file that changed has one row, the newest."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
        cache.record(REEF, "a", STAT, "b" * 64)
        assert files(cache, REEF)["a"].sha256 == "b" * 64


def test_layers_are_known_by_their_content(tmp_path):
    """A layer's digest is found by its key; an unknown key has none."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record_layer("key", "sha256:1")
        assert cache.layer("key") == "sha256:1"
        assert cache.layer("another") is None


def test_rows_from_several_threads_all_arrive(tmp_path):
    """No row is lost between threads."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:

        def work(thread: int) -> None:
            for number in range(500):
                cache.record(REEF, f"{thread}/{number}", STAT, "a" * 64)
                if number % 100 == 0:
                    cache.write()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(files(cache, REEF, [f"{thread}/{number}" for thread in range(4) for number in range(500)])) == 2000


def test_damaged_cache_is_replaced(tmp_path):
    """A damaged cache only costs hashing the files again."""
    (tmp_path / "hashes.sqlite").write_bytes(b"no database" * 1000)
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
    with sqlite3.connect(tmp_path / "hashes.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (1,)


@pytest.mark.parametrize("rows", ["SELECT 1", "DROP TABLE file; CREATE TABLE file (x INTEGER)"])
def test_cache_that_turns_out_to_be_damaged_is_replaced(tmp_path, rows):
    """Damage, or a table of another form, may show only when rows are read."""
    path = tmp_path / "hashes.sqlite"
    with HashCache.open(path) as cache:
        for number in range(1000):
            cache.record(REEF, f"data/{number}", STAT, "a" * 64)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(rows)
    if rows == "SELECT 1":
        content = path.read_bytes()
        path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with HashCache.open(path) as cache:
        assert files(cache, REEF) == {}
        cache.record(REEF, "a", STAT, "b" * 64)
    with HashCache.open(path) as cache:
        assert list(files(cache, REEF)) == ["a"]


def test_cache_that_cannot_be_opened_costs_only_time(tmp_path):
    """Without a file, rows are kept in memory."""
    (tmp_path / "hashes.sqlite/full").mkdir(parents=True)
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
        assert list(files(cache, REEF)) == ["a"]


def test_cache_that_is_deleted_while_it_is_open_costs_only_time(tmp_path):
    """`.datapack` is safe to delete at any time."""
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
        shutil.rmtree(tmp_path / "cache")
        cache.write()
        files(cache, REEF)
        cache.record(REEF, "b", STAT, "a" * 64)
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        assert "c" not in files(cache, REEF)


def test_time_that_sqlite_cannot_store_is_not_recorded(tmp_path):
    """Such a file is hashed each time; the build goes on."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "late", FileStat(1, 1 << 63), "a" * 64)
        cache.record(REEF, "early", FileStat(1, -1), "a" * 64)
        assert list(files(cache, REEF)) == ["early"]


@pytest.mark.parametrize(
    "foreign",
    [
        """CREATE VIEW file AS WITH RECURSIVE row(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row)
        SELECT 'reef@v1' AS reference, n AS path, 1 AS size, 1 AS mtime_ns, '' AS sha256 FROM row""",
        """CREATE TABLE layer (key TEXT PRIMARY KEY, digest TEXT);
        CREATE TRIGGER later AFTER INSERT ON layer BEGIN DELETE FROM layer; END""",
        "CREATE TABLE place (registry TEXT)",
        "CREATE TABLE other (name TEXT)",
    ],
)
def test_cache_that_somebody_else_made_is_replaced(tmp_path, foreign):
    """A cloned repository may bring one along: a view may never end, a trigger does what its author likes."""
    with closing(sqlite3.connect(tmp_path / "hashes.sqlite")) as connection:
        connection.executescript(foreign)
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        assert files(cache, REEF) == {}
        cache.record_layer("key", "digest")
        cache.record_place("registry", "repository", "digest")
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        assert cache.layer("key") == "digest"
        assert cache.repositories("registry") == ["repository"]


def test_single_files_are_found(tmp_path):
    """Only known files of the same version are found, in the order that they are asked for."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        for path in ("a", "b", "c"):
            cache.record(REEF, path, STAT, path * 64)
        cache.record(ATOLL, "d", STAT, "d" * 64)
        assert list(cache.find(REEF, ["c", "d", "a"])) == [
            ("c", KnownFile(STAT, "c" * 64)),
            ("a", KnownFile(STAT, "a" * 64)),
        ]
