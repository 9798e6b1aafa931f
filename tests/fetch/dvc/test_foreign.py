"""Pointers and settings of DVC that somebody else wrote, as in a repository that was cloned from strangers."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc.pointer import read_pointer
from datapack.fetch.dvc.settings import read_setting, write_local_setting
from datapack.files import home_folder

OUTPUT = {"md5": "0" * 32 + ".dir", "nfiles": 8, "hash": "md5", "path": "v1"}
LEADS_AWAY = {
    "wdir": {"wdir": "../../source"},
    "deps": {"deps": [{"path": "x", "repo": {"url": "ext::sh -c true"}}], "frozen": True},
    "cmd": {"cmd": "touch pwned"},
    "cache": {"outs": [OUTPUT | {"cache": False}]},
    "../../source": {"outs": [OUTPUT | {"path": "../../source"}]},
    "/etc": {"outs": [OUTPUT | {"path": "/etc"}]},
}


@pytest.mark.parametrize("reason", LEADS_AWAY)
def test_pointer_that_leads_elsewhere_is_refused(tmp_path, reason):
    """A pointer names its own bag and nothing more."""
    path = tmp_path / "v1.dvc"
    path.write_text(yaml.safe_dump({"outs": [OUTPUT]} | LEADS_AWAY[reason]))
    with pytest.raises(VersioningError, match=f"v1.dvc: DVC's pointer can't be read: expected .* found .*{reason}"):
        read_pointer(path)


def test_pointer_with_remarks_is_read(tmp_path):
    """DVC documents these keys; none of them leads anywhere."""
    path = tmp_path / "1.0.dvc"
    output = OUTPUT | {"path": "1.0", "size": 3807, "desc": "reef", "remote": "shelf", "push": False}
    path.write_text(yaml.safe_dump({"outs": [output], "desc": "all reefs", "meta": {"by": ["me"]}}))
    assert read_pointer(path) == ("0" * 32 + ".dir", 8, output)


@pytest.mark.parametrize("key", ["wdir", "../../source"])
def test_no_folder_outside_the_bag_is_touched(fetched, key):
    """DVC replaces what is in its way; a pointer of somebody else's must not choose what."""
    victim = fetched.root / "source/v1.partial/precious"
    victim.parent.mkdir()
    victim.write_text("precious")
    pointer = fetched.root / "data/reef/v1.dvc"
    content = yaml.safe_load(pointer.read_text())
    changes = LEADS_AWAY[key]
    output = content["outs"][0] | ({"path": key} if "outs" in changes else {})
    pointer.write_text(yaml.safe_dump(content | changes | {"outs": [output]}))
    shutil.rmtree(fetched.root / "data/reef/v1")
    assert "v1.dvc: DVC's pointer can't be read" in fetched.fails("fetch", "reef@v1")
    assert [path.name for path in victim.parent.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    "nfiles", [".inf", "!!int ''", "!!timestamp x", "!!float x", "8.5", "true", "null", "'8'", "9" * 5000, "*x", "&a 8"]
)
def test_every_malformed_pointer_is_one_error(tmp_path, nfiles):
    """Whatever a parser of YAML raises is one line."""
    path = tmp_path / "v1.dvc"
    path.write_text(f"outs:\n- md5: {OUTPUT['md5']}\n  nfiles: {nfiles}\n  path: v1\n")
    if nfiles == "&a 8":  # an anchor alone changes nothing
        assert read_pointer(path).files == 8
        return
    with pytest.raises(VersioningError, match=r"v1\.dvc"):
        read_pointer(path)


@pytest.mark.parametrize("text", ["[cache]\nfoo = %(bar)s\n", "[cache]\ndir = %(dir)s\n", "[core]\nremote = %(x)s\n"])
def test_setting_that_names_another_is_one_error(tmp_path, text):
    """DVC replaces ``%(name)s`` by a setting, which may not exist or may be itself."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(text)
    with pytest.raises(VersioningError, match=r"config: DVC's configuration can't be read: found .*interpolation"):
        read_setting(tmp_path, "core", "remote")


def test_value_in_the_place_of_a_section_is_one_error(tmp_path):
    """datapack adds to ``[cache]``, which must be a section."""
    (tmp_path / "config.local").write_text("cache = 3\n")
    with pytest.raises(VersioningError, match=r"config\.local: DVC's .* expected \[cache\], found cache = 3"):
        write_local_setting(tmp_path, "cache", "type", "copy")


def test_user_without_a_home_has_the_root(monkeypatch):
    """A container may run with a bare user id: no ``HOME``, and no line in ``/etc/passwd``."""
    code = "from datapack.files import home_folder; print(home_folder())"
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    if os.getuid() == 0:
        switch = "import os; os.setuid(54321); "
        done = subprocess.run(
            [sys.executable, "-c", f"import datapack.files; {switch}{code}"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == "/\n", done.stderr
    for home, expected in (("~", "/"), ("here", "/"), ("/home/me", "/home/me")):
        monkeypatch.setenv("HOME", home)
        assert str(home_folder()) == expected
