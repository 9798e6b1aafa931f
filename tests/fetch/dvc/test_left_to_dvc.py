"""Where DVC would do more than datapack, DVC itself adds a bag; what DVC then refuses is said."""

import shutil
from pathlib import Path

import pytest
import yaml

from datapack.fetch.dvc import add as dvc_add
from tests.fetch.dvc.git import git, with_git

UNUSUAL = {
    "a setting": (".dvc/config.local", "[core]\n    autostage = true\n"),
    "a setting that DVC does not know": (".dvc/config.local", "[core]\n    new = 1\n"),
    "a setting without a section": (".dvc/config", "no_scm = true\n"),
    "a truth that DVC refuses": (".dvc/config", "[core]\n    no_scm = True\n    analytics = yes\n"),
    "a type of link that DVC refuses": (".dvc/config.local", "[cache]\n    type = Hardlink,copy\n"),
    "a shared cache": (".dvc/config.local", "[cache]\n    shared = group\n"),
    "another lock": (".dvc/config", "[core]\n    no_scm = True\n    hardlink_lock = true\n"),
    "a .dvcignore": (".dvcignore", "# a remark\n*.tmp\n"),
    "a .dvcignore below": ("data/.dvcignore", "*.tmp\n"),
    "a pipeline": ("dvc.yaml", "stages: {}\n"),
    "a pointer above": ("data/reef.dvc", "outs: []\n"),
    "a remark": ("data/reef/v1.dvc", f"# mine\nouts:\n- md5: {'0' * 32}.dir\n  nfiles: 8\n  hash: md5\n  path: v1\n"),
}


@pytest.mark.parametrize("reason", UNUSUAL)
def test_where_dvc_would_do_more_dvc_does_it(fetched, reason):
    """Nothing that somebody wrote is passed over."""
    pointer = fetched.root / "data/reef/v1.dvc"
    assert dvc_add.is_ordinary(fetched.root, pointer)
    name, content = UNUSUAL[reason]
    (fetched.root / name).write_text(content)
    assert not dvc_add.is_ordinary(fetched.root, pointer)


def test_a_pointer_that_is_a_link_is_left_to_dvc(fetched):
    """DVC writes to where it leads."""
    pointer = fetched.root / "data/reef/v1.dvc"
    pointer.rename(fetched.root / "elsewhere")
    pointer.symlink_to(fetched.root / "elsewhere")
    assert not dvc_add.is_ordinary(fetched.root, pointer)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".dvcignore", "# DVC writes these\n\n   \n"),
        ("data/reef/v2.dvc", "outs: []\n"),
        (".dvc/config.local", "[core]\nremote = a, b\nanalytics = False\n['remote \"a, b\"']\nurl = x\nuser = y\n"),
        (".dvc/config.local", "[Cache]\nType = reflink, hardlink, copy\n"),
    ],
)
def test_what_does_not_concern_the_bag_is_ordinary(fetched, name, content):
    """``dvc init`` writes a .dvcignore of remarks; another version has its own pointer."""
    (fetched.root / name).write_text(content)
    assert dvc_add.is_ordinary(fetched.root, fetched.root / "data/reef/v1.dvc")


def test_pointer_that_git_ignores_is_left_to_dvc(fetched):
    """DVC refuses it: git would never have it."""
    git(fetched, "init", "-q")
    (fetched.root / ".dvc/config").write_text("")
    (fetched.root / ".gitignore").write_text("*.dvc\n")
    (fetched.root / "data/reef/v1.dvc").unlink()
    assert "is git-ignored" in fetched.fails("fetch", "reef@v1")


@pytest.mark.slow
def test_remarks_in_a_pointer_survive(fetched):
    """A new version of the data changes the hash, and neither the comment nor the description."""
    pointer = fetched.root / "data/reef/v1.dvc"
    pointer.write_text("# mine\ndesc: all reefs\n" + pointer.read_text())
    before = yaml.safe_load(pointer.read_text())["outs"][0]["md5"]
    (fetched.root / "source/z").write_bytes(b"other")
    (fetched.root / "datasets.lock").unlink()
    fetched.ok("fetch", "reef@v1", "--refresh")
    text = pointer.read_text()
    assert text.startswith("# mine\ndesc: all reefs\n")
    assert before not in text


@pytest.mark.parametrize(
    ("version", "alike"),
    [
        ("v1.5_a-b", True),
        ("y", True),
        *((name, False) for name in ("yes", "on", "null", "1e3", "2026-01-01", "v" * 80)),
    ],
)
def test_a_version_that_is_no_plain_text_in_yaml_is_left_to_dvc(fetched, version, alike):
    """Each YAML library writes it in its own way."""
    assert dvc_add.is_ordinary(fetched.root, fetched.root / f"data/reef/{version}.dvc") == alike


def test_a_bag_in_git_is_left_to_dvc(fetched):
    """DVC refuses it, and so does each later command of DVC's."""
    with_git(fetched)
    git(fetched, "add", "--force", "data/reef/v1/data/z")
    assert "already tracked by SCM" in fetched.fails("fetch", "reef@v1")
    assert not (fetched.root / "data/reef/v1.dvc").exists()


def test_git_that_is_expected_and_absent_is_left_to_dvc(fetched):
    """DVC refuses every command in such a repository, so a pointer would be of no use."""
    with_git(fetched)
    shutil.rmtree(fetched.root / ".git")
    assert "is not a git repository" in fetched.fails("fetch", "reef@v1")


def test_gitignore_outside_the_repository_is_not_written_to(fetched, tmp_path):
    """DVC follows a link, but not out of the repository."""
    with_git(fetched)
    (tmp_path / "elsewhere").write_text("precious")
    (fetched.root / "data/reef/.gitignore").symlink_to(tmp_path / "elsewhere")
    assert "is outside of git repository" in fetched.fails("fetch", "reef@v1")
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert (fetched.root / "data/reef/.gitignore").is_symlink()


def test_a_repository_at_the_top_of_the_disk(monkeypatch):
    """Nothing is beside ``/``."""
    monkeypatch.setattr(dvc_add, "find_repository", lambda _: Path("/.dvc"))
    assert list(dvc_add._folders(Path("/"), Path("/data/reef/v1.dvc")))[-1] == Path("/")
    assert not dvc_add._concerns_dvc(Path("/"))
