"""The training loop with TensorFlow: it learns, resumes to the same numbers, and shuts down cleanly."""

import json
import math
import os
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.keras.tiny import arrays, rows, run_tiny, tiny_config, tiny_job, tiny_learner
from tests.workplace import mount
from trainers.errors import StoppedError, TrainingError
from trainers.keras import checkpoint
from trainers.keras.learner import KerasLearner
from trainers.training.learner import Step
from trainers.training.loop import Trainer
from trainers.training.plan import PlannedBatch

ALL = {"ema": 0.9, "accumulate": 2, "batch_size": 1, "optimizer": "adamw", "learning_rate": 0.01, "epochs": 3}
PLANNED = PlannedBatch(0, 0, [])
TOLERANCE = 1e-5  # TensorFlow does not promise the same bits


def stop_at(monkeypatch, step):
    """Send this process a signal in the middle of the step-th step from now."""
    train_step, count = KerasLearner.train_step, iter(range(1, 1000))

    def stopping(*arguments):
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*arguments)

    monkeypatch.setattr(KerasLearner, "train_step", stopping)


def assert_close(one, other):
    """Both runs left the same numbers."""
    for name in ("checkpoint.safetensors", "model.safetensors"):
        ours, theirs = arrays(one, name), arrays(other, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=TOLERANCE, atol=TOLERANCE, err_msg=key)
    for ours, theirs in zip(rows(one), rows(other), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=TOLERANCE)
        assert ours["learning_rate"] == theirs["learning_rate"]


