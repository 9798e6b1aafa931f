"""What datapack never does to a DVC repository: remove good data, guess around a setting, start DVC in vain."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.repository import set_up
from datapack.fetch.dvc.settings import check_remote, check_settings, read_setting
from tests.conftest import Catalog


def objects(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def remove_bag(catalog: Catalog) -> None:
    shutil.rmtree(catalog.root / "data/reef/v1")


def damage(path: Path) -> None:
    """Change a byte of an object, which is protected and may be linked to a bag."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(b"X" + content[1:])
    path.chmod(0o444)


def share_cache(catalog: Catalog) -> Path:
    """Move DVC's cache out of the repository, to where others may use it too."""
    shared = catalog.root.parent / "shared"
    (catalog.root / ".dvc/cache").rename(shared)
    with (catalog.root / ".dvc/config.local").open("a") as config:
        config.write("    dir = ../../shared\n")
    return shared


def object_of(catalog: Catalog, cache: Path, name: str) -> Path:
    md5 = yaml.safe_load((catalog.root / "data/reef/v1.dvc").read_text())["outs"][0]["md5"]
    own = DvcCache(cache, private=True)
    return own.path(own.tree(md5)[name])


@pytest.mark.parametrize("types", ["symlink", "reflink,symlink", "hardlink,symlink,copy", "SymLink"])
@pytest.mark.parametrize("level", [".dvc/config", ".dvc/config.local"])
def test_links_instead_of_files_are_refused_and_nothing_is_removed(fetched, types, level):
    """A bag holds regular files: with links to the cache, every file would look changed."""
    shared = share_cache(fetched)
    (fetched.root / ".dvc/config.local").write_text("[cache]\n    dir = ../../shared\n")
    with (fetched.root / level).open("a") as config:
        config.write(f"[cache]\n    type = {types}\n" if level.endswith("config") else f"    type = {types}\n")
    before = objects(shared)
    remove_bag(fetched)
    error = fetched.fails("fetch", "reef@v1")
    assert f"{fetched.root / level}: with this cache.type, DVC may replace files of a bag by links" in error
    assert "run 'dvc config --local cache.type hardlink,copy'" in error
    assert objects(shared) == before


@pytest.mark.parametrize("types", ["copy", "copy,symlink", "reflink,hardlink,copy,symlink", '"hardlink,copy"'])
def test_links_that_dvc_never_makes_are_accepted(tmp_path, types):
    """DVC takes the first type that works, and copying always does."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[cache]\ntype = {types}\n")
    check_settings(tmp_path)


@pytest.mark.parametrize("level", ["system", "global"])
def test_settings_of_the_user_and_the_system_are_checked(tmp_path, monkeypatch, level):
    """The error names the file that has the setting."""
    monkeypatch.setenv(f"DVC_{level.upper()}_CONFIG_DIR", str(tmp_path / level))
    (tmp_path / level).mkdir()
    (tmp_path / level / "config").write_text("[cache]\ntype = symlink\n")
    with pytest.raises(VersioningError, match=f"{level}/config: with this cache.type"):
        check_settings(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[cache]\ntype = copy\n")
    check_settings(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("[cache]\ntype = softlink\n", "unknown cache.type: expected reflink, .* found 'softlink'"),
        ("[cache]\nlocal = shelf\n", "cache.local is not supported: found shelf; set cache.dir"),
        ("[cache]\ndir = config\n", "DVC needs a folder here: found a file"),
        ("[cache]\ndir = gone\n", "DVC needs a folder here: found a file, or a link that leads nowhere"),
    ],
)
def test_other_settings_that_cannot_work_are_refused(tmp_path, settings, reason):
    """One line says what is wrong before DVC starts."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(settings)
    (tmp_path / ".dvc/gone").symlink_to("nowhere")
    with pytest.raises(VersioningError, match=reason):
        check_settings(tmp_path)


@pytest.mark.parametrize("option", ["version_aware", "worktree"])
def test_remote_that_keeps_files_by_name_is_refused(tmp_path, option):
    """DVC would write a pointer without a hash of the bag."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(
        f"[core]\nremote = shelf\n['remote \"shelf\"']\nurl = s3://bucket/path\n{option} = true\n"
    )
    with pytest.raises(VersioningError, match=f"config: a remote with {option} is not supported: found shelf"):
        check_remote(tmp_path)


@pytest.mark.parametrize("folder", [".dvc", ".dvc/cache"])
def test_read_only_folders_of_dvc_are_named(fetched, folder):
    """The error comes before anything is fetched, and not from inside DVC."""
    remove_bag(fetched)
    (fetched.root / "data/reef/v1.dvc").unlink()
    path = fetched.root / folder
    mounted = subprocess.run(["mount", "--bind", path, path], capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("only root can mount a disk read-only")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        assert f"{path}: DVC can't write here; check the permissions" in fetched.fails("fetch", "reef@v1")
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_damaged_object_of_a_shared_cache_is_named_and_kept(fetched):
    """It may be somebody's only copy; every other object stays too."""
    shared = share_cache(fetched)
    damage(object_of(fetched, shared, "data/images/a b.png"))
    before = objects(shared)
    remove_bag(fetched)
    error = fetched.fails("fetch", "reef@v1")
    assert f"{shared}: files in DVC's cache are damaged: found 1, such as files/md5/" in error
    assert "datapack removes nothing" in error
    assert objects(shared) == before
    assert not (fetched.root / "data/reef/v1").exists()


