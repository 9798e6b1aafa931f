"""`import-json`, the part of the import program that writes JSON, run by the busybox of this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import PROJECT

SCRIPT = PROJECT / "datapack" / "image" / "import-json.sh"


@pytest.fixture(scope="module")
def applets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the commands that the script runs, all of them busybox."""
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("busybox is not installed")
    folder = tmp_path_factory.mktemp("bin")
    for name in ("sh", "od", "awk"):
        (folder / name).symlink_to(busybox)
    return str(folder)


def run(applets: str, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    command = [f"{applets}/sh", SCRIPT, *arguments]
    return subprocess.run(command, env={"PATH": applets}, capture_output=True, check=False)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(texts | st.binary().filter(lambda value: 0 not in value), min_size=1, max_size=8))
def test_any_bytes_become_the_string_that_they_are(applets: str, values: list[str | bytes]) -> None:
    """Python reads every value back; what is not UTF-8 became U+FFFD, and no character was lost or changed."""
    arguments = [part for number, value in enumerate(values) for part in (f"key {number}", value)]
    done = run(applets, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    found = json.loads(done.stdout)
    for number, value in enumerate(values):
        expected = (value if isinstance(value, str) else value.decode(errors="replace")) or None
        text = found[f"key {number}"]
        if isinstance(value, bytes):  # Python may count the bytes of one bad sequence differently
            expected, text = (joined(each) if each else each for each in (expected, text))
        assert text == expected


def joined(text: str) -> str:
    """Take several replacement characters in a row for one."""
    return re.sub("\ufffd+", "\ufffd", text)


def test_numbers(applets: str) -> None:
    """A name that ends with # has a number, or null where there is none."""
    done = run(applets, "a#", "12", "b#", "", "c#", "1x", "d#", "-1", "e", "12")
    assert json.loads(done.stdout) == {"a": 12, "b": None, "c": None, "d": None, "e": "12"}


def test_the_form(applets: str) -> None:
    """One key a line, in the order given: people read it too."""
    assert run(applets, "b", "1", "a#", "2").stdout == b'{\n  "b": "1",\n  "a": 2\n}\n'


@pytest.mark.parametrize("missing", ["od", "awk"])
def test_half_an_object_is_none(applets: str, tmp_path: Path, missing: str) -> None:
    """If a command can't run, nothing is printed, and the status says so."""
    for name in {"sh", "od", "awk"} - {missing}:
        (tmp_path / name).symlink_to(Path(applets, name).resolve())
    (tmp_path / missing).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / missing).chmod(0o755)
    command = ["/bin/dash", SCRIPT, "a", "b"]  # busybox would run its own od
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, check=False)
    assert (done.returncode != 0, done.stdout) == (True, b"")


def test_without_a_name_there_is_no_object(applets: str) -> None:
    """Nothing is printed for no arguments."""
    done = run(applets)
    assert (done.returncode != 0, done.stdout) == (True, b"")