def test_a_detector_learns_squares(tmp_path):
    """A few epochs find most of the squares, and the files agree with the outcome."""
    config = tiny_config(epochs=12, optimizer="adamw", learning_rate=0.08)
    outcome = Trainer(tiny_job(tmp_path, config, count=44)).train()
    assert outcome.finished
    assert outcome.best["evaluation"]["mAP50"] > 0.6
    written = json.loads((tmp_path / "run" / "coco_eval.json").read_text())
    assert written["at100"]["all"]["AP50"] == outcome.best["evaluation"]["mAP50"]
    assert rows(tmp_path)[0]["losses"].keys() == {"classification", "bbox_regression"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run_tiny(folder, tiny_config(**ALL))
    return folder


@pytest.mark.parametrize("step", [2, 3])
def test_a_stopped_training_resumes_to_the_same_numbers(tmp_path, monkeypatch, whole, step):
    """SIGTERM in the middle of an epoch or in its last step, then the same job again: as without the stop."""
    stop_at(monkeypatch, step)
    with pytest.raises(StoppedError, match=f"stopped in epoch 1 of 3, after step {step} of 3; the same job resumes"):
        run_tiny(tmp_path, tiny_config(**ALL))
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    monkeypatch.undo()
    assert run_tiny(tmp_path, tiny_config(**ALL)).finished
    assert_close(whole, tmp_path)


def test_the_moving_average_is_kept_in_the_model(whole):
    """With `ema`, model.safetensors has the moving average of the best epoch, not the weights of its last step."""
    kept, state = arrays(whole, "model.safetensors"), arrays(whole)
    average = {name.removeprefix("average/") for name in state if name.startswith("average/")}
    assert kept.keys() == average
    assert not np.allclose(state["average/classes/kernel"], state["model/classes/kernel"])
    if max(rows(whole), key=lambda row: row["evaluation"]["mAP"])["epoch"] == 3:
        np.testing.assert_array_equal(kept["classes/kernel"], state["average/classes/kernel"])


def test_the_time_limit_ends_the_training_cleanly(tmp_path):
    """After max_hours there are an evaluation, a model and a checkpoint."""
    outcome = run_tiny(tmp_path, tiny_config(max_hours=1.0), started=-math.inf)
    assert not outcome.finished
    assert outcome.best["evaluation"]["mAP"] is not None
    assert rows(tmp_path)[0]["step"] == 1
    assert {"checkpoint.safetensors", "model.safetensors"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_a_loss_that_is_not_finite_names_the_images(tmp_path):
    """The error names the epoch, the step and the images, and no checkpoint holds such numbers."""
    job = tiny_job(tmp_path, tiny_config(epochs=2))
    batches = list(job.training.epoch(1))
    learner, take = job.learner, job.learner.train_step

    def spoil(step, given):
        if step.epoch == 1 and step.number == 2:
            kernel = next(variable for variable in learner._trained.variables if variable.path == "boxes/kernel")
            kernel.assign(kernel * math.nan)
        take(step, given)

    learner.train_step = spoil
    with pytest.raises(TrainingError) as caught:
        Trainer(job).train()
    found = "the loss is not finite in epoch 2, step 2: found bbox_regression nan, gradient norm nan"
    assert found in str(caught.value)
    assert set(caught.value.details) == {f"image {job.coco.file_names[index]}" for index in batches[1].indices}
    assert all(np.isfinite(array).all() for array in arrays(tmp_path).values())


@pytest.mark.parametrize(
    ("method", "fix"), [("_add_batch", "set training.batch_size to 1"), ("_select", "set evaluation.batch_size to 1")]
)
def test_too_little_memory_says_which_batch_size_to_try(tmp_path, method, fix):
    """Out of memory, in training or evaluation: try half the batch size."""
    job = tiny_job(tmp_path)
    job.learner.start(1)

    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    setattr(job.learner, method, fail)
    job.learner.start = lambda _: None
    with pytest.raises(TrainingError, match=f"out of memory.*{fix} and start again"):
        Trainer(job).train()


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """If there is no room for a checkpoint, or the disk fills up during a save, the earlier one is intact."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, "size=4m"):
        pytest.skip("this user may not mount a disk in memory")
    try:
        run = tiny_job(disk).run
        checkpoint.save(run, {"number": 1}, {"a": np.zeros(100_000, np.float32)}, 1)
        large = {"a": np.zeros(2_000_000, np.float32)}
        with pytest.raises(TrainingError, match="not enough space on the disk"):
            checkpoint.save(run, {"number": 2}, large, 2)
        monkeypatch.setattr(checkpoint, "check_space", lambda *_: None)
        with pytest.raises(TrainingError, match=r"run: the disk is full: found .* free; make room"):
            checkpoint.save(run, {"number": 2}, large, 2)
        assert checkpoint.read(run.path("checkpoint.safetensors"))["number"] == 1
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.safetensors"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_checkpoint_of_another_kind_or_cut_short_is_a_clear_error(tmp_path):
    """The error is one line that says what to do."""
    run = tiny_job(tmp_path).run
    checkpoint.save(run, {}, {"a": np.arange(1000.0)}, 1)
    path = run.path("checkpoint.safetensors")
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04 a checkpoint of PyTorch", whole[:-1], whole[:100], whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"checkpoint.safetensors: .*set resume to never"):
            checkpoint.read(path)
    path.write_bytes(whole.replace(b"checkpoint", b"chickpoint"))
    with pytest.raises(TrainingError, match="not a checkpoint"):
        checkpoint.read(path)


def test_a_checkpoint_without_an_array_is_refused(tmp_path):
    """What another version of the trainers wrote is never half restored."""
    learner = tiny_learner(tiny_config())
    learner.start(3)
    state = {"arrays": {"model/classes/kernel": np.zeros(3, np.float32)}, "taken": 2}
    with pytest.raises(TrainingError, match="of another version of the trainers: found model/body0/bias"):
        learner.restore(state)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(tmp_path, precision):
    """In half precision the losses are finite, and the weights stay float32."""
    run_tiny(tmp_path, tiny_config(precision=precision, epochs=1))
    assert math.isfinite(rows(tmp_path)[0]["loss"])
    assert {array.dtype for name, array in arrays(tmp_path).items() if "model" in name} == {np.dtype(np.float32)}


def test_a_gradient_that_is_not_finite_is_skipped_in_float16():
    """The scale of the loss is halved, the weights stay as they are, and the next step counts."""
    learner = tiny_learner(tiny_config(precision="float16"))
    learner.start(10)
    update, before = learner._update, [variable.numpy() for variable in learner._trained.trainable_variables]
    apply = tf.function(update.apply)
    update.optimizer.learning_rate = 0.1
    gradients = [tf.fill(array.shape, math.inf) for array in before]
    apply(gradients)
    assert update.scale.numpy() == 2.0**15
    for variable, array in zip(learner._trained.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), array)
    apply([tf.ones(array.shape) * 2.0**15 for array in before])
    assert update.scale.numpy() == 2.0**15
    assert not np.array_equal(learner._trained.trainable_variables[0].numpy(), before[0])


def test_accumulated_batches_are_as_good_as_a_larger_one(tmp_path):
    """Two batches of one image make the same step as one of two, but for the statistics of norms."""
    losses, weights = [], []
    for size in (2, 1):
        config = tiny_config(batch_size=size, accumulate=2 // size, epochs=1)
        job = tiny_job(tmp_path / str(size), config)
        learner = tiny_learner(config, norm=False)
        learner.start(1)
        batches = [job.training.batch([at], [job.training._example(PLANNED, at)]) for at in range(2)]
        whole = job.training.batch([0, 1], [job.training._example(PLANNED, at) for at in range(2)])
        learner.train_step(Step(0, 1, 0, 2 // size), iter([whole] if size == 2 else batches))
        losses += learner.read_losses(keep=0)
        weights.append([variable.numpy() for variable in learner._trained.variables])
    assert losses[0].indices == losses[1].indices == (0, 1)
    assert losses[0].losses == pytest.approx(losses[1].losses, rel=1e-5)
    assert losses[0].norm == pytest.approx(losses[1].norm, rel=1e-4)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
