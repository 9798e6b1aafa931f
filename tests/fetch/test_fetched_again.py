"""A version that was fetched before: its bag goes back into DVC's cache, and the user hears what was not read."""

import shutil

import pytest
import yaml

from datapack.catalog.sources import LocalSource
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.kinds.local import is_here
from tests.conftest import Catalog

BAG, CACHE = "data/reef/v1", ".dvc/cache"
REMOTE = "[core]\n    no_scm = True\n    remote = shelf\n['remote \"shelf\"']\n    url = ../../remote\n"
UNREAD = f"reef@v1: the bag in {BAG} is used; --refresh reads its sources again"


def listing(catalog: Catalog) -> str:
    """DVC's name of the bag."""
    return str(yaml.safe_load((catalog.root / f"{BAG}.dvc").read_text())["outs"][0]["md5"])


def lost(catalog: Catalog) -> list[str]:
    """The files of the bag that DVC's cache lacks."""
    cache = DvcCache(catalog.root / CACHE, private=True)
    files = cache.tree(listing(catalog))
    assert files, "the listing is lost"
    return [name for name, md5 in files.items() if not cache.has(md5)]


def lose_objects(catalog: Catalog, *names: str) -> None:
    cache = DvcCache(catalog.root / CACHE, private=True)
    for name in names:
        cache.path(cache.tree(listing(catalog))[name]).unlink()


@pytest.mark.parametrize("bag", ["here", "lost"])
@pytest.mark.parametrize("remote", [False, True])
def test_lost_cache_is_filled_again(fetched, bag, remote):
    """The next fetch adds the bag again, whether it is here or fetched anew; one more adds nothing."""
    lock = (fetched.root / "datasets.lock").read_bytes()
    shutil.rmtree(fetched.root / CACHE)
    if bag == "lost":
        shutil.rmtree(fetched.root / BAG)
    if remote:
        (fetched.root / ".dvc/config").write_text(REMOTE)
    done = fetched.run("fetch", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert "versioning data/reef/v1 with DVC" in done.stderr
    assert lost(fetched) == []
    assert (fetched.root / "datasets.lock").read_bytes() == lock
    assert "versioning" not in fetched.run("fetch", "reef@v1").stderr


@pytest.mark.parametrize("options", [[], ["--push-data"]])
def test_a_changed_file_is_not_added_to_dvc(fetched, options):
    """DVC's copy is what restores the bag: it, the pointer and the lock stay those of the bytes in the manifest."""
    pointer, lock = fetched.root / f"{BAG}.dvc", fetched.root / "datasets.lock"
    before = pointer.read_bytes(), lock.read_bytes()
    shutil.rmtree(fetched.root / CACHE)
    (fetched.root / ".dvc/config").write_text(REMOTE)
    victim = fetched.root / BAG / "data/z"
    victim.chmod(0o644)
    victim.write_bytes(b"Z")
    error = fetched.fails("fetch", "reef@v1", *options, status=3)
    assert "the data does not match its manifest, so it is not added to DVC" in error
    assert "changed  data/z" in error
    assert (pointer.read_bytes(), lock.read_bytes()) == before
    assert not (fetched.root / CACHE).exists()
    assert not (fetched.root.parent / "remote").exists()
    victim.unlink()
    fetched.ok("fetch", "reef@v1", *options)
    assert lost(fetched) == []
    assert pointer.read_bytes() == before[0]


def test_lost_objects_are_there_again_after_a_new_fetch(fetched):
    """DVC could not restore the bag without them; that the listing is there is not enough for a new bag."""
    lose_objects(fetched, "data/train.json", "bagit.txt")
    shutil.rmtree(fetched.root / BAG)
    fetched.ok("fetch", "reef@v1")
    assert lost(fetched) == []


def test_lost_cache_that_cannot_be_filled_stops_nothing(fetched):
    """The bag is complete, and its cache may be on a disk that is not here now; a note says so."""
    (fetched.root / CACHE).rename(fetched.root / ".dvc/elsewhere")
    (fetched.root / CACHE).write_bytes(b"no folder")
    done = fetched.run("fetch", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert "can't make sure that reef@v1 is in DVC's cache: " in done.stderr
    assert "DVC needs a folder here" in done.stderr


def edit(catalog: Catalog) -> None:
    (catalog.root / "source/images/a b.png").write_bytes(b"edited")


@pytest.mark.parametrize("command", ["fetch", "build"])
def test_unread_local_source_is_noted(fetched, command):
    """An edited file is not in the bag that is used; one line says how it gets there."""
    edit(fetched)
    assert fetched.run(command, "reef@v1").stderr.splitlines().count(UNREAD) == 1


def test_unread_local_source_is_noted_for_a_restored_bag(fetched):
    """DVC's copy is as old as the bag was."""
    edit(fetched)
    shutil.rmtree(fetched.root / BAG)
    assert UNREAD in fetched.run("fetch", "reef@v1").stderr.splitlines()


def test_source_that_was_read_or_is_not_here_gives_no_note(catalog):
    """The first fetch and a refresh read the source; in a clone there is none to read."""
    assert "--refresh" not in catalog.run("fetch", "reef@v1").stderr
    assert "--refresh" not in catalog.run("fetch", "reef@v1", "--refresh").stderr
    (catalog.root / "source").rename(catalog.root / "elsewhere")
    assert "--refresh" not in catalog.run("fetch", "reef@v1").stderr


@pytest.mark.parametrize(("local", "noted"), [("source/**/*", True), ("gone/*", False), ("[ab]/*", True)])
def test_glob_counts_as_here_with_its_fixed_part(fetched_once, local, noted):
    """What matches may be gone, but then the source has changed."""
    assert is_here(LocalSource(local=local), fetched_once.root) is noted
