"""The training loop: it learns, resumes to the same numbers, and shuts down cleanly whatever happens."""

import contextlib
import json
import math
import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.trainers.running import ALL, assert_same, model_tensors, rows, run_tiny, stop_at, tensors
from tests.trainers.tiny import tiny_config, tiny_job
from trainers.errors import StoppedError, TrainingError
from trainers.pytorch.learner import TorchLearner
from trainers.run.inputs import find_checkpoint
from trainers.training import inference, loop
from trainers.training.loop import Trainer


def test_a_detector_learns_squares(tmp_path):
    """A few epochs find most of the squares, and the files agree with the outcome."""
    config = tiny_config(epochs=12, optimizer="adamw", learning_rate=0.03)
    job = tiny_job(tmp_path, config, count=44)
    outcome = Trainer(job).train()
    assert outcome.finished
    assert outcome.best["evaluation"]["mAP50"] > 0.6
    assert outcome.best in [json.loads(line) for line in job.run.path("metrics.jsonl").read_text().splitlines()]
    written = json.loads(job.run.path("coco_eval.json").read_text())
    assert written["at100"]["all"]["AP50"] == outcome.best["evaluation"]["mAP50"]


def test_a_row_describes_an_epoch(tmp_path):
    """A row has the epoch, the steps so far, losses that add up, and an evaluation."""
    run_tiny(tmp_path, tiny_config(epochs=2))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6)]
    for line in lines:
        assert line["loss"] == pytest.approx(sum(line["losses"].values()))
        assert line["losses"].keys() == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
        assert line["evaluation"].keys() == {"mAP", "mAP50", "mAP75", "at300"}
        assert line["images_per_second"] == pytest.approx(6 / line["seconds"], rel=0.05)
        assert 0 <= line["input_wait_s"] < line["seconds"]
    assert lines[1]["learning_rate"] == pytest.approx(0.02 * 2 / 16 * 0.01)


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_a_stopped_training_resumes_to_the_same_numbers(tmp_path, monkeypatch, step):
    """Stopped in any step, even the last one of an epoch, and started again: the same bits as without the stop."""
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    run_tiny(whole, tiny_config(**ALL))
    stop_at(monkeypatch, step)
    with pytest.raises(StoppedError) as caught:
        run_tiny(halted, tiny_config(**ALL))
    epoch, done = divmod(step - 1, 3)
    assert f"stopped in epoch {epoch + 1} of 3, after step {done + 1} of 3; the same job resumes" in str(caught.value)
    assert len(rows(halted) if (halted / "run" / "metrics.jsonl").exists() else []) == epoch
    monkeypatch.undo()
    outcome, _ = run_tiny(halted, tiny_config(**ALL))
    assert outcome.finished
    assert_same(whole, halted)


@pytest.mark.parametrize("resume", ["never", "elsewhere/checkpoint.pt"])
def test_a_stopped_training_says_how_to_resume(tmp_path, monkeypatch, resume):
    """If the same job would not resume from the checkpoint that it leaves, the message says what to change."""
    config = tiny_config(**ALL).model_copy(update={"resume": resume})
    stop_at(monkeypatch, 1)
    with pytest.raises(StoppedError, match="the same job with resume: auto resumes from there"):
        Trainer(tiny_job(tmp_path, config)).train()
    monkeypatch.undo()
    assert run_tiny(tmp_path, tiny_config(**ALL))[0].finished


def test_a_checkpoint_named_by_path_stays_until_the_next_one(tmp_path, monkeypatch):
    """A kill in the first step does not lose the run's own checkpoint when the configuration names it by a path."""
    stop_at(monkeypatch, 4)
    with pytest.raises(StoppedError):
        run_tiny(tmp_path, tiny_config(**ALL))
    monkeypatch.undo()
    before = tensors(tmp_path)
    monkeypatch.setattr(TorchLearner, "train_step", lambda *_: pytest.fail("killed", pytrace=False))
    job = tiny_job(tmp_path, tiny_config(**ALL))
    with pytest.raises(pytest.fail.Exception):
        Trainer(job, find_checkpoint("run/../run/checkpoint.pt", job.run, tmp_path, "")).train()
    assert all(value.equal(before[way]) for way, value in tensors(tmp_path).items())


