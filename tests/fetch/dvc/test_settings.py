"""DVC's settings, read without DVC in the same way as DVC reads them."""

import os
import subprocess
import sys

import pytest
from dvc.config import Config

from datapack.errors import VersioningError
from datapack.fetch.dvc.settings import cache_folder, find_repository, read_setting


def dvc(folder, *arguments):
    """Run DVC as a user does; return its output."""
    command = [sys.executable, "-m", "dvc", *arguments]
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A folder with ``.dvc``, and separate folders for the user's and the system's settings."""
    for name in ("global", "system"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"DVC_{name.upper()}_CONFIG_DIR", str(tmp_path / name))
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    return root


@pytest.mark.slow
def test_settings_are_read_as_dvc_reads_them(settings):
    """Remotes, link types and a moved cache are found at each of DVC's levels."""
    settings.joinpath(".dvc").rmdir()
    dvc(settings, "init", "--no-scm", "--quiet")
    assert read_setting(settings, "core", "remote") == ""
    assert cache_folder(settings) == settings / ".dvc/cache"
    assert dvc(settings, "cache", "dir") == str(cache_folder(settings))
    dvc(settings, "remote", "add", "--default", "storage", "/somewhere/a b")
    dvc(settings, "config", "--local", "cache.type", "reflink,hardlink,copy")
    dvc(settings, "cache", "dir", "../other cache")
    for section, option in (("core", "remote"), ("cache", "type")):
        assert read_setting(settings, section, option) == dvc(settings, "config", f"{section}.{option}")
    assert os.path.normpath(cache_folder(settings)) == dvc(settings, "cache", "dir")


def test_most_specific_file_wins(settings, tmp_path):
    """The repository's own settings override the user's, which override the system's."""
    assert read_setting(settings, "core", "remote") == ""
    levels = (
        tmp_path / "system/config",
        tmp_path / "global/config",
        settings / ".dvc/config",
        settings / ".dvc/config.local",
    )
    for number, path in enumerate(levels):
        path.write_text(f"[core]\n    remote = remote{number}\n    analytics = false\n")
        assert read_setting(settings, "core", "remote") == f"remote{number}"


@pytest.mark.parametrize(
    "content",
    [
        "[core]\n    remote = storage  # since May\n",
        "[core]\nremote = 'a # b'  # since May\n",
        '["core"]\n"remote" = "storage"\n',
        "[Core]\nREMOTE = storage\n",
        "[core]\nremote = s = t\n",
        "[core]\nremote = a;b\n",
        "[core]\nremote =\n",
        "# nothing yet\n",
        "[cache]\ndir = ~/cache\n",
        "[cache]\ndir = '/a b/cache'  # shared\n",
        "[Cache]\nDir = ../cache\n",
        "[cache]\ntype = reflink,hardlink\n",
        '[cache]\ntype = "reflink,copy"  # fast\n',
        "['remote \"core\"']\nurl = /a\n[core]\nremote = core\n",
    ],
)
@pytest.mark.parametrize("level", ["repository/.dvc/config", "repository/.dvc/config.local", "global/config"])
def test_settings_written_by_hand_mean_what_dvc_says(settings, tmp_path, monkeypatch, content, level):
    """Quotes, comments, lists, upper case and a home folder are read as by DVC."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / level).write_text(content)
    found = Config(str(settings / ".dvc"))
    types = found["cache"].get("type", "")
    assert read_setting(settings, "core", "remote") == found["core"].get("remote", "")
    assert read_setting(settings, "cache", "type") == (",".join(types) if isinstance(types, list) else types)
    assert os.path.normpath(cache_folder(settings)) == str(found["cache"].get("dir", settings / ".dvc/cache"))


def test_the_systems_settings_are_in_the_first_shared_folder(settings, tmp_path, monkeypatch):
    """``XDG_CONFIG_DIRS`` names the folders for all users; DVC reads the first."""
    monkeypatch.delenv("DVC_SYSTEM_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path}/all:{tmp_path}/more")
    (tmp_path / "all/dvc").mkdir(parents=True)
    (tmp_path / "all/dvc/config").write_text("[core]\nremote = shared\n")
    assert read_setting(settings, "core", "remote") == "shared"
    assert Config(str(settings / ".dvc"))["core"]["remote"] == "shared"


def test_repository_in_a_parent_folder_is_found(settings):
    """The repository is found from any folder below it, as in DVC."""
    inner = settings / "a/b"
    inner.mkdir(parents=True)
    assert find_repository(inner) == settings / ".dvc"
    assert find_repository(settings.parent) is None


@pytest.mark.parametrize("content", [b"no section\n", b"[core]\nremote\n", b"\xff\xfe", b"[core\n"])
def test_broken_file_is_named(settings, content):
    """The error is one line that names the file, not a traceback."""
    (settings / ".dvc/config").write_bytes(content)
    with pytest.raises(VersioningError, match=r"config: DVC's configuration can't be read: found "):
        read_setting(settings, "core", "remote")
