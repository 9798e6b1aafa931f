"""A training resumes from its own checkpoint, and from no other."""

from pathlib import Path

import pytest

from trainers.config import Config
from trainers.errors import TrainingError
from trainers.training.checkpoint import check_checkpoint, checkpoint_head, job_facts

DIGEST = "sha256:" + "1" * 64
PATH = Path("run/checkpoint.pt")


def config(**changes) -> Config:
    training = {"epochs": 2, "batch_size": 2, "warmup_steps": 2, **changes.pop("training", {})}
    content = {"dataset": "reef/v1", "digest": DIGEST, "device": "cpu", "image": {"min_size": 64, "max_size": 64}}
    return Config.model_validate({**content, "training": training, **changes})


FACTS = job_facts(config(), DIGEST, "0123", 1)


def saved() -> dict[str, object]:
    """Return the content of a checkpoint."""
    return {**checkpoint_head(FACTS, {"epoch": 1}), "state": "tensors"}


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 7},
        {"verify": "quick"},
        {"resume": "never"},
        {"run": "other"},
        {"report": {"samples": True}},
        {"evaluation": {"batch_size": 1}},
        {"data": {"eval": None}},
        {"image": {"min_size": 64, "max_size": 64, "cache": "off"}},
        {"training": {"max_hours": 3}},
    ],
    ids=str,
)
def test_settings_without_effect_on_the_numbers_may_change(change):
    """Threads, checks, reports and the time limit may differ from start to start."""
    changed = job_facts(config(**change), DIGEST, "0123", 1)
    assert check_checkpoint(saved(), PATH, changed) == saved()


def test_the_checkpoint_of_another_training_is_refused():
    """The error names the keys of train.yml that differ, with the current and the earlier value."""
    facts = job_facts(config(training={"epochs": 3, "learning_rate": 0.5}), DIGEST, "0123", 4)
    with pytest.raises(TrainingError) as caught:
        check_checkpoint(saved(), PATH, facts)
    assert (
        "checkpoint.pt: this checkpoint belongs to another training: found processes 4 was 1, training.epochs 3 was 2, "
        "training.learning_rate 0.5 was 0.02; set resume to never to start from scratch, or run to another name"
    ) in str(caught.value)


def test_the_checkpoint_of_another_dataset_or_split_is_refused():
    """A training does not resume on other images."""
    other = "sha256:" + "2" * 64
    with pytest.raises(TrainingError, match=rf"to another dataset: expected {other}, found {DIGEST}"):
        check_checkpoint(saved(), PATH, job_facts(config(), other, "0123", 1))
    with pytest.raises(TrainingError, match="split '4567' was '0123'"):
        check_checkpoint(saved(), PATH, job_facts(config(), DIGEST, "4567", 1))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "not a checkpoint"),
        ({"model": {}}, "not a checkpoint"),
        ({"form": 0, "job": {}, "training": {}}, "a checkpoint of another version of the trainers"),
        ({**saved(), "form": 3}, "a checkpoint of another version of the trainers"),
    ],
    ids=str,
)
def test_other_content_is_not_a_checkpoint(content, says):
    """A file of the right kind that is not a checkpoint of this version is an error of one line."""
    with pytest.raises(TrainingError, match=f"checkpoint.pt: {says}; set resume to never"):
        check_checkpoint(content, PATH, FACTS)
