"""`datapack remove`: what goes, what comes free, and what must stay."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datapack.errors import DatapackError, UsageError, VersioningError
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.versions import remove as remove_module
from datapack.versions.objects import find_objects
from datapack.versions.remove import Removal, RemoveOptions, plan_removal, remove
from datapack.workspace.cache import HashCache
from datapack.workspace.folder import Workspace
from tests.conftest import Catalog, make_catalog
from tests.signing.keyfiles import make_keys
from tests.three_versions import Reef, make_reef

REEF = Reference("reef", "v1")
V2 = Reference("reef", "v2")
ALL = RemoveOptions()


class Here:
    """What a test removes from: a catalog, and its workspace."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.workspace, self.notes = catalog, Workspace(catalog.root), []

    def plan(self, reference: Reference = REEF, **options: bool) -> Removal:
        return plan_removal(self.workspace, reference, RemoveOptions(**options), Silent())

    def remove(self, reference: Reference = REEF, **options: bool) -> Removal:
        return remove(self.workspace, reference, RemoveOptions(**options), Silent())

    def files(self) -> dict[str, bytes]:
        root = self.catalog.root
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def disk(self) -> int:
        """The bytes of all files here, each counted once however many names it has."""
        stats = {
            (s.st_dev, s.st_ino): s.st_size for p in self.catalog.root.rglob("*") if p.is_file() for s in [p.lstat()]
        }
        return sum(stats.values())

    def push_data(self, remote: Path) -> None:
        command = [sys.executable, "-m", "dvc", "remote", "add", "--quiet", "--default", "store", str(remote)]
        subprocess.run(command, cwd=self.catalog.root, check=True)
        self.catalog.ok("fetch", "reef@v1", "--push-data")

    def lose_sources(self) -> None:
        shutil.rmtree(self.catalog.root / "source")


@pytest.fixture
def here(built: Catalog) -> Here:
    return Here(built)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Reef:
    reef = make_reef(make_catalog(tmp_path_factory.mktemp("three") / "catalog").root)
    for version in ("v1", "v2"):
        reef.ok("build", f"reef@{version}")
    return reef


def test_a_dry_run_changes_nothing(here: Here) -> None:
    """Planning a removal leaves every file as it is."""
    before = here.files()
    removal = here.plan()
    assert [part.name for part in removal.parts] == ["bag", "cache", "lists", "dist"]
    assert here.files() == before


def test_what_comes_free_is_what_the_disk_gets_back(here: Here) -> None:
    """Hard links count once: the bag alone frees nothing of what DVC's cache holds too."""
    only_bag, both = here.plan(bag=True), here.plan(bag=True, cache=True)
    assert only_bag.parts[0].usage.bytes > 3000
    assert only_bag.freed < both.freed
    before = here.disk()
    removal = here.remove()
    locks = 2000  # bytes of the cache of hashes may change
    assert abs(before - here.disk() - removal.freed) < locks


