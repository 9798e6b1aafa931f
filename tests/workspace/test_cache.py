"""The hash cache: what it stores, and what happens when it is damaged."""

import sqlite3
import threading

from datapack.files import FileStat
from datapack.reference import Reference
from datapack.workspace.cache import HashCache, KnownFile

REEF, ATOLL = Reference("reef", "v1"), Reference("atoll", "v1")
STAT = FileStat(3, 1_700_000_000_123_456_789)


def test_recorded_file_is_known_at_once_and_later(tmp_path):
    """A row is found in the same run and in the next one, only for its own version."""
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        cache.record(REEF, "data/ö.png", STAT, "a" * 64)
        assert cache.files(REEF) == {"data/ö.png": KnownFile(STAT, "a" * 64)}
    with HashCache.open(tmp_path / "cache/hashes.sqlite") as cache:
        assert cache.files(REEF) == {"data/ö.png": KnownFile(STAT, "a" * 64)}
        assert cache.files(ATOLL) == {}


def test_last_record_counts(tmp_path):
    """A file that changed has one row, the newest."""
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
        cache.record(REEF, "a", STAT, "b" * 64)
        assert cache.files(REEF)["a"].sha256 == "b" * 64


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
        assert len(cache.files(REEF)) == 2000


def test_damaged_cache_is_replaced(tmp_path):
    """A damaged cache only costs hashing the files again."""
    (tmp_path / "hashes.sqlite").write_bytes(b"no database" * 1000)
    with HashCache.open(tmp_path / "hashes.sqlite") as cache:
        cache.record(REEF, "a", STAT, "a" * 64)
    with sqlite3.connect(tmp_path / "hashes.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (1,)
