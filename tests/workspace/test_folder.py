"""The workspace's folder: one writer at a time, whatever is deleted or in the way."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from datapack.errors import DatapackError
from datapack.workspace.folder import Workspace
from tests.conftest import PROJECT

HOLD = """
import sys, time
from pathlib import Path
from datapack.workspace.folder import Workspace
with Workspace(Path(sys.argv[1])).exclusive("build reef@v1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the workspace."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PROJECT)}) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_second_writer_is_told_who_is_first(workspace, holder):
    """The error names what the other process does, and its number."""
    with (
        pytest.raises(
            DatapackError, match=rf"another datapack process .*: found build reef@v1 \(process {holder.pid}\); wait"
        ),
        workspace.exclusive("fetch"),
    ):
        pass


def test_deleting_the_caches_lets_no_second_writer_in(workspace, holder):
    """`.datapack` is safe to delete at any time: the lock is on the folder itself."""
    shutil.rmtree(workspace.cache)
    with pytest.raises(DatapackError, match="another datapack process is running"), workspace.exclusive("fetch"):
        pass


def test_a_killed_writer_holds_nothing(workspace, holder):
    """The kernel releases the lock; the note and temporary files that the kill left are replaced."""
    (workspace.cache / ".datapack-0").touch()
    (workspace.root / ".datapack-1").touch()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workspace.exclusive("fetch reef@v2"):
        assert workspace.writer.read_text() == f"fetch reef@v2 (process {os.getpid()})\n"
    assert [path.name for path in workspace.root.rglob("*")] == [".datapack"]


@pytest.mark.parametrize("path", [".datapack/writer", ".datapack"])
@pytest.mark.parametrize("kind", ["folder", "file", "fifo", "link"])
def test_what_is_in_the_way_is_named(workspace, path, kind):
    """It is replaced where it can only be an old note, or named in one line; nothing waits for it."""
    there = workspace.root / path
    there.parent.mkdir(exist_ok=True)
    makers = {
        "folder": there.mkdir,
        "file": there.touch,
        "fifo": lambda: os.mkfifo(there),
        "link": lambda: there.symlink_to("nowhere"),
    }
    makers[kind]()
    if (path == ".datapack/writer") == (kind != "folder"):  # a note is replaced, and a folder is no note
        with workspace.exclusive("fetch"):
            assert workspace.writer.is_file()
    else:
        with pytest.raises(DatapackError) as error, workspace.exclusive("fetch"):
            pass
        assert str(error.value).startswith(f"{there}: ")


def test_a_second_writer_does_not_wait_for_a_note_that_is_none(workspace, holder):
    """Who writes is only a hint; what else is in its place is neither read nor waited for."""
    workspace.writer.unlink()
    os.mkfifo(workspace.writer)
    with pytest.raises(DatapackError, match="another datapack process is running in this folder; wait"):  # noqa: SIM117
        with workspace.exclusive("fetch"):
            pass


def test_disk_without_locks_is_named(workspace, monkeypatch):
    """Some network disks have none; without a lock, two writers could be here."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(
            DatapackError, match=r"can't lock this folder: found No locks available; use a disk that supports"
        ),
        workspace.exclusive("fetch"),
    ):
        pass
