"""Whole trainings, in which something changes the dataset or the cache while they run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.trainers.havens import Haven, png
from tests.trainers.squares import SIDE, square_files

pytestmark = pytest.mark.torch

PROGRAM = Path(__file__).parents[1] / "tiny_program.py"


@pytest.fixture
def haven(tmp_path):
    """A dataset of squares."""
    return Haven(tmp_path, square_files(16), {"image": {"min_size": SIDE, "max_size": SIDE}, "workers": 2})


def start(haven: Haven, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *haven.command("train")[3:], *options],
        env=haven.environment(RANK="0", WORLD_SIZE="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=240)
    return out.splitlines()


def rows(haven: Haven, run: str = "run") -> list[dict[str, object]]:
    metrics = haven.outputs / run / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []


def wait_for_epoch(haven: Haven, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 200
    while not rows(haven):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)


def test_images_that_are_replaced_after_the_check_are_not_trained_on(haven):
    """Without a cache, an image that is replaced during the training ends it: exit 3, and the last line names it."""
    haven.configure(image={"cache": "off", "min_size": SIDE, "max_size": SIDE}, training={"epochs": 5000})
    process = start(haven)
    wait_for_epoch(haven, process)
    haven.image("square-3.png").write_bytes(png(SIDE, SIDE, seed=9))
    lines = end(process)
    assert process.returncode == 3, lines
    name = haven.image("square-3.png")
    assert lines[-1].startswith(f"TRAINING FAILED: {name}: this file does not match the manifest of its dataset")
    assert any("verified, every byte" in line for line in lines)


def test_a_cache_that_is_damaged_during_the_training_changes_nothing(haven):
    """The file of decoded images is overwritten and cut off: the log says so, and the weights are the same."""
    settings = {"epochs": 3, "batch_size": 4}
    haven.configure(run="whole", training=settings)
    process = start(haven)
    assert end(process)[-1].startswith("TRAINING OK"), process.returncode
    haven.configure(run="run", training=settings)
    process = start(haven)
    wait_for_epoch(haven, process)
    (cache,) = haven.scratch.glob("pixels-*.u8")
    with cache.open("r+b") as file:
        file.write(bytes(5000))
        file.truncate(20_000)
    lines = end(process)
    assert lines[-1].startswith("TRAINING OK"), lines
    assert sum("has changed since it was written" in line for line in lines) == 1
    weights = [load_file(haven.outputs / run / "model.safetensors") for run in ("whole", "run")]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_new_job_uses_the_cache_of_a_killed_one(haven):
    """After a kill, the next job checks the dataset and decodes nothing again."""
    haven.configure(training={"epochs": 5000})
    process = start(haven)
    wait_for_epoch(haven, process)
    process.kill()
    end(process)
    process = start(haven)
    said = []
    for line in process.stdout:
        said.append(line)
        if "verified, every byte" in line:
            process.terminate()
    assert process.wait(timeout=60) == 75, said
    assert any(f"the decoded images are already in {haven.scratch}" in line for line in said)
    assert not any("writing the decoded images" in line or "were decoded" in line for line in said)


def test_two_jobs_share_scratch(haven):
    """Two jobs that start at once with an empty scratch end with the same results, and leave one file of images."""
    processes = []
    for run in ("one", "two"):
        path = haven.configure(run=run, training={"epochs": 2})
        path.rename(haven.data / f"{run}.yml")
        command = [
            sys.executable,
            str(PROGRAM),
            *haven.command("train")[3:],
            "--config",
            str(haven.data / f"{run}.yml"),
        ]
        environment = haven.environment(RANK="0", WORLD_SIZE="1")
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    ends = [end(process)[-1] for process in processes]
    assert [line.replace("two", "one") for line in ends] == [ends[0]] * 2
    assert ends[0].startswith("TRAINING OK one mAP=")
    losses = [[{key: row[key] for key in row if "loss" in key} for row in rows(haven, run)] for run in ("one", "two")]
    assert losses[0] == losses[1]
    assert len(list(haven.scratch.glob("pixels*"))) == 1
