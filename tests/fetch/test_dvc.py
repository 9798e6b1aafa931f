"""DVC, the real one: tracked once, restored whole, sent away, and what goes wrong on the way."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import Catalog, fact


def git(catalog: Catalog, *arguments: str) -> str:
    identity = ["-c", "user.name=A test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=catalog.root, capture_output=True, text=True, check=True
    ).stdout


def dvc(catalog: Catalog, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=catalog.root, check=True, capture_output=True, env=catalog.options()["env"])


@pytest.fixture
def published(catalog, tmp_path):
    """A catalog in git whose version is in a DVC remote; its image digest is in ``image``."""
    git(catalog, "init", "-q")
    dvc(catalog, "init", "-q")
    dvc(catalog, "remote", "add", "--default", "shelf", str(tmp_path / "remote"))
    (catalog.root / ".gitignore").write_text(".datapack/\ndist/\n*.partial/\n")
    catalog.image = fact(catalog.ok("build", "reef@v1", "--push-data"), "image")
    git(catalog, "add", "datasets.yml", "datasets.lock", ".gitignore", ".dvc", "data", "base")
    git(catalog, "commit", "-qm", "reef@v1")
    return catalog


def clone(catalog: Catalog, folder) -> Catalog:
    """Clone with git alone: neither the sources nor DVC's cache come along."""
    subprocess.run(["git", "clone", "-q", catalog.root, folder], check=True, capture_output=True)
    return Catalog(folder)


def test_git_holds_pointers_and_no_data(published):
    """What git tracks is the pointer; the bag is ignored."""
    tracked = git(published, "ls-files").split()
    assert "data/reef/v1.dvc" in tracked
    assert not [name for name in tracked if name.startswith("data/reef/v1/")]


def test_clone_rebuilds_the_same_image_without_its_sources(published, tmp_path):
    """With git and the remote alone, and the sources gone, the image is the same byte for byte."""
    other = clone(published, tmp_path / "clone")
    shutil.rmtree(published.root)
    assert not (other.root / "source").exists()
    output = other.ok("build", "reef@v1")
    assert fact(output, "image") == published.image
    assert other.ok("verify", "oci:dist/reef-v1").startswith("verified")
    assert git(other, "status", "--porcelain") == ""


def test_bag_that_lost_a_file_is_made_whole_from_the_cache(published):
    """A file that is gone comes back from DVC, and only whole does the bag get its name again."""
    shutil.rmtree(published.root / "source")
    (published.root / "data/reef/v1/data/images/a b.png").unlink()
    assert fact(published.ok("build", "reef@v1"), "image") == published.image


def test_what_a_killed_fetch_left_does_not_end_in_a_restored_bag(published):
    """Files of another content in the unfinished bag are gone when DVC's version has taken their place."""
    shutil.rmtree(published.root / "data/reef/v1")
    partial = published.root / "data/reef/v1.partial/data"
    (partial / "images").mkdir(parents=True)
    (partial / "other").write_bytes(b"from another time")
    (partial / "images/a b.png").write_bytes(b"half")
    assert fact(published.ok("build", "reef@v1"), "image") == published.image
    assert not (published.root / "data/reef/v1/data/other").exists()


def test_cache_that_is_damaged_is_found(published, tmp_path):
    """A byte that flipped in DVC's cache never reaches a bag's name; the next run takes the file from the remote."""
    (victim,) = (p for p in (published.root / ".dvc/cache").rglob("*") if p.is_file() and p.stat().st_size == 3000)
    victim.chmod(0o644)
    victim.write_bytes(b"b" + victim.read_bytes()[1:])
    victim.chmod(0o444)
    shutil.rmtree(published.root / "data/reef/v1")
    error = published.fails("build", "reef@v1", status=3)
    assert "DVC's cache held files that differ from the bag's manifest" in error
    assert "changed  data/images/a b.png" in error
    assert not (published.root / "data/reef/v1").exists()
    assert not victim.exists()
    assert fact(published.ok("build", "reef@v1"), "image") == published.image


def test_remote_that_is_gone_is_said_and_the_sources_are_asked(published, tmp_path):
    """Without cache and remote the sources make the bag again: the same, or the lock stops it."""
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(published.root / ".dvc/cache")
    shutil.rmtree(published.root / "data/reef/v1")
    done = published.run("build", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert "'dvc pull" in done.stderr
    assert fact(done.stdout, "image") == published.image


def test_push_without_a_remote_says_what_to_do(catalog):
    """`--push-data` without a remote names the command that adds one."""
    assert "dvc remote add --default" in catalog.fails("build", "reef@v1", "--push-data")
    assert not (catalog.root / "dist").exists()


def test_dvcignore_that_hides_files_is_found(catalog):
    """Files that a .dvcignore keeps out of DVC would be lost: the build stops."""
    catalog.ok("build", "reef@v1")
    (catalog.root / "data/reef/v1.dvc").unlink()
    (catalog.root / ".dvcignore").write_text("*.json\n")
    error = catalog.fails("build", "reef@v1")
    assert "DVC does not track every file of the bag: expected 8 files, found 7 files" in error


def test_pointer_that_is_broken_is_named(catalog):
    """A pointer with a merge conflict in it is named, not a traceback."""
    catalog.ok("build", "reef@v1")
    (catalog.root / "data/reef/v1.dvc").write_text("<<<<<<< HEAD\n")
    assert "v1.dvc: DVC's pointer can't be read" in catalog.fails("build", "reef@v1")


def test_repository_of_dvc_above_is_used(catalog, tmp_path):
    """Where a folder above is DVC's already, no second repository is made."""
    above = Catalog(tmp_path)
    dvc(above, "init", "-q", "--no-scm")
    catalog.ok("build", "reef@v1")
    assert not (catalog.root / ".dvc").exists()
    assert any((tmp_path / ".dvc/cache").rglob("*.dir"))