def test_only_damaged_objects_are_removed(fetched):
    """A damaged tag file makes the whole bag suspect, but the cache gives up only what it reads and finds wrong."""
    cache = fetched.root / ".dvc/cache"
    victim = object_of(fetched, cache, "bag-info.txt")
    before = objects(cache)
    damage(victim)
    remove_bag(fetched)
    assert "found" in fetched.fails("fetch", "reef@v1", status=3)
    assert before.keys() - objects(cache).keys() == {str(victim.relative_to(cache))}


def test_damaged_listing_is_removed_and_the_sources_are_asked(fetched):
    """A damaged listing would restore other files for ever."""
    cache = fetched.root / ".dvc/cache"
    md5 = yaml.safe_load((fetched.root / "data/reef/v1.dvc").read_text())["outs"][0]["md5"]
    damage(DvcCache(cache, private=True).path(md5))
    remove_bag(fetched)
    done = fetched.run("fetch", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert "DVC's listing of data/reef/v1 was damaged and is removed" in done.stderr


@pytest.mark.parametrize("name", ["../../../../../victim", "aa/../../../../../../victim", "/victim", "", 7])
def test_pointer_leads_to_no_file_outside_the_cache(fetched, name):
    """A pointer comes from a clone: its hash is a hash, not a path to a file that does not match it."""
    victim = fetched.root.parent / "victim"
    victim.write_bytes(b"precious")
    pointer = fetched.root / "data/reef/v1.dvc"
    content = yaml.safe_load(pointer.read_text())
    content["outs"][0]["md5"] = name
    pointer.write_text(yaml.safe_dump(content))
    remove_bag(fetched)
    assert "v1.dvc: DVC's pointer can't be read" in fetched.fails("fetch", "reef@v1")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kept", [0, 5])
def test_a_clone_without_a_remote_says_so(fetched, kept):
    """DVC would ask "Is your cache up to date?"; the sources are asked instead."""
    cache = fetched.root / ".dvc/cache"
    lacking = "the bag"
    if kept:
        for name in ("data/z", "data/train.json", "bagit.txt"):
            object_of(fetched, cache, name).unlink()
        lacking = "3 of 8 files"
    else:
        shutil.rmtree(cache)
    remove_bag(fetched)
    done = fetched.run("fetch", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert f"DVC can't restore data/reef/v1: its cache lacks {lacking}, and it has no default remote" in done.stderr
    assert "up to date" not in done.stderr


@pytest.mark.slow
def test_module_beside_the_catalog_is_not_imported(catalog):
    """Python looks for modules in the current folder first; a dataset's scripts may have any name."""
    for name in ("json", "dvc", "yaml", "logging"):
        (catalog.root / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    command = ["-P", "-m", "datapack", "fetch", "reef@v1"]
    done = subprocess.run(
        [catalog.command()[0], *command], **catalog.options(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_new_repository_is_complete_or_absent(tmp_path):
    """A kill leaves at most a folder that the next run replaces."""
    (tmp_path / ".dvc.partial").mkdir()
    (tmp_path / ".dvc.partial/config").write_text("half")
    set_up(tmp_path)
    assert read_setting(tmp_path, "core", "no_scm") == "True"
    assert read_setting(tmp_path, "cache", "type").endswith("hardlink,copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc"]


def test_settings_of_the_user_survive(tmp_path):
    """Only the type of link is added; comments, other settings and the file's mode stay."""
    (tmp_path / ".dvc").mkdir()
    local = tmp_path / ".dvc/config.local"
    local.write_text(
        "# mine\n['remote \"shelf\"']\n    password = secret  # of the shelf\n[Cache]\n    Shared = group\n"
    )
    local.chmod(0o600)
    set_up(tmp_path)
    text = local.read_text()
    assert "# mine\n" in text
    assert "password = secret    # of the shelf\n" in text
    assert read_setting(tmp_path, "cache", "shared") == "group"
    assert "copy" in read_setting(tmp_path, "cache", "type")
    assert stat.S_IMODE(local.stat().st_mode) == 0o600
    before = text
    set_up(tmp_path)
    assert local.read_text() == before


def test_repository_without_a_cache_is_not_made_anew(tmp_path):
    """A repository whose cache is elsewhere, or still empty, keeps its settings, whatever a killed run left behind."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\nremote = shelf\n")
    (tmp_path / ".datapack").mkdir()
    (tmp_path / ".datapack/dvc-init").touch()
    set_up(tmp_path)
    assert read_setting(tmp_path, "core", "remote") == "shelf"


@pytest.mark.parametrize("kind", ["link", "file"])
@pytest.mark.parametrize("name", ["", "/reef", "/reef/v1", "/reef/v1.partial", "/reef/v1+replaced.partial"])
def test_nothing_behind_a_link_is_touched(fetched, name, kind):
    """DVC would check the bag out behind a link, and remove every other file there."""
    elsewhere, path = fetched.root.parent / "elsewhere", fetched.root / f"data{name}"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"x")
    if name.endswith("partial"):
        remove_bag(fetched)
    else:
        path.rename(fetched.root.parent / "before")
    if kind == "link":
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(b"x")
    error = fetched.fails("fetch", "reef@v1", "--refresh")
    assert f"{path}: a folder is expected here: found a {kind}; move it away" in error
    assert [file.name for file in elsewhere.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", [".dvc/config", ".dvc/config.local", ".dvc/tmp/rwlock", "data/reef/v1.dvc"])
def test_a_fifo_in_place_of_a_file_of_dvc_is_named(fetched, name):
    """Reading it would wait for ever."""
    remove_bag(fetched)
    path = fetched.root / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = fetched.run("fetch", "reef@v1", timeout=60)
    if name.endswith("v1.dvc"):  # of no size, so as after a kill: it is written again
        assert done.returncode == 0, done.stderr
    else:
        assert f"{path}: not a regular file: found a FIFO" in done.stderr
