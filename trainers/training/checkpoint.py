"""What a checkpoint is for, and whether a training may resume from it. Each framework writes its own kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainers.config import WITHOUT_EFFECT
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.config import Config

FIX = "set resume to never to start from scratch, or run to another name"  # for a checkpoint that can't be used

_FORM = 4  # of a checkpoint; it changes when older checkpoints can no longer be resumed
_PARTS = {"form", "job", "progress", "state"}
_SHOWN = 10  # keys in an error message


def job_facts(config: Config, dataset: str, split: str, replicas: int) -> dict[str, Any]:
    """Return what must not change when a training resumes: its numbers depend on all of this."""
    facts = {"dataset": dataset, "split": split, "processes": replicas}
    return {"config": config.model_dump(mode="json", exclude=WITHOUT_EFFECT), **facts}


def split_facts(config: Config) -> dict[str, Any]:
    """Return the keys of the configuration that decide which images a model is trained on."""
    return {"seed": config.seed, **_flat(config.data.model_dump(mode="json", exclude={"eval", "eval_images"}), "data.")}


def checkpoint_head(job: Mapping[str, Any], progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every checkpoint has beside the state of its framework: plain values, as in JSON.

    Args:
        job: from `job_facts`.
        progress: from `Progress.to_json`.
    """
    return {"form": _FORM, "job": dict(job), "progress": dict(progress)}


def check_checkpoint(content: Any, path: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the checkpoint at ``path``, with the keys of its head and ``state``.

    Raises:
        TrainingError: it belongs to another job or to another version, or is not a checkpoint.
    """
    if not isinstance(content, Mapping) or not content.keys() >= _PARTS - {"progress", "state"}:
        raise TrainingError("not a checkpoint", where=path, fix=FIX)
    if content["form"] != _FORM or not content.keys() >= _PARTS:
        raise TrainingError("a checkpoint of another version of the trainers", where=path, fix=FIX)
    then, now = _flat(content["job"]), _flat(job)
    differing = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    if not differing:
        return dict(content)
    if "dataset" in differing:
        raise TrainingError(
            "this checkpoint belongs to another dataset",
            where=path,
            expected=now["dataset"],
            found=then["dataset"],
            fix=FIX,
        )
    shown = [f"{key} {now.get(key)!r} was {then.get(key)!r}" for key in differing[:_SHOWN]]
    more = ", ..." if len(differing) > _SHOWN else ""
    raise TrainingError(
        "this checkpoint belongs to another training", where=path, found=", ".join(shown) + more, fix=FIX
    )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their path, as in `train.yml`: ``training.epochs``."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        name = "" if key == "config" else f"{prefix}{key}"
        flat |= _flat(value, f"{name}." if name else "") if isinstance(value, Mapping) else {name: value}
    return flat
