"""The training loop with the smallest learner there can be: it needs no framework, only what the protocol says."""

import contextlib
import json
import math
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tests.trainers.in_memory import Memory, coco
from tests.trainers.training.test_loader import Loader
from trainers.config import Config
from trainers.errors import StoppedError, TrainingError
from trainers.evaluation.coco import Evaluator
from trainers.log import Log
from trainers.process import Place
from trainers.run.folder import Run
from trainers.training.group import Group
from trainers.training.loop import Job, Trainer
from trainers.training.losses import StepLosses
from trainers.training.model_file import ModelInfo, TrainedModel
from trainers.training.plan import seed_of
from trainers.training.schedule import factor, highest_rate

DIGEST = "sha256:" + "1" * 64
COUNT, SIDE = 12, 32
CLOCKS = {"images_per_second", "input_wait_s", "seconds"}


class Offset:
    """A model of two numbers: how far its boxes are beside those of the data. It learns to come near to zero."""

    replicas = 1

    def __init__(self, config: Config, boxes: np.ndarray) -> None:
        self.config, self.boxes = config, boxes
        self.offset, self.taken, self.steps = np.array([9.0, -7.0]), 0, 0
        self.unread: list[StepLosses] = []
        self.poison, self.before_step = 0, lambda: None

    @property
    def learning_rate(self) -> float:
        return highest_rate(self.config.training, 1) * factor(self.taken, self.steps, self.config.training)

    def start(self, steps: int) -> None:
        self.steps = steps

    def training(self):
        return contextlib.nullcontext()

    detecting = training

    def train_step(self, step, batches) -> None:
        self.before_step()
        indices, norm = [], 0.0
        for number in range(step.first, step.first + step.count):
            batch = next(batches)
            noise = np.random.default_rng(seed_of(self.config.seed, step.epoch, number, 0)).normal(size=2)
            gradient = self.offset + 0.1 * noise + np.mean([image.mean() for image in batch.images]) / 1000
            self.offset = self.offset - self.learning_rate * gradient / step.count
            indices += batch.indices
            norm = float(np.linalg.norm(gradient))
        self.taken += 1
        loss = math.nan if self.taken == self.poison else float((self.offset**2).sum())
        self.unread.append(StepLosses(step.number, tuple(indices), {"offset": loss}, norm))

    def read_losses(self, *, keep: int) -> list[StepLosses]:
        ready, self.unread = self.unread[: len(self.unread) - keep], self.unread[len(self.unread) - keep :]
        return ready

    def detect(self, batch):
        moved = [self.boxes[[index]] + np.tile(self.offset, 2) for index in batch.indices]
        return [{"boxes": box, "labels": np.array([1]), "scores": np.array([0.9])} for box in moved]

    def serialized(self, metadata: dict[str, str]) -> bytes:
        return save({"offset": self.offset}, metadata)

    def save_checkpoint(self, run: Run, head) -> None:
        run.write_json("checkpoint.json", {**head, "state": {"offset": self.offset.tolist(), "taken": self.taken}})

    def read_checkpoint(self, path):
        return json.loads(path.read_bytes())

    def restore(self, state) -> None:
        self.offset, self.taken = np.array(state["offset"]), state["taken"]


def config(**training: object) -> Config:
    """Make a configuration whose epochs have three steps."""
    training = {"epochs": 3, "batch_size": 2, "accumulate": 2, "learning_rate": 2.0, "warmup_steps": 0, **training}
    content = {"dataset": "reef/v1", "digest": DIGEST, "device": "cpu", "training": training}
    return Config.model_validate(content)


def make_job(folder, settings: Config | None = None) -> Job:
    settings = settings or config()
    corners = np.random.default_rng(0).integers(10, 14, (COUNT, 2))
    listed = coco([(SIDE, SIDE)] * COUNT, [(number, *corner, *(corner + 8)) for number, corner in enumerate(corners)])
    listed = replace(listed, labels=np.ones(COUNT, np.int64), categories=listed.categories[:1])
    pixels, images = Memory(listed.sizes), np.arange(COUNT)
    folder.mkdir(exist_ok=True)
    run = Run(folder / "run")
    run.open()
    return Job(
        config=settings,
        coco=listed,
        model=ModelInfo("pytorch", settings.model.name, ((1, "1"),), 800, 1333, "reef@v1", DIGEST, {}),
        split="0123",
        learner=Offset(settings, listed.corners),
        training=Loader(listed, pixels, images, batch_size=2, workers=2, seed=settings.seed, shuffle=True),
        validation=Loader(listed, pixels, images, batch_size=4, workers=2, shuffle=False),
        evaluator=lambda: Evaluator(listed, images, pixels.sizes),
        run=run,
        checkpoint="checkpoint.json",
        log=Log(quiet=True),
        group=Group(Place()),
        started=time.monotonic(),
    )


