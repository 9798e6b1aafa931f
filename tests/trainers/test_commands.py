"""Whole jobs, each in its own process: what they leave, and what can go wrong."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from pycocotools.coco import COCO

from tests.trainers.havens import Haven, png, small_files
from tests.workplace import mount

pytestmark = [pytest.mark.torch, pytest.mark.xdist_group("trained")]  # one training for all

FILES = {"checkpoint.pt", "coco_eval.json", "log.txt", "metrics.jsonl", "model.safetensors", "report.html", "run.json"}


def last(done) -> str:
    return done.stdout.splitlines()[-1]


def with_eval() -> dict[str, bytes]:
    """Return a payload that also has images to predict, without boxes."""
    rows = [{"id": 900 + i, "file_name": f"e{i}.png", "width": 32, "height": 40} for i in range(3)]
    files = small_files() | {f"images/eval/e{i}.png": png(32, 40, 50 + i) for i in range(3)}
    return files | {"eval.json": json.dumps({"images": rows}).encode()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run a training to its end; return its haven and the finished process."""
    haven = Haven(tmp_path_factory.mktemp("trained"), with_eval(), {"data": {"eval": "eval.json"}})
    haven.configure(training={"epochs": 2})
    done = haven.fork("train")
    assert done.returncode == 0, done.stdout
    return haven, done


def test_a_training_leaves_all_its_files(trained):
    """The run's folder has every file, and a manifest that sha256sum accepts."""
    haven, done = trained
    run = haven.outputs / "run"
    assert {path.name for path in run.iterdir()} == FILES | {"manifest-sha256.txt"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)
    assert {line.split()[1] for line in (run / "manifest-sha256.txt").read_text().splitlines()} == FILES
    assert re.fullmatch(r"TRAINING OK run mAP=0\.\d{3}", last(done))
    assert (run / "log.txt").read_text() == done.stdout


def test_the_data_is_checked_before_the_training(trained):
    """The log says that the data was verified before it mentions an epoch."""
    lines = trained[1].stdout.splitlines()
    verified = next(number for number, line in enumerate(lines) if "verified, every byte" in line)
    assert verified < next(number for number, line in enumerate(lines) if "epoch 1" in line)


def test_the_record_describes_the_run(trained):
    """run.json has the digest, the images of each part, the versions, the full configuration and the outcome."""
    haven, _ = trained
    record = json.loads((haven.outputs / "run" / "run.json").read_bytes())
    assert record["outcome"] == "ok"
    assert record["dataset"]["digest"] == haven.digest
    assert (record["dataset"]["train_images"], record["dataset"]["validation_images"]) == (10, 2)
    assert record["configuration"]["training"]["epochs"] == 2
    assert record["configuration"]["image"]["cache"] == "auto"
    assert record["versions"]["torch"]


def test_the_report_holds_no_image_of_the_data(trained):
    """The report is one file that loads nothing, and says that it holds no image of the data."""
    report = (trained[0].outputs / "run" / "report.html").read_text()
    assert "data:image/png;base64," in report
    assert not re.search(r"(src|href)=\"?https?:", report)
    assert "no image" in report.lower()


def test_evaluate_repeats_the_evaluation(trained):
    """`evaluate` gives the mAP that the best weights had in the training."""
    haven, done = trained
    again = haven.fork("evaluate")
    assert again.returncode == 0, again.stdout
    assert last(again) == last(done).replace("TRAINING", "EVALUATION")


def test_predict_writes_results_that_coco_tools_read(trained):
    """`predict` writes COCO results for a list without boxes, with its ids, and boxes inside the images."""
    haven, _ = trained
    done = haven.fork("predict")
    assert done.returncode == 0, done.stdout
    results = json.loads((haven.outputs / "run" / "predictions.json").read_bytes())
    assert last(done) == f"PREDICTION OK run {len(results):,} detections in 3 images"
    truth = COCO()
    truth.dataset = {**json.loads(haven.files["eval.json"]), "annotations": [], "info": {}}
    truth.dataset["categories"] = json.loads(haven.files["train.json"])["categories"]
    truth.createIndex()
    assert results
    assert len(truth.loadRes(results).anns) == len(results)
    for row in results:
        x, y, width, height = row["bbox"]
        assert min(x, y) >= 0
        assert x + width <= 32.02
        assert y + height <= 40.02


