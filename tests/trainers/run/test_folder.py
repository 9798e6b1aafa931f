"""What a run leaves: whole files, a manifest of them, and one clear line where there is no room."""

import io
import json
import subprocess

import pytest
from workplace import mount

from trainers.errors import TrainingError
from trainers.log import Log
from trainers.run.folder import Run, need_room, whole


def opened(root) -> Run:
    run = Run(root / "run")
    run.open()
    return run


def test_the_manifest_is_what_sha256sum_reads(tmp_path):
    """`sha256sum -c` passes on the manifest of the outputs, and it names every file."""
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
def test_rows_are_a_list_of_json(tmp_path, rows):
    """Rows that are written one at a time are one JSON list, also where there are none."""
    run = opened(tmp_path)
    assert run.write_rows("predictions.json", iter(rows)) == len(rows)
    assert json.loads(run.path("predictions.json").read_bytes()) == rows


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    """A checkpoint that could not be written whole does not take the place of the one before."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")

    def fail():
        with whole(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_removed(tmp_path):
    """Half-written files, and a manifest that is not true any more, go when the run is opened again; the rest stays."""
    run = opened(tmp_path)
    for name in (".partial-checkpoint.pt", "manifest-sha256.txt", "checkpoint.pt"):
        run.path(name).write_bytes(b"x")
    opened(tmp_path)
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_no_folder_for_outputs_says_what_to_mount(tmp_path):
    """Without /safe_outputs the run stops before it starts."""
    with pytest.raises(TrainingError, match="there is no folder for what comes out; mount one at"):
        opened(tmp_path / "safe_outputs")


def test_a_full_disk_is_one_line(tmp_path):
    """A disk without room is named, by what is needed and what is free, before and while it is written to."""
    if not mount(tmp_path, "size=64k"):
        pytest.skip("only root mounts")
    try:
        run = opened(tmp_path)
        with pytest.raises(
            TrainingError, match=r"no room for a checkpoint: expected 1 MB free, found 65.5 kB; make room"
        ):
            need_room(run.folder, 10**6, "a checkpoint")
        with (
            pytest.raises(TrainingError, match="can't write: found No space left on device; make room"),
            whole(run.path("checkpoint.pt")) as file,
        ):
            file.write(b"x" * 10**6)
        assert not list(run.folder.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    """A file in the place of the run's folder is named."""
    (tmp_path / "run").write_text("x")
    with pytest.raises(TrainingError, match="can't write"):
        opened(tmp_path)


def test_the_log_is_on_the_stream_and_in_the_file(tmp_path):
    """Lines said before there is a file get into it too; the last line ends both, without a time."""
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


def test_a_quiet_log_says_nothing(tmp_path):
    """Only the first process of a training talks, and only it writes a file."""
    out = io.StringIO()
    log = Log(out, quiet=True)
    log.note("x")
    log.keep(tmp_path / "log.txt")
    log.last("x")
    with log.progress("x", 10, "B") as advance:
        advance(10)
    assert not out.getvalue()
    assert not list(tmp_path.iterdir())
