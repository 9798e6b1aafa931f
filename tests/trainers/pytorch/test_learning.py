"""A detector learns the example of the project from random weights on a CPU."""

import json
import subprocess

import pytest

from tests.trainers.havens import REEF, Haven, reef_files

CPU_SECONDS = 600  # of one process, all of its threads: what the training may take
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_reef_is_learned_from_random_weights(tmp_path):
    """examples/reef/train.yml reaches a validation mAP50 of at least 0.8 within 10 CPU minutes."""
    haven = Haven(tmp_path, reef_files())
    (haven.data / "train.yml").write_bytes((REEF / "train.yml").read_bytes())
    command = ["prlimit", f"--cpu={CPU_SECONDS}", *haven.command("train")]
    done = subprocess.run(
        command,
        env=haven.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout
    rows = [json.loads(line) for line in (haven.outputs / "reef" / "metrics.jsonl").read_text().splitlines()]
    best = max(row["evaluation"]["mAP50"] for row in rows if row["evaluation"])
    assert best >= 0.8, done.stdout
    result = json.loads((haven.outputs / "reef" / "coco_eval.json").read_bytes())
    assert {category["boxes"] > 0 for category in result["categories"]} == {True}