def test_everything_goes_and_the_records_stay(here: Here) -> None:
    """The bag, its objects and its image go; the catalog, the lock and the pointer stay, and bring the version back."""
    lock = (here.catalog.root / "datasets.lock").read_bytes()
    root = here.catalog.root
    (root / "dist/reef-v1.report.html").write_text("a page with images of the data")
    here.remove()
    assert not (root / "data/reef/v1").exists()
    assert not (root / "dist/reef-v1").exists()
    assert not [path for path in (root / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert not list((root / ".datapack/manifests").iterdir())
    assert not (root / "dist/reef-v1.provenance.json").exists()
    assert not (root / "dist/reef-v1.report.html").exists()
    assert (root / "data/reef/v1.dvc").exists()
    assert (root / "datasets.lock").read_bytes() == lock
    here.catalog.ok("build", "reef@v1")
    assert here.catalog.ok("list").count("yes") == 2


def test_what_killed_runs_left_goes(here: Here) -> None:
    """Half-written metadata, and folders that lost their name, go with the image."""
    dist = here.catalog.root / "dist"
    names = ("reef-v1.metadata.partial", "reef-v1.metadata.old", "reef-v1.metadata+removed.partial")
    for name in names:
        (dist / name).mkdir()
    removal = here.remove(dist=True)
    assert {dist / name for name in names} <= set(removal.parts[0].paths)
    assert not [name for name in names if (dist / name).exists()]


def test_signatures_stay(here: Here, tmp_path: Path) -> None:
    """Only the key could make them again; after the next build they are of the same image. The output names them."""
    keys, root = make_keys(tmp_path), here.catalog.root
    here.catalog.ok("sign", "oci:dist/reef-v1", "--key", str(keys.private))
    here.catalog.ok("sign", "reef@v1", "--key", str(keys.private))
    assert not [note for note in here.plan(cache=True).notes if "signatures" in note]
    (note,) = [note for note in here.remove().notes if "signatures" in note]
    names = ["data/reef/v1.sigstore.json", "dist/reef-v1.provenance.sigstore.json", "dist/reef-v1.sigstore.json"]
    assert note.endswith(f": {', '.join(names)}")
    assert all((root / name).is_file() for name in names)
    here.catalog.ok("build", "reef@v1")
    assert "provenance signed by" in here.catalog.ok("verify", "oci:dist/reef-v1", "--key", str(keys.public))


def test_a_second_removal_finds_nothing(here: Here) -> None:
    """To remove what is gone is no error."""
    here.remove()
    assert here.remove().parts == ()


@pytest.mark.parametrize("part", ["bag", "cache", "dist"])
def test_only_the_named_part_goes(here: Here, part: str) -> None:
    """Each option removes its part and nothing else."""
    places = {"bag": "data/reef/v1", "cache": ".dvc/cache/files/md5", "dist": "dist/reef-v1"}
    here.remove(**{part: True})
    for name, place in places.items():
        folder = here.catalog.root / place
        assert any(path.is_file() for path in folder.rglob("*")) == (name != part), name


def test_the_only_copy_stays(here: Here) -> None:
    """Without its sources, a version's last copy goes only with an explicit option."""
    here.lose_sources()
    with pytest.raises(DatapackError, match=r"no other copy of this version is known; .*--only-copy"):
        here.remove()
    done = here.catalog.run("remove", "reef@v1")
    assert done.returncode == 1
    assert "no other copy of this version is known: only --only-copy removes it" in done.stdout
    assert here.plan(bag=True, dist=True).staying == ("DVC's cache",)
    here.remove(bag=True, dist=True)
    assert here.plan(cache=True).is_only_copy
    here.remove(cache=True, only_copy=True)
    assert here.plan().parts == ()


def test_changed_sources_are_no_copy(here: Here) -> None:
    """A local source counts as a copy only while every file is what it was."""
    assert here.plan().staying == ("the local sources",)
    (here.catalog.root / "source/z").write_bytes(b"y")
    assert here.plan().is_only_copy


def test_a_version_in_the_remote_has_a_copy(here: Here, tmp_path: Path) -> None:
    """DVC says whether its remote has every file; one that lost a file has no copy."""
    here.push_data(tmp_path / "remote")
    here.lose_sources()
    assert here.plan().staying == ("DVC's remote",)
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(here.catalog.root / ".dvc/tmp", ignore_errors=True)
    assert here.plan().is_only_copy


def test_what_another_version_needs_stays(three: Reef, tmp_path: Path) -> None:
    """After v1 is gone, v2 can still be restored from DVC's cache; only what v1 alone had has gone."""
    here = Here(three.copy(tmp_path / "catalog"))
    removal = here.remove()
    assert removal.shared == 5  # a/1, a/2, b/2, c, and bagit.txt, which is the same in every bag
    objects = {path.read_bytes() for path in (here.catalog.root / ".dvc/cache/files").rglob("*") if path.is_file()}
    assert b"withdrawn " * 300 not in objects
    shutil.rmtree(here.catalog.root / "v2")
    here.catalog.ok("verify", "reef@v2")
    here.remove(V2, bag=True)
    here.catalog.ok("fetch", "reef@v2")


@pytest.mark.parametrize("content", [b"outs: [", b"outs:\n- path: v9\n", b"\xff\xfe"])
def test_nothing_goes_from_the_cache_beside_an_unreadable_pointer(here: Here, content: bytes) -> None:
    """A pointer that names no object may need any of them."""
    (here.catalog.root / "elsewhere").mkdir()
    (here.catalog.root / "elsewhere/other.dvc").write_bytes(content)
    before = here.files()
    with pytest.raises(VersioningError, match=r"other.dvc: this DVC file names no object"):
        here.remove()
    assert here.files().keys() == before.keys()


def test_a_damaged_listing_of_another_version_stops_the_removal(three: Reef, tmp_path: Path) -> None:
    """What another version needs is in its listing; one that can't be read is not taken for an empty one."""
    here = Here(three.copy(tmp_path / "catalog"))
    pointer = (here.catalog.root / "data/reef/v2.dvc").read_text()
    md5 = pointer.partition("md5: ")[2].split()[0]
    listing = here.catalog.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    listing.chmod(0o644)
    listing.write_bytes(b"[")
    with pytest.raises(VersioningError, match="a listing in DVC's cache can't be read"):
        here.plan()


def test_a_shared_cache_keeps_everything(here: Here, tmp_path: Path) -> None:
    """A cache outside .dvc may hold the only copy of other people; it stays, and the output says so."""
    root = here.catalog.root
    shutil.move(root / ".dvc/cache", tmp_path / "cache")
    with (root / ".dvc/config.local").open("a") as file:
        file.write(f"    dir = {tmp_path}/cache\n")
    removal = here.remove()
    assert any("nothing is removed from DVC's cache: it may be shared" in note for note in removal.notes)
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 9


def test_a_withdrawn_version_goes_by_its_name(three: Reef, tmp_path: Path) -> None:
    """A version that the catalog no longer has is found in the lock; with --forget its records go too."""
    here = Here(three.copy(tmp_path / "catalog"))
    with pytest.raises(UsageError, match=r"the catalog still has this version, .* remove it from datasets.yml first"):
        here.plan(forget=True)
    three_without = here.catalog
    three_without.describe(v2=None)
    assert here.plan().is_only_copy
    here.remove(forget=True, only_copy=True)
    assert "reef@v1" not in (here.catalog.root / "datasets.lock").read_text()
    assert not list((here.catalog.root / "data/reef").glob("v1*"))
    with pytest.raises(UsageError, match="reef has no version v1"):
        here.plan()


def test_a_version_that_nobody_knows_is_a_usage_error(here: Here) -> None:
    """The error names those that there are."""
    with pytest.raises(UsageError, match=r"reef has no version v9: expected one of reef@v1"):
        here.plan(Reference("reef", "v9"))


def test_a_link_is_not_followed(here: Here, tmp_path: Path) -> None:
    """Where a folder should be, a link stops the removal: what is behind it belongs to somebody else."""
    root = here.catalog.root
    shutil.move(root / "dist", tmp_path / "dist")
    (root / "dist").symlink_to(tmp_path / "dist")
    with pytest.raises(DatapackError, match="a folder is expected here: found a link"):
        here.remove()
    assert (tmp_path / "dist/reef-v1/index.json").exists()


def test_a_running_rehearsal_keeps_its_folder(here: Here) -> None:
    """The folder of a rehearsal that runs, or was killed, stops the removal."""
    mark = here.catalog.root / "dist/rehearsals/reef-v1/20260101-000000-x/datapack-rehearsal"
    mark.parent.mkdir(parents=True)
    mark.touch()
    with pytest.raises(DatapackError, match="a rehearsal uses this folder"):
        here.plan()
    mark.unlink()
    (mark.parent / "safe_outputs").mkdir()
    here.remove(dist=True)
    assert not mark.parent.exists()


def test_a_kill_leaves_no_half_of_a_bag(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any moment the bag is whole, or it does not have its name; the same command then removes the rest."""

    def stop_after_one(path: Path) -> None:
        for folder, _, names in os.walk(path):
            for name in names:
                Path(folder, name).unlink()
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("datapack.versions.remove.shutil.rmtree", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            here.remove(bag=True)
    assert not (here.catalog.root / "data/reef/v1").exists()
    here.remove(bag=True)
    assert [path.name for path in (here.catalog.root / "data/reef").iterdir() if path.is_dir()] == []


def test_a_kill_at_any_moment_does_not_stop_the_next_removal(built: Catalog, tmp_path: Path) -> None:
    """Local sources are a copy as long as the bag shows it: the same command removes the rest, whatever is gone."""
    removed = 0

    def kill_at(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        whole(path)

    whole = remove_module._remove
    for moment in range(100):
        here, left = Here(built.copy(tmp_path / str(moment))), moment
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remove_module, "_remove", kill_at)
            try:
                here.remove()
            except KeyboardInterrupt:
                removed = moment
        here.remove()
        assert not here.plan().parts
        if moment > removed:
            break
    assert 5 < removed < 99


def test_a_full_disk_does_not_stop_a_removal(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what makes room: the note for other processes is left out where it can't be written."""

    def refuse(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)

    monkeypatch.setattr("datapack.workspace.folder.temporary_file", refuse)
    here.remove()
    assert not here.plan().parts


def test_it_says_where_the_image_was_pushed(here: Here) -> None:
    """A registry keeps what was pushed; the output names each repository that has this version."""
    locked = (here.catalog.root / "datasets.lock").read_text().split("layers:")[1].split()
    last = locked[-1]
    with HashCache.open(here.workspace.hashes) as cache:
        cache.record_place("ghcr.io", "example/reef", last)
        cache.record_place("ghcr.io", "example/other", locked[1])  # a layer that other images have too
    notes = [note for note in here.plan().notes if "pushed" in note]
    assert notes == ["its image was pushed to ghcr.io/example/reef, and stays there"]


def test_the_listing_goes_last(here: Here) -> None:
    """The listing of a bag says which objects are its own, so a removal that is cut short can be repeated."""
    from datapack.catalog.lock import Lock

    paths = find_objects(here.workspace, Lock.read(here.workspace.lock), REEF).paths
    assert [path.name.endswith(".dir") for path in paths] == [False] * 8 + [True]


def test_another_writer_keeps_the_folder(here: Here) -> None:
    """While another command writes here, nothing is removed."""
    with here.workspace.exclusive("a test"), pytest.raises(DatapackError, match="another datapack process"):
        here.remove()


def test_objects_stay_while_dvc_is_at_work(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another DVC may just take one of these objects for a file of its own; its lock is respected."""
    import fcntl

    monkeypatch.setattr("datapack.fetch.dvc.add._TRIES", 1)
    lock = here.catalog.root / ".dvc/tmp/lock"
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(VersioningError, match="DVC is at work in this repository"):
            here.remove(cache=True)
    assert len([path for path in (here.catalog.root / ".dvc/cache/files").rglob("*") if path.is_file()]) == 9
    here.remove(cache=True)


def test_what_another_branch_needs_stays(three: Reef, tmp_path: Path) -> None:
    """A version that only another branch of git has keeps its objects; an own pointer there keeps none."""
    here = Here(three.copy(tmp_path / "catalog"))
    root = here.catalog.root

    def git(*arguments: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *names, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    git("commit", "--allow-empty", "--message", "empty")
    git("checkout", "-b", "other")
    git("add", "--force", "data/reef/v1.dvc", "data/reef/v2.dvc")
    git("commit", "--message", "both versions")
    git("checkout", "main")
    here.catalog.describe(v1=None)
    lock = root / "datasets.lock"
    lock.write_text(lock.read_text().partition("reef@v2:")[0])
    assert not (root / "data/reef/v2.dvc").exists()
    subprocess.run(
        ["git", "show", "other:data/reef/v1.dvc"], cwd=root, check=True, stdout=(root / "data/reef/v1.dvc").open("wb")
    )
    assert here.plan().shared == 5
    git("branch", "--delete", "--force", "other")
    assert here.plan().shared == 0