def test_a_finished_run_has_nothing_left_to_do(trained):
    """The same job again recognises the finished training, reports the same result and loses nothing."""
    haven, done = trained
    again = haven.fork("train")
    assert again.returncode == 0, again.stdout
    assert last(again) == last(done)
    assert len((haven.outputs / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_model_is_not_evaluated_on_images_that_it_has_seen(trained):
    """With another seed the images for validation are others, of which most were for training."""
    haven, _ = trained
    haven.configure(seed=1, run="other", evaluation={"model": str(haven.outputs / "run" / "model.safetensors")})
    done = haven.fork("evaluate")
    haven.configure(training={"epochs": 2})
    assert done.returncode == 2
    assert last(done) == (
        f"EVALUATION FAILED: {haven.outputs / 'run' / 'model.safetensors'}: this model was trained on another split: "
        "it has seen images that are now for validation: expected seed 1, found seed 0; "
        "evaluate it with the configuration of its training"
    )


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_results_of_a_run_are_not_replaced_by_those_of_another_model(trained, command):
    """`coco_eval.json` and `predictions.json` are of the model beside them."""
    haven, _ = trained
    other = haven.data / "model.safetensors"
    other.write_bytes((haven.outputs / "run" / "model.safetensors").read_bytes())
    before = (haven.outputs / "run" / "coco_eval.json").read_bytes()
    haven.configure(evaluation={"model": "model.safetensors"})
    done = haven.fork(command)
    haven.configure(training={"epochs": 2})
    assert done.returncode == 2
    assert f"{other}: evaluation.model is not the model of this run, whose own results would be lost" in last(done)
    assert (haven.outputs / "run" / "coco_eval.json").read_bytes() == before


def test_the_last_line_says_that_the_time_was_up(haven):
    """A training that max_hours ended is no finished one."""
    haven.configure(training={"epochs": 2, "max_hours": 1e-9})
    done = haven.fork("train")
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(
        r"TRAINING OK run mAP=\S+, stopped by training\.max_hours; run the same job again to go on", last(done)
    )


@pytest.mark.parametrize("options", [[], ["--decode"]])
def test_a_quick_check_does_not_look_like_a_full_one(haven, options):
    """Its last line says so, as a changed byte would not be found."""
    haven.configure(verify="quick")
    done = haven.run("check", *options)
    assert last(done) == f"CHECK OK reef@v1 {haven.digest} (verify: quick)"


def test_a_missing_gpu_is_an_error(haven):
    """A job that asks for a GPU where there is none fails after the check, with one line."""
    haven.configure(device="cuda")
    done = haven.run("train", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert re.fullmatch(r"TRAINING FAILED: there is no GPU.* found 0 GPUs; .*set device to cpu", last(done))


def test_full_outputs_end_the_job_with_one_line(haven):
    """If /safe_outputs is full, the last line says how much is needed, and no partial file is left."""
    if not mount(haven.outputs, "size=2m"):
        pytest.skip("only root mounts")
    try:
        haven.configure()
        done = haven.fork("train")
        left = {path.name for path in (haven.outputs / "run").iterdir()}
    finally:
        subprocess.run(["umount", haven.outputs], check=True)
    assert done.returncode == 1, done.stdout
    assert re.search(
        r"TRAINING FAILED: .*not enough space on the disk: expected \d+ MB, found .* MB free; make room", last(done)
    )
    assert not {"checkpoint.pt", "model.safetensors"} & left
    assert not [name for name in left if name.startswith(".")]


def test_missing_outputs_end_the_job_before_the_check(haven):
    """Without /safe_outputs the job fails at once and says what to mount."""
    haven.configure()
    haven.outputs.rmdir()
    done = haven.fork("train")
    assert done.returncode == 1
    assert last(done).endswith(f"mount one at {haven.outputs}")
    assert "verified" not in done.stdout


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_missing_model_is_one_line(haven, command):
    """A command that needs a model fails before the check and names the missing file."""
    haven.configure()
    done = haven.run(command)
    assert done.returncode == 2
    assert "there is no model" in last(done)
    assert "verified" not in done.stdout


def test_a_bug_has_a_last_line_too(haven):
    """An unexpected error is shown with its traceback, and the last line still says that the job failed."""
    haven.configure()
    code = "import trainers.commands as c; c.check_data = lambda *_: 1 / 0; import trainers.__main__ as m; import sys; "
    arguments = haven.command("check")[3:]
    done = subprocess.run(
        [haven.command()[0], "-c", f"{code}sys.exit(m.main({arguments!r}))"],
        env=haven.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stdout
    assert last(done).endswith("please report the lines above: ZeroDivisionError: division by zero")
