"""The catalog's commit, from real repositories."""

import subprocess
from pathlib import Path

import pytest

from datapack.catalog.git import last_commit


def git(folder: Path, *arguments: str) -> str:
    """Run git with a name of its own; return what it printed."""
    identity = ["-c", "user.name=A test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def catalog_file(tmp_path) -> Path:
    """A catalog in a folder of a repository, in its first commit."""
    file = tmp_path / "a b" / "datasets.yml"
    file.parent.mkdir()
    file.write_text("datasets: {}\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return file


def test_commit_of_the_catalog(catalog_file, tmp_path):
    """It is the last commit that touched the catalog, not the last one of all."""
    first = git(tmp_path, "rev-parse", "HEAD")
    (catalog_file.parent / "datasets.lock").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "the lock")
    commit = last_commit(catalog_file)
    assert (commit.id, commit.path, commit.changed, commit.remote) == (first, "a b/datasets.yml", False, "")
    catalog_file.write_text("datasets: {a: 1}\n")
    git(tmp_path, "commit", "--quiet", "--all", "--message", "second")
    assert last_commit(catalog_file).id == git(tmp_path, "rev-parse", "HEAD") != first


def test_change_since_then_is_said(catalog_file, tmp_path):
    """A catalog that was edited, staged or not, is not the commit's; one that was only touched is."""
    (tmp_path / "other").write_text("x")
    catalog_file.touch()
    assert not last_commit(catalog_file).changed
    catalog_file.write_text("datasets: {b: 1}\n")
    assert last_commit(catalog_file).changed
    git(tmp_path, "add", ".")
    assert last_commit(catalog_file).changed


def test_asking_writes_nothing(catalog_file, tmp_path):
    """The repository's index stays as it is, so that nobody's git is in the way of ours."""
    catalog_file.touch()
    index = tmp_path / ".git/index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    last_commit(catalog_file)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_catalog_that_git_does_not_have(catalog_file, tmp_path):
    """Where git knows nothing of the catalog, there is no commit and no error."""
    outside = tmp_path / ".." / f"{tmp_path.name}-outside" / "datasets.yml"
    outside.parent.mkdir()
    outside.write_text("")
    assert last_commit(outside) is None
    untracked = tmp_path / "datasets.yml"
    untracked.write_text("")
    assert last_commit(untracked) is None
    empty = tmp_path / "empty" / "datasets.yml"
    empty.parent.mkdir()
    git(empty.parent, "init", "--quiet")
    empty.write_text("")
    assert last_commit(empty) is None
    (tmp_path / ".git/HEAD").write_text("damaged")
    assert last_commit(catalog_file) is None


def test_machine_without_git(catalog_file, monkeypatch, tmp_path):
    """Without the program there is no commit; in another repository's hook there is the right one."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nothing"))
    assert last_commit(catalog_file) is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert last_commit(catalog_file) is None


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://example.org/me/data.git", "git+https://example.org/me/data.git"),
        ("https://me:secret@example.org:8443/data?token=secret#secret", "git+https://example.org:8443/data"),
        ("https://secret@example.org/data", "git+https://example.org/data"),
        ("ssh://git@example.org:22/data.git", "git+ssh://example.org:22/data.git"),
        ("git@example.org:me/data.git", "git+ssh://example.org/me/data.git"),
        ("example.org:/srv/data.git", "git+ssh://example.org/srv/data.git"),
        ("/home/me/data", ""),
        ("../data", ""),
        ("file:///home/me/data", ""),
        ("https://[secret@x", ""),
    ],
)
def test_remote_is_shown_without_secrets(catalog_file, tmp_path, remote, shown):
    """The remote is one that others can use, and no user name, password or token of it is left."""
    git(tmp_path, "remote", "add", "origin", remote)
    assert last_commit(catalog_file).remote == shown
