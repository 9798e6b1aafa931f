"""The catalog's commit, in real repositories."""

import subprocess
from pathlib import Path

import pytest

from datapack.catalog.git import last_commit


def git(folder: Path, *arguments: str) -> str:
    """Run git with its own user name; return its output."""
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


def test_last_commit_of_the_catalog(catalog_file, tmp_path):
    """It is the last commit that changed the catalog, not the last commit of the repository."""
    first = git(tmp_path, "rev-parse", "HEAD")
    (catalog_file.parent / "datasets.lock").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "the lock")
    commit = last_commit(catalog_file)
    assert (commit.id, commit.path, commit.changed, commit.remote) == (first, "a b/datasets.yml", False, "")
    catalog_file.write_text("datasets: {a: 1}\n")
    git(tmp_path, "commit", "--quiet", "--all", "--message", "second")
    assert last_commit(catalog_file).id == git(tmp_path, "rev-parse", "HEAD") != first


def test_uncommitted_change_is_detected(catalog_file, tmp_path):
    """A staged or unstaged edit counts as a change; a new modification time does not."""
    (tmp_path / "other").write_text("x")
    catalog_file.touch()
    assert not last_commit(catalog_file).changed
    catalog_file.write_text("datasets: {b: 1}\n")
    assert last_commit(catalog_file).changed
    git(tmp_path, "add", ".")
    assert last_commit(catalog_file).changed


def test_git_index_is_not_written(catalog_file, tmp_path):
    """The index of the repository does not change, so no git command of the user is blocked."""
    catalog_file.touch()
    index = tmp_path / ".git/index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    last_commit(catalog_file)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_catalog_outside_git_has_no_commit(catalog_file, tmp_path):
    """If git does not know the catalog, there is no commit and no error."""
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


def test_missing_git_and_git_hooks(catalog_file, monkeypatch, tmp_path):
    """Without git there is no commit; in a hook of another repository the right commit is found."""
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
def test_remote_has_no_secrets(catalog_file, tmp_path, remote, shown):
    """The remote is a URL that others can use, without user name, password or token."""
    git(tmp_path, "remote", "add", "origin", remote)
    assert last_commit(catalog_file).remote == shown