def test_a_new_training_never_resumes_from_an_old_one(tmp_path, monkeypatch):
    """A new training in the folder of an old one, killed in its first epoch, does not resume from the old one."""
    job = tiny_job(tmp_path, tiny_config(epochs=2))
    Trainer(job).train()
    monkeypatch.setattr(Trainer, "train_one_epoch", lambda *_: pytest.fail("killed", pytrace=False))
    with pytest.raises(pytest.fail.Exception):
        Trainer(job).train()
    assert find_checkpoint("auto", job.run, tmp_path, "checkpoint.pt") is None
    assert rows(tmp_path) == []


def test_a_killed_training_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    """Killed between two epochs, after the row of the second but before its checkpoint: no row appears twice."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_tiny(whole, tiny_config(**ALL))
    save_checkpoint = Trainer.save_checkpoint

    class Killed(BaseException):
        pass

    def dying(trainer):
        if trainer.progress.epoch == 2:
            raise Killed
        save_checkpoint(trainer)

    monkeypatch.setattr(Trainer, "save_checkpoint", dying)
    with pytest.raises(Killed):
        run_tiny(killed, tiny_config(**ALL))
    assert len(rows(killed)) == 2
    monkeypatch.undo()
    run_tiny(killed, tiny_config(**ALL))
    assert_same(whole, killed)


def test_a_stop_during_an_evaluation_loses_nothing(tmp_path, monkeypatch):
    """Stopped during an evaluation, a training resumes with that evaluation, to the same numbers."""
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    run_tiny(whole)
    evaluate, calls = inference.evaluate, iter(range(9))

    def stopping(*arguments, **options):
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(inference, "evaluate", stopping)
    with pytest.raises(StoppedError, match="stopped in epoch 2 of 2, after step 3 of 3"):
        run_tiny(halted)
    assert len(rows(halted)) == 1
    monkeypatch.undo()
    run_tiny(halted)
    assert_same(whole, halted)


def test_a_second_signal_ends_the_training_at_once(tmp_path, monkeypatch):
    """After a second Ctrl-C there is no wait for a checkpoint; afterwards the earlier signal handlers are back."""
    started = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
    train_step = TorchLearner.train_step

    def twice(*arguments):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(*arguments)

    monkeypatch.setattr(TorchLearner, "train_step", twice)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, started)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_finished_training_is_not_repeated(tmp_path):
    """The same job once more returns the same result and writes no checkpoint."""
    first, _ = run_tiny(tmp_path)
    before = (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns
    again, _ = run_tiny(tmp_path)
    assert (again.best, again.finished, again.resumed) == (first.best, True, 2)
    assert (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns == before
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match="this training is finished, and its model is not here"):
        run_tiny(tmp_path)


@pytest.mark.parametrize("at", ["end", "middle"])
def test_the_model_of_another_training_is_never_taken_for_the_best(tmp_path, monkeypatch, at):
    """Resumed in a folder with the model of another training, a run does not end with that model as its own."""
    run_tiny(tmp_path / "two", tiny_config(epochs=1))
    if at == "middle":
        stop_at(monkeypatch, 4)
    with pytest.raises(StoppedError) if at == "middle" else contextlib.nullcontext():
        run_tiny(tmp_path / "one")
    monkeypatch.undo()
    if at == "middle":  # the first epoch, of the other folder, would stay the best
        monkeypatch.setattr(loop, "_map", lambda row: -row["epoch"])
    other = (tmp_path / "two" / "run" / "model.safetensors").read_bytes()
    trainer = partial(Trainer, tiny_job(tmp_path / "two"), tmp_path / "one" / "run" / "checkpoint.pt")
    if at == "end":
        with pytest.raises(TrainingError, match="this training is finished, and its model is not here"):
            trainer()
        return
    assert trainer().train().best["epoch"] == 2
    assert (tmp_path / "two" / "run" / "model.safetensors").read_bytes() != other


def test_a_checkpoint_from_another_folder_restores_its_rows(tmp_path, monkeypatch):
    """Resumed from another folder, metrics.jsonl is complete, and the best epoch from then on is kept."""
    stop_at(monkeypatch, 4)
    with pytest.raises(StoppedError):
        run_tiny(tmp_path / "one")
    job = tiny_job(tmp_path / "two")
    outcome = Trainer(job, tmp_path / "one" / "run" / "checkpoint.pt").train()
    assert [line["epoch"] for line in rows(tmp_path / "two")] == [1, 2]
    assert outcome.best["epoch"] == 2
    assert job.run.path("model.safetensors").exists()


def test_the_time_limit_ends_the_training_cleanly(tmp_path, capsys):
    """After max_hours there are an evaluation, a model and a checkpoint; the same job resumes to the same numbers."""
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    run_tiny(whole)
    outcome, job = run_tiny(ended, tiny_config(max_hours=1.0), started=-math.inf)
    assert not outcome.finished
    assert outcome.best["evaluation"]["mAP"] is not None
    assert rows(ended)[0]["step"] == 1
    assert job.run.path("model.safetensors").exists()
    assert "max_hours has passed: stopped in epoch 1 of 2, step 1 of 3; the same job" in capsys.readouterr().out
    shutil.copy(ended / "run" / "metrics.jsonl", tmp_path / "first.jsonl")
    run_tiny(ended, tiny_config(max_hours=1.0))
    assert rows(whole) == rows(ended)
    ours, theirs = tensors(whole), tensors(ended)
    assert all(ours[way].equal(theirs[way]) for way in ours if "state" in way)


def test_a_long_epoch_saves_checkpoints_on_its_way(tmp_path, monkeypatch):
    """A kill loses no more than a fixed time, however long an epoch is."""
    monkeypatch.setattr("trainers.training.stopping._CHECKPOINT_EVERY", -1)
    saved, save_checkpoint = [], Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda trainer: (saved.append(trainer.progress.step), save_checkpoint(trainer))
    )
    run_tiny(tmp_path, tiny_config(epochs=1))
    assert saved == [1, 2, 3, 0]


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_names_the_images(tmp_path, poison):
    """The error names the epoch, the step and the images, and no checkpoint holds such numbers."""
    job = tiny_job(tmp_path, tiny_config(epochs=3))
    batches = list(job.training.epoch(1))
    step = iter(range(1, 99))

    def spoil(_, __, losses):
        if next(step) != 5:
            return losses
        bad = losses["loss_box_reg"]
        losses["loss_box_reg"] = bad * math.nan if poison == "loss" else bad + (bad - bad.detach()).abs().sqrt()
        return losses

    job.learner.model.register_forward_hook(lambda *given: spoil(*given) if job.learner.model.training else given[2])
    with pytest.raises(TrainingError) as caught:
        Trainer(job).train()
    what = "loss_box_reg nan" if poison == "loss" else "gradient norm nan"
    assert f"the loss is not finite in epoch 2, step 2: found {what}" in str(caught.value)
    expected = {f"image {job.coco.file_names[index]}" for index in batches[1].indices}
    assert set(caught.value.details) == expected
    assert all(tensor.isfinite().all() for tensor in tensors(tmp_path).values())
    assert len(rows(tmp_path)) == 1


class NoMemoryError(RuntimeError):
    """What the CPU allocator raises, as `test_the_cpu_allocator_raises_this` checks."""

    def __init__(self):
        super().__init__("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def test_the_cpu_allocator_raises_this():
    """The loop recognises a lack of CPU memory by these words."""
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.empty(2**60, dtype=torch.uint8)


NO_MEMORY = (
    NoMemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried..."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
@pytest.mark.parametrize(
    ("training", "size", "fix"),
    [
        (True, 2, "set training.batch_size to 1 and start again"),
        (False, 8, "set evaluation.batch_size to 4 and start again"),
        (True, 1, "lower image.min_size"),
    ],
)
def test_too_little_memory_says_which_batch_size_to_try(tmp_path, error, training, size, fix):
    """Out of GPU or CPU memory, in training or evaluation: try half the batch size or, at 1, smaller images."""
    config = tiny_config(batch_size=size) if training else tiny_config()
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"batch_size": size})})
    job = tiny_job(tmp_path, config)

    def fail(module, *_):
        if module.training == training:
            raise error

    job.learner.model.register_forward_hook(fail)
    with pytest.raises(TrainingError, match=f"out of memory.*{fix}"):
        Trainer(job).train()


def test_other_errors_are_not_memory_errors(tmp_path):
    """An error that has nothing to do with memory is passed on as it is."""
    job = tiny_job(tmp_path)
    job.learner.model.register_forward_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size") as caught:
        Trainer(job).train()
    assert not isinstance(caught.value, TrainingError)


def test_the_best_epoch_is_kept_not_the_last(tmp_path, monkeypatch):
    """The model is from the epoch with the highest mAP, the later one of equals; the checkpoint is from the last."""
    evaluate, scores, states = inference.evaluate, iter((0.2, 0.6, 0.6, 0.1)), []

    def scoring(learner, *arguments, **options):
        states.append({name: tensor.clone() for name, tensor in learner.model.state_dict().items()})
        evaluation = evaluate(learner, *arguments, **options)
        scored = replace(evaluation.at100.all, AP=next(scores))
        return replace(evaluation, at100=replace(evaluation.at100, all=scored))

    monkeypatch.setattr(inference, "evaluate", scoring)
    outcome, job = run_tiny(tmp_path, tiny_config(epochs=4))
    assert (outcome.best["epoch"], outcome.best["evaluation"]["mAP"]) == (3, 0.6)
    kept = model_tensors(tmp_path)
    assert all(tensor.equal(kept[name]) for name, tensor in states[2].items())
    last = tensors(tmp_path)
    assert all(tensor.equal(last["state", "model", name]) for name, tensor in states[3].items())
    assert json.loads(job.run.path("coco_eval.json").read_text())["at100"]["all"]["AP"] == 0.6


def test_the_moving_average_is_evaluated_and_kept(tmp_path, monkeypatch):
    """With `ema`, the moving average is evaluated and saved in model.safetensors, not the weights of the last step."""
    run_tiny(tmp_path, tiny_config(ema=0.9, epochs=1))
    kept, whole = model_tensors(tmp_path), tensors(tmp_path)
    name = "backbone.body.0.weight"
    assert kept[name].equal(whole["state", "average", f"module.{name}"])
    assert not kept[name].equal(whole["state", "model", name])


def test_accumulated_batches_make_one_step(tmp_path):
    """Several batches make one step with the mean of their gradients; the last step of an epoch may have fewer."""
    config = tiny_config(batch_size=1, accumulate=4, epochs=1)
    job = tiny_job(tmp_path, config)
    assert (job.training.batches, job.steps) == (6, 2)
    Trainer(job).train()
    assert rows(tmp_path)[0]["step"] == 2
    assert tensors(tmp_path).keys()  # it was written
    content = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]
    assert content["schedule"]["last_epoch"] == 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(tmp_path, precision):
    """In half precision the losses are finite, convolutions compute in it, and the weights stay float32."""
    job = tiny_job(tmp_path, tiny_config(precision=precision, epochs=1))
    seen = set()
    job.learner.model.backbone.body[0].register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    Trainer(job).train()
    assert seen == {getattr(torch, precision)}
    assert all(tensor.dtype != getattr(torch, precision) for tensor in tensors(tmp_path).values())
    assert math.isfinite(rows(tmp_path)[0]["loss"])


def test_each_epoch_logs_a_line(tmp_path, capsys):
    """It has the loss, the mAP and the speed."""
    run_tiny(tmp_path)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "loss" in line]
    assert len(lines) == 2
    assert "epoch 2 of 2: loss " in lines[1]
    assert "mAP 0." in lines[1]
    assert "images/s" in lines[1]
