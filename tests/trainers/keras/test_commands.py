"""Whole jobs with TensorFlow, each in its own process: what they leave, and what can go wrong."""

import json
import re
import subprocess

import pytest

from tests.trainers.havens import REEF, Haven, png, reef_files, small_files
from tests.trainers.keras.tiny import NAME

FILES = {
    "checkpoint.safetensors",
    "coco_eval.json",
    "log.txt",
    "metrics.jsonl",
    "model.safetensors",
    "report.html",
    "run.json",
}
CPU_SECONDS = 900  # of one process, all of its threads: what the training of the reef may take


def last(done):
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run a training to its end; return its haven and the finished process."""
    rows = [{"id": 900 + i, "file_name": f"e{i}.png", "width": 32, "height": 40} for i in range(3)]
    files = small_files() | {f"images/eval/e{i}.png": png(32, 40, 50 + i) for i in range(3)}
    files["eval.json"] = json.dumps({"images": rows}).encode()
    settings = {"data": {"eval": "eval.json"}, "model": {"name": NAME}, "report": {"samples": True}}
    haven = Haven(tmp_path_factory.mktemp("trained"), files, settings)
    haven.configure()
    done = haven.run("train")
    assert done.returncode == 0, done.stdout
    return haven, done


def test_a_training_leaves_all_its_files_and_a_quiet_log(trained):
    """The files are those of PyTorch but for the checkpoint; every line of the output is one of ours."""
    haven, done = trained
    run = haven.outputs / "run"
    assert {path.name for path in run.iterdir()} == FILES | {"manifest-sha256.txt"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)
    assert re.fullmatch(r"TRAINING OK run mAP=0\.\d{3}", last(done))
    assert (run / "log.txt").read_text() == done.stdout
    assert all(re.match(r"\d\d:\d\d:\d\d  |TRAINING", line) for line in done.stdout.splitlines() if line)
    record = json.loads((run / "run.json").read_bytes())
    assert record["outcome"] == "ok"
    assert record["device"] == "cpu"
    assert record["versions"]["tensorflow"]
    assert record["versions"]["keras-hub"]


def test_evaluate_repeats_the_evaluation(trained):
    """`evaluate` gives the mAP that the best weights had in the training."""
    haven, done = trained
    again = haven.run("evaluate")
    assert again.returncode == 0, again.stdout
    assert last(again) == last(done).replace("TRAINING", "EVALUATION")


def test_predict_writes_results(trained):
    """`predict` writes COCO results with the ids of a list without boxes."""
    haven, _ = trained
    done = haven.run("predict")
    assert done.returncode == 0, done.stdout
    results = json.loads((haven.outputs / "run" / "predictions.json").read_bytes())
    assert last(done) == f"PREDICTION OK run {len(results):,} detections in 3 images"
    assert {row["image_id"] for row in results} <= {900, 901, 902}


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"device": "cuda"}, 1, "there is no GPU: expected at least 1 GPU, found 0 GPUs"),
        ({"training": {"compile": True}}, 2, "training.compile is for PyTorch's detectors"),
        ({"model": {"name": NAME, "weights": "imagenet"}}, 2, "model.weights: imagenet: this image has no weights"),
        ({"model": {"name": NAME, "weights": "model.pth"}}, 2, "model.pth: not a safetensors file"),
    ],
)
def test_what_can_t_be_done_is_one_line(tmp_path, changes, status, why):
    """The status and the last line say what is wrong."""
    haven = Haven(tmp_path, small_files(), {"model": {"name": NAME}})
    (haven.data / "model.pth").write_bytes(b"PK\x03\x04 a file of torch")
    haven.configure(**changes)
    done = haven.run("train")
    assert done.returncode == status, done.stdout
    assert last(done).startswith("TRAINING FAILED: ")
    assert why in last(done)
    assert "Traceback" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_reef_is_learned_from_random_weights(tmp_path):
    """examples/reef/train-tf.yml reaches a validation mAP50 of at least 0.6 within 15 CPU minutes."""
    haven = Haven(tmp_path, reef_files())
    (haven.data / "train.yml").write_bytes((REEF / "train-tf.yml").read_bytes())
    done = subprocess.run(
        ["prlimit", f"--cpu={CPU_SECONDS}", *haven.command("train")],
        env=haven.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=3500,
    )
    assert done.returncode == 0, done.stdout
    rows = [json.loads(line) for line in (haven.outputs / "reef-tf" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["evaluation"]["mAP50"] for row in rows if row["evaluation"]) >= 0.6, done.stdout
