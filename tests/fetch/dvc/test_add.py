"""What datapack writes for a new bag is what ``dvc add`` writes."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc import add as dvc_add
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.repository import set_up
from datapack.progress import Silent
from tests.conftest import Catalog, make_catalog
from tests.fetch.dvc.git import git, with_git

ODD_NAMES = (
    "a-b/c",
    "a/c",
    "a.b",
    "é",
    "\U0001f41f",
    "quo'te",
    'quo"te',
    "two  spaces",
    "deep/er/and/er/x",
    "Y",
    "~y",
)
CACHE = ".dvc/cache"


def dvc(catalog: Catalog, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    options = catalog.options()
    return subprocess.run(command, **options, check=True, capture_output=True, text=True).stdout


def state(catalog: Catalog) -> dict[str, tuple[bytes, int]]:
    """The bytes and the mode of everything that ``dvc add`` writes, apart from its own database."""
    root = catalog.root
    files = [path for path in (root / CACHE).rglob("*") if path.is_file()]
    files += [path for path in (root / "data/reef").iterdir() if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in files}


def forget(catalog: Catalog) -> None:
    """Remove what ``dvc add`` wrote."""
    shutil.rmtree(catalog.root / CACHE)
    for path in (catalog.root / "data/reef").iterdir():
        if path.is_file():
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("types", ["hardlink,copy", "copy", "reflink,hardlink,copy"])
@pytest.mark.parametrize("with_git", [True, False])
def test_every_byte_is_that_of_dvc(tmp_path, types, with_git):
    """The same objects with the same modes, the same listing, pointer and .gitignore; and DVC sees no change."""
    catalog = make_catalog(tmp_path / "catalog")
    for name in ODD_NAMES:
        path = catalog.root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    if with_git:
        git(catalog, "init", "-q")
    set_up(catalog.root)
    (catalog.root / ".dvc/config.local").write_text(f"[cache]\n    type = {types}\n")
    catalog.ok("fetch", "reef@v1")
    ours = state(catalog)
    assert not (catalog.root / ".dvc/tmp/btime").exists()  # DVC did not run
    assert "data is up to date" in dvc(catalog, "status").lower().replace("and pipelines are", "is")
    forget(catalog)
    dvc(catalog, "add", "data/reef/v1")
    assert state(catalog) == ours
    assert ("data/reef/.gitignore" in ours) == with_git


@pytest.mark.parametrize(("types", "linked"), [("hardlink,copy", True), ("copy", False)])
def test_the_disk_holds_the_data_once_if_links_are_wanted(catalog, types, linked):
    """With copies, a change of a file in the bag can't change the cache."""
    set_up(catalog.root)
    (catalog.root / ".dvc/config.local").write_text(f"[cache]\n    type = {types}\n")
    catalog.ok("fetch", "reef@v1")
    bag = catalog.root / "data/reef/v1"
    assert ((bag / "data/z").stat().st_nlink > 1) == linked
    assert bool((bag / "data/z").stat().st_mode & stat.S_IWUSR) != linked
    assert not catalog.leftovers()


def test_an_existing_gitignore_is_kept(catalog):
    """Its last line may lack its end; a second version gets a line of its own, and no line is there twice."""
    git(catalog, "init", "-q")
    ignored = catalog.root / "data/reef/.gitignore"
    ignored.parent.mkdir(parents=True)
    ignored.write_text("/other")
    catalog.ok("fetch", "reef@v1")
    assert ignored.read_text() == "/other\n/v1\n"
    (catalog.root / "data/reef/v1.dvc").unlink()
    catalog.ok("fetch", "reef@v1")
    assert ignored.read_text() == "/other\n/v1\n"


def test_a_bag_that_git_ignores_needs_no_line(catalog):
    """As in DVC, a pattern of the user's is enough."""
    git(catalog, "init", "-q")
    (catalog.root / ".gitignore").write_text("data/*/*/\n")
    catalog.ok("fetch", "reef@v1")
    assert not (catalog.root / "data/reef/.gitignore").exists()


def test_gitignore_keeps_its_mode_and_its_bytes(fetched):
    """They need not be UTF-8."""
    with_git(fetched)
    ignored = fetched.root / "data/reef/.gitignore"
    ignored.write_bytes(b"\xe9\r\n")
    ignored.chmod(0o660)
    fetched.ok("fetch", "reef@v1")
    assert ignored.read_bytes() == b"\xe9\r\n/v1\n"
    assert stat.S_IMODE(ignored.stat().st_mode) == 0o660


def test_a_file_that_somebody_put_into_the_bag_is_named(fetched):
    """DVC would call the bag changed for ever."""
    (fetched.root / "data/reef/v1/notes.txt").touch()
    with pytest.raises(VersioningError, match=r"v1/notes\.txt: not a part of the bag; move it out"):
        track(fetched)


@pytest.mark.parametrize(("make", "found"), [(os.mkfifo, "a FIFO"), (os.mkdir, "a folder")])
def test_a_lock_that_is_no_file_is_named(fetched, make, found):
    """Opening a FIFO would wait for ever."""
    lock = fetched.root / ".dvc/tmp/lock"
    lock.unlink()
    make(lock)
    with pytest.raises(VersioningError, match=f"tmp/lock: not a regular file: found {found}"):
        track(fetched)


