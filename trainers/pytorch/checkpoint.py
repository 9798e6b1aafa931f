"""The files of a training: `checkpoint.pt`, from which it resumes bit for bit, and `model.pt`, its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from datapack.files import check_space
from datapack.hashing import hash_file
from trainers.config import WITHOUT_EFFECT
from trainers.errors import ConfigError, TrainingError
from trainers.pytorch.weights import Weights, load
from trainers.run.folder import CHECKPOINT, MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from trainers.config import Config
    from trainers.dataset.coco import Coco
    from trainers.run.folder import Run

_FORM = 3  # of a checkpoint; it changes when older checkpoints can no longer be resumed
_PARTS = {"form", "job", "training"}
_MODEL_PARTS = {"model", "name", "categories", "min_size", "max_size", "dataset", "split"}
_AROUND = 1 << 20  # bytes: an upper bound for what a file holds besides its tensors
_SHOWN = 10  # keys in an error message


def job_facts(config: Config, dataset: str, split: str, processes: int) -> dict[str, Any]:
    """Return what must not change when a training resumes: its numbers depend on all of this."""
    facts = {"dataset": dataset, "split": split, "processes": processes}
    return {"config": config.model_dump(mode="json", exclude=WITHOUT_EFFECT), **facts}


def split_facts(config: Config) -> dict[str, Any]:
    """Return the keys of the configuration that decide which images a model is trained on."""
    return {"seed": config.seed, **_flat(config.data.model_dump(mode="json", exclude={"eval", "eval_images"}), "data.")}


def save_checkpoint(run: Run, job: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Write `checkpoint.pt`; an earlier one stays until the new one is complete.

    Args:
        run: the run that it belongs to.
        job: from `job_facts`.
        training: tensors and plain values: everything that the training resumes from.

    Raises:
        TrainingError: there is not enough disk space.
    """
    _save(run, CHECKPOINT, {"form": _FORM, "job": dict(job), "training": dict(training)})


def load_checkpoint(path: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``training`` that `save_checkpoint` was given.

    Raises:
        TrainingError: the file belongs to another job, is another kind of file, or is damaged.
    """
    fix = "set resume to never to start from scratch, or run to another name"
    content = load(path, "checkpoint", TrainingError, fix=fix)
    if not isinstance(content, Mapping) or not content.keys() >= _PARTS:
        raise TrainingError("not a checkpoint", where=path, fix=fix)
    if content["form"] != _FORM:
        raise TrainingError("a checkpoint of another version of the trainers", where=path, fix=fix)
    then, now = _flat(content["job"]), _flat(job)
    differing = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    if not differing:
        training: dict[str, Any] = content["training"]
        return training
    if "dataset" in differing:
        raise TrainingError(
            "this checkpoint belongs to another dataset",
            where=path,
            expected=now["dataset"],
            found=then["dataset"],
            fix=fix,
        )
    shown = [f"{key} {now.get(key)!r} was {then.get(key)!r}" for key in differing[:_SHOWN]]
    more = ", ..." if len(differing) > _SHOWN else ""
    raise TrainingError(
        "this checkpoint belongs to another training", where=path, found=", ".join(shown) + more, fix=fix
    )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their path, as in `train.yml`: ``training.epochs``."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        name = "" if key == "config" else f"{prefix}{key}"
        flat |= _flat(value, f"{name}." if name else "") if isinstance(value, Mapping) else {name: value}
    return flat


@dataclass(frozen=True)
class TrainedModel:
    """A `model.pt`: weights, and the categories and sizes they were trained for."""

    weights: Weights
    name: str
    categories: tuple[tuple[int, str], ...]  # ids and names, in the order of the labels from 1
    min_size: int
    max_size: int
    dataset: str  # digest
    split: Mapping[str, Any]  # from `split_facts`

    @classmethod
    def read(cls, path: Path) -> TrainedModel:
        """Read a `model.pt`; raise `ConfigError` if it is something else, or damaged."""
        content = load(path, "model", ConfigError)
        if not isinstance(content, Mapping) or not content.keys() >= _MODEL_PARTS:
            raise ConfigError("not a model.pt", where=path, expected="one that `trainers` wrote")
        try:
            categories = tuple((int(identity), str(name)) for identity, name in content["categories"])
        except (TypeError, ValueError) as error:
            raise ConfigError("this model.pt has no list of categories", where=path, found=error) from error
        if not isinstance(content["split"], Mapping):
            raise ConfigError("this model.pt does not say which images it was trained on", where=path)
        facts = {key: content[key] for key in ("name", "min_size", "max_size", "dataset", "split")}
        return cls(Weights.of(content, path, content["name"]), categories=categories, **facts)


def save_model(run: Run, tensors: Mapping[str, Tensor], config: Config, coco: Coco, dataset: str) -> str:
    """Write `model.pt` and return its sha256; raise `TrainingError` if there is not enough disk space."""
    content = {
        "model": {name: tensor.cpu() for name, tensor in tensors.items()},
        "name": config.model.name,
        "categories": [[category.id, category.name] for category in coco.categories],
        "min_size": config.image.min_size,
        "max_size": config.image.max_size,
        "dataset": dataset,
        "split": split_facts(config),
    }
    _save(run, MODEL, content)
    return hash_file(run.path(MODEL))


def _save(run: Run, name: str, content: Mapping[str, Any]) -> None:
    check_space(run.folder, _bytes(content) + _AROUND, TrainingError)
    with run.write(name) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch then also fails to close its archive
                raise error.__context__ from None
            raise


def _bytes(value: Any) -> int:
    """Return the size of the tensors in ``value``, bytes."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