def outputs(job: Job) -> tuple[object, ...]:
    """Return everything that a training leaves, without the times."""
    lines = job.run.path("metrics.jsonl").read_text().splitlines()
    rows = [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]
    state = json.loads(job.run.path("checkpoint.json").read_bytes())["state"]
    return rows, state, job.run.path("model.safetensors").read_bytes(), job.run.path("coco_eval.json").read_bytes()


def test_a_training_improves_and_keeps_its_best_model(tmp_path):
    """The boxes come nearer with each epoch, and the model is that of the best one, with what it was trained on."""
    job = make_job(tmp_path)
    outcome = Trainer(job).train()
    rows, _, _, _ = outputs(job)
    assert outcome.finished
    assert [row["step"] for row in rows] == [3, 6, 9]
    assert rows[2]["loss"] < rows[1]["loss"] < rows[0]["loss"]
    assert rows[2]["evaluation"]["mAP"] > rows[0]["evaluation"]["mAP"]
    assert outcome.best["epoch"] == 3
    assert TrainedModel.read(job.run.path("model.safetensors"), "pytorch").info == job.model
    assert load_file(job.run.path("model.safetensors"))["offset"].tolist() == job.learner.offset.tolist()


@pytest.mark.parametrize("step", [1, 3, 4, 8])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_resumes_to_the_same_files(tmp_path, step, number):
    """Stopped by a signal in any step and started again, it leaves the same bytes as without the stop."""
    whole = make_job(tmp_path / "whole")
    Trainer(whole).train()
    halted = make_job(tmp_path / "halted")
    halted.learner.before_step = lambda: halted.learner.taken == step - 1 and os.kill(os.getpid(), number)
    with pytest.raises(StoppedError, match=r"the same job resumes from there"):
        Trainer(halted).train()
    again = make_job(tmp_path / "halted")
    assert Trainer(again, again.run.path("checkpoint.json")).train().finished
    assert outputs(again) == outputs(whole)


def test_the_time_limit_ends_a_training_that_resumes(tmp_path):
    """After max_hours there is an evaluated model, and the same job goes on from there to the same numbers."""
    whole = make_job(tmp_path / "whole")
    Trainer(whole).train()
    ended = replace(make_job(tmp_path / "ended", config(max_hours=1.0)), started=-math.inf)
    outcome = Trainer(ended).train()
    assert (outcome.finished, outcome.best["step"]) == (False, 1)
    again = make_job(tmp_path / "ended")
    assert Trainer(again, again.run.path("checkpoint.json")).train().finished
    assert outputs(again)[:2] == outputs(whole)[:2]


def test_a_loss_that_is_not_finite_names_its_images(tmp_path):
    """The error names the step and its images; the checkpoint and the model are from before it."""
    job = make_job(tmp_path)
    job.learner.poison = 5
    with pytest.raises(TrainingError, match="not finite in epoch 2, step 2: found offset nan") as caught:
        Trainer(job).train()
    first = list(job.training.epoch(1))[2:4]
    assert set(caught.value.details) == {f"image {index}.png" for batch in first for index in batch.indices}
    assert outputs(job)[1]["taken"] == 3


def test_the_checkpoint_of_another_job_is_refused(tmp_path):
    """A training with another configuration does not resume from it."""
    Trainer(make_job(tmp_path)).train()
    job = make_job(tmp_path, config(learning_rate=1.0))
    with pytest.raises(TrainingError, match=r"another training: found training.learning_rate 1.0 was 2.0"):
        Trainer(job, job.run.path("checkpoint.json"))


def test_evaluations_can_be_less_frequent(tmp_path):
    """They happen every `evaluation.every` epochs, and always after the last."""
    settings = config(epochs=4)
    settings = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"every": 3})})
    job = make_job(tmp_path, settings)
    Trainer(job).train()
    assert [bool(row["evaluation"]) for row in outputs(job)[0]] == [False, False, True, True]


def test_processes_with_different_jobs_do_not_train_together(tmp_path):
    """A node with another configuration is an error before the first step."""
    job, other = make_job(tmp_path), make_job(tmp_path, config(learning_rate=0.5))

    class Two(Group):
        def gather(self, value):
            return [value, other.facts]

    with pytest.raises(TrainingError, match="process 1 has a different job from process 0; give all nodes the same"):
        Trainer(replace(job, group=Two(Place())))
    assert job.learner.steps == 0