def test_an_object_that_a_kill_left_unprotected_is_protected(fetched):
    """The kill came between the link and the mode."""
    before = state(fetched)
    for path in (fetched.root / CACHE).rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    track(fetched)
    assert state(fetched) == before


@pytest.mark.parametrize(("private", "kept"), [(True, set()), (False, {"new"})])
def test_temporary_files_of_a_kill_are_removed(fetched, monkeypatch, private, kept):
    """In a shared cache, a new one may be another user's, who is at work."""
    cache = DvcCache(fetched.root / CACHE, private=private)
    monkeypatch.setattr(DvcCache, "of", lambda _: cache)
    for name in ("new", "old"):
        (cache.objects / f".datapack-{name}").touch()
    os.utime(cache.objects / ".datapack-old", (0, 0))
    track(fetched)
    assert {path.name for path in cache.objects.glob(".datapack-*")} == {f".datapack-{name}" for name in kept}


def test_a_running_dvc_is_waited_for_and_named(fetched, monkeypatch):
    """``dvc gc`` in between would remove objects that no pointer names yet."""
    monkeypatch.setattr(dvc_add, "_PAUSE", 0.01)
    with (fetched.root / ".dvc/tmp/lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(VersioningError, match="DVC is at work in this repository; run the same command"):
            track(fetched)
    track(fetched)


def track(catalog: Catalog) -> None:
    from datapack.bag.bagit import Bag

    bag = Bag.open(catalog.root / "data/reef/v1")
    dvc_add.add_bag(catalog.root, bag, bag.path.with_name("v1.dvc"), Silent())


def test_dvc_is_kept_waiting_until_the_pointer_is_there(fetched, monkeypatch):
    """``dvc gc`` right before that would remove every object of the bag."""
    locks = []

    def write(*_):
        with (fetched.root / ".dvc/tmp/lock").open("ab") as lock, pytest.raises(BlockingIOError) as held:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locks.append(held)
        return b"a pointer"

    monkeypatch.setattr(dvc_add, "format_pointer", write)
    track(fetched)
    assert locks


@pytest.mark.parametrize("mode", [0o400, 0o640, 0o755])
def test_an_object_gets_the_mode_that_dvc_trusts(fetched, mode):
    """Whatever the mode of the file in the bag."""
    before = state(fetched)
    forget(fetched)
    (fetched.root / "data/reef/v1/data/z").chmod(mode)
    track(fetched)
    assert state(fetched) == before


def test_damaged_object_is_replaced_when_a_bag_is_added(fetched):
    """DVC would trust its mode; the cache keeps what a pointer names."""
    cache = DvcCache.of(fetched.root)
    md5 = yaml.safe_load((fetched.root / "data/reef/v1.dvc").read_text())["outs"][0]["md5"]
    victim = cache.path(cache.tree(md5)["data/images/a b.png"])
    victim.unlink()
    victim.write_bytes(b"damaged")
    victim.chmod(0o444)
    track(fetched)
    assert victim.samefile(fetched.root / "data/reef/v1/data/images/a b.png")


def test_damaged_object_of_a_shared_cache_stops_the_add(fetched, tmp_path):
    """Nothing of others is removed, and no pointer says that the cache is whole."""
    pointer = fetched.root / "data/reef/v1.dvc"
    cache = DvcCache(fetched.root / CACHE, private=False)
    victim = cache.path(cache.tree(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])["data/z"])
    shared = tmp_path / "shared"
    (fetched.root / CACHE).rename(shared)
    with (fetched.root / ".dvc/config.local").open("a") as config:
        config.write("    dir = ../../shared\n")
    victim = shared / victim.relative_to(fetched.root / CACHE)
    victim.unlink()
    victim.write_bytes(b"damaged")
    pointer.unlink()
    assert "files in DVC's cache are damaged: found 1" in fetched.fails("fetch", "reef@v1")
    assert victim.read_bytes() == b"damaged"
    assert not pointer.exists()


def test_a_disk_without_links_gets_copies(fetched, monkeypatch):
    """The cache may be on another disk than the bag, or the disk may have no hard links."""

    def refuse(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    before = state(fetched)
    forget(fetched)
    track(fetched)
    assert state(fetched) == before
    assert not fetched.leftovers()


@pytest.mark.parametrize("linked", ["files", "files/md5", "files/md5/{shard}"])
def test_objects_behind_a_link_are_shared(fetched, linked):
    """Nothing is removed there. All of them may be on another disk, where copies take the place of links."""
    other_disk = Path("/dev/shm")
    shared = Path(tempfile.mkdtemp(dir=other_disk if other_disk.is_dir() and "shard" not in linked else None))
    try:
        check_objects_behind_a_link(fetched, linked, shared)
    finally:
        shutil.rmtree(shared)


def check_objects_behind_a_link(catalog: Catalog, linked: str, shared: Path) -> None:
    cache = DvcCache.of(catalog.root)
    listing = yaml.safe_load((catalog.root / "data/reef/v1.dvc").read_text())["outs"][0]["md5"]
    victim = cache.path(cache.tree(listing)["data/images/a b.png"])
    folder = cache.folder / linked.format(shard=victim.parent.name)
    shutil.move(folder, shared / "moved")
    folder.symlink_to(shared / "moved")
    content = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(b"damaged")
    with pytest.raises(VersioningError, match="files in DVC's cache are damaged: found 1"):
        track(catalog)
    assert victim.read_bytes() == b"damaged"
    victim.unlink()
    track(catalog)
    assert victim.read_bytes() == content
