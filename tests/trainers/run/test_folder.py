"""What a run leaves: complete files, a manifest of them, and a clear error if there is no room."""

import errno
import fcntl
import io
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.workplace import mount
from trainers.errors import TrainingError
from trainers.log import Log
from trainers.run.folder import Run


def opened(root) -> Run:
    run = Run(root / "run")
    run.open()
    return run


def test_sha256sum_reads_the_manifest(tmp_path):
    """`sha256sum -c` accepts the manifest of the outputs, which names every file."""
    run = opened(tmp_path)
    run.write_json("run.json", {"a": 1})
    run.append_json("metrics.jsonl", {"epoch": 1})
    run.append_json("metrics.jsonl", {"epoch": 2})
    digest = run.seal()
    command = ["sha256sum", "-c", "manifest-sha256.txt"]
    done = subprocess.run(command, cwd=run.folder, capture_output=True, text=True, check=True)
    assert done.stdout == "metrics.jsonl: OK\nrun.json: OK\n"
    assert digest.startswith("sha256:")
    assert run.path("metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


@pytest.mark.parametrize("rows", [[], [{"id": 1}], [{"id": 1}, {"id": 2}]])
def test_rows_are_a_json_list(tmp_path, rows):
    """Rows that are written one at a time are one JSON list, even if there are none."""
    run = opened(tmp_path)
    assert run.write_rows("predictions.json", iter(rows)) == len(rows)
    assert json.loads(run.path("predictions.json").read_bytes()) == rows


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    """A checkpoint that was not written completely does not replace the one before."""
    run, path = Run(tmp_path), tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")

    def fail():
        with run.write("checkpoint.pt") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_name_of_a_file_survives_a_power_cut(tmp_path, monkeypatch):
    """The folder is synced after the rename, or the disk may forget the file's name."""
    run, synced, fsync = opened(tmp_path), [], os.fsync

    def recorder(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(
            (Path(f"/proc/self/fd/{descriptor}").readlink(), is_folder and run.path("checkpoint.pt").exists())
        )
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorder)
    with run.write("checkpoint.pt") as file:
        file.write(b"x")
    assert synced[-1] == (run.folder, True)


def test_the_remains_of_a_killed_run_are_removed(tmp_path):
    """Opening the run again removes partial files and the outdated manifest; the rest stays."""
    run = opened(tmp_path)
    for name in (".datapack-0123456789abcdef", "manifest-sha256.txt", "checkpoint.pt"):
        run.path(name).write_bytes(b"x")
    opened(tmp_path)
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_a_missing_outputs_folder_says_what_to_mount(tmp_path):
    """Without /safe_outputs the run stops before it starts."""
    with pytest.raises(TrainingError, match="there is no folder for the outputs; mount one at"):
        opened(tmp_path / "safe_outputs")


def test_a_full_disk_is_a_clear_error(tmp_path):
    """The error of a full disk is one line that names the folder and its free space."""
    if not mount(tmp_path, "size=64k"):
        pytest.skip("only root mounts")
    try:
        run = opened(tmp_path)
        with (
            pytest.raises(TrainingError, match=r"run: the disk is full: found .* free; make room"),
            run.write("checkpoint.pt") as file,
        ):
            file.write(b"x" * 10**6)
        assert not list(run.folder.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_file_instead_of_the_folder_is_a_clear_error(tmp_path):
    """The error names the file."""
    (tmp_path / "run").write_text("x")
    with pytest.raises(TrainingError, match=r"run: can't read or write the file: found File exists"):
        opened(tmp_path)


def test_the_log_goes_to_the_stream_and_to_the_file(tmp_path):
    """Lines logged before the file exists get into it too; the last line ends both, without a time."""
    out, path = io.StringIO(), tmp_path / "log.txt"
    log = Log(out)
    log.note("early")
    log.keep(path)
    log.note("late")
    log.close("TRAINING OK run mAP=0.5")
    log.last("TRAINING OK run mAP=0.5")
    assert out.getvalue() == path.read_text()
    assert [line[10:] for line in out.getvalue().splitlines()[:2]] == ["early", "late"]
    assert out.getvalue().endswith("\nTRAINING OK run mAP=0.5\n")


def test_a_quiet_log_writes_nothing(tmp_path):
    """Only the first process of a training logs and writes a file."""
    out = io.StringIO()
    log = Log(out, quiet=True)
    log.note("x")
    log.keep(tmp_path / "log.txt")
    log.last("x")
    with log.progress("x", 10, "B") as advance:
        advance(10)
    assert not out.getvalue()
    assert not list(tmp_path.iterdir())


def test_two_jobs_do_not_share_a_folder(tmp_path):
    """A second job would remove the temporary files of the first; a reservation ends with its job, or its process."""
    run = Run(tmp_path / "run")
    with (
        run.reserve(),
        pytest.raises(TrainingError, match=r"run: another job is writing to this folder; wait until it ends, or set"),
        run.reserve(),
    ):
        raise AssertionError("both have it")
    with run.reserve():
        pass


def test_a_disk_without_locks_has_runs_too(tmp_path, monkeypatch):
    """There the folder is not reserved, and the job goes on."""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Run(tmp_path / "run").reserve():
        assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a link", "no folder"])
def test_a_log_that_cannot_be_written_is_one_line(tmp_path, kind):
    """A FIFO is not waited for, and a link is not followed out of the folder."""
    path = tmp_path / "log.txt"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a link":
        path.symlink_to("elsewhere")
    else:
        path = tmp_path / "none" / "log.txt"
    with pytest.raises(TrainingError, match=r"log\.txt: can't write the log: found .*; make room, or set run to"):
        Log(io.StringIO()).keep(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_is_no_program(tmp_path):
    """It has the permissions of any other file."""
    Log(io.StringIO()).keep(tmp_path / "log.txt")
    (tmp_path / "other").touch()
    assert (tmp_path / "log.txt").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_last_line_of_the_file_can_be_corrected(tmp_path):
    """If a job fails after its last line was written to the file, the file says so too."""
    log = Log(io.StringIO())
    log.keep(tmp_path / "log.txt")
    log.close("TRAINING OK run mAP=0.5")
    log.close("TRAINING FAILED: the disk is full")
    assert (tmp_path / "log.txt").read_text().splitlines()[-1] == "TRAINING FAILED: the disk is full"
