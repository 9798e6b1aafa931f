"""The folders of a rehearsal: private, writable only while it runs, and cleaned up after a kill."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys

import pytest

from datapack.rehearse.folders import is_abandoned, open_folders, remove_abandoned
from tests.conftest import PROJECT


def test_folders_are_private_and_writable_only_during_the_rehearsal(tmp_path):
    """Other users can't reach the folders; permissions are restored; empty folders are removed."""
    outputs, data = tmp_path / "outputs", tmp_path / "data"
    data.mkdir(mode=0o750)
    with open_folders(tmp_path / "kept", data, outputs, anyone=True) as folders:
        assert stat.S_IMODE(folders.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(folders.scratch.stat().st_mode) == stat.S_IMODE(outputs.stat().st_mode) == 0o777
        assert stat.S_IMODE(data.stat().st_mode) == 0o750
        (folders.scratch / "x").write_text("x")
        assert is_abandoned(folders.root) is False
    assert stat.S_IMODE(outputs.stat().st_mode) & 0o002 == 0
    assert not folders.root.exists()
    assert is_abandoned(folders.root) is None
    with open_folders(tmp_path / "kept", None, None, anyone=False) as folders:
        assert stat.S_IMODE(folders.outputs.stat().st_mode) & 0o002 == 0
        (folders.outputs / "x").write_text("x")
    assert list(folders.root.rglob("*")) == [folders.outputs, folders.outputs / "x"]


def test_a_failure_keeps_the_outputs(tmp_path):
    """What was written before a failure stays; the rest is removed."""

    def interrupted() -> None:
        with open_folders(tmp_path, None, None, anyone=True) as folders:
            (folders.outputs / "x").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (root,) = tmp_path.iterdir()
    assert [path.name for path in root.iterdir()] == ["safe_outputs"]


def test_a_killed_process_is_detected(tmp_path):
    """The kernel releases the lock however the process ends; the outputs stay."""
    code = f"""
import os, signal, sys
from pathlib import Path
from datapack.rehearse.folders import open_folders
with open_folders(Path({str(tmp_path)!r}), None, None, True) as folders:
    (folders.outputs / "x").write_text("x")
    (folders.scratch / "x").write_text("x")
    print(folders.root, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (root,) = tmp_path.iterdir()
    assert str(root) == done.stdout.strip()
    assert is_abandoned(root) is True
    remove_abandoned(root)
    assert [path.name for path in root.iterdir()] == ["safe_outputs"]
    assert is_abandoned(root) is True  # its container may still have to be removed


def test_a_folder_without_the_marker_is_left(tmp_path):
    """Whatever a container's label says, only a rehearsal's own folder loses its scratch."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "precious").write_text("x")
    remove_abandoned(tmp_path)
    assert (tmp_path / "scratch" / "precious").exists()
