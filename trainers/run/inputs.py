"""The files that a run starts from: first weights, a checkpoint, a trained model.

They are found before the data is checked; the framework reads them afterwards.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from trainers.errors import ConfigError
from trainers.run.folder import MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.run.folder import Run

VARIABLE = "TRAINERS_WEIGHTS"  # the folder of the bag in the image that holds a ResNet-50

_SHOWN = 10  # file names in an error message


@dataclass(frozen=True)
class Start:
    """What a training starts from."""

    time: float  # when the job began, on time.monotonic's clock
    weights: Path | None  # None: random
    checkpoint: Path | None  # None: a new training


def find_weights(weights: str, folder: Path, kinds: Sequence[str]) -> Path | None:
    """Return the file that the configuration's `model.weights` names, or None for random weights.

    Args:
        weights: ``imagenet``, ``random``, or a path.
        folder: what a relative path is relative to.
        kinds: patterns of the files that an image may have; a whole name stands for the folder of such a file, which
            `model.weights` can name too.

    Raises:
        ConfigError: there is no such file.
    """
    if weights == "random":
        return None
    if weights == "imagenet":
        return _in_image(kinds)
    path = folder / weights
    if any(_is_whole(kind) and (path / kind).is_file() for kind in kinds):
        return path
    if not path.is_file():
        found = "no regular file" if path.exists() else "nothing there"
        raise ConfigError("there are no weights", where=path, found=found, fix="correct model.weights")
    return path


def _in_image(kinds: Sequence[str]) -> Path:
    fix = f"set model.weights to a path or to random, or {VARIABLE} to the folder of a bag; PyTorch images have some"
    bag = os.environ.get(VARIABLE)
    if not bag:
        raise ConfigError("this image has no weights", where="model.weights: imagenet", fix=fix)
    found = {path for kind in kinds for path in (Path(bag) / PAYLOAD).rglob(kind)}
    files = sorted(path for path in found if path.is_file())
    if len(files) != 1:
        raise ConfigError(
            "the weights of this image are ambiguous",
            where=Path(bag) / PAYLOAD,
            expected=f"one file {' or '.join(kinds)}",
            found=", ".join(path.name for path in files[:_SHOWN]) or "none",
            fix=fix,
        )
    return files[0].parent if files[0].name in kinds else files[0]


def _is_whole(kind: str) -> bool:
    return "*" not in kind


def find_checkpoint(resume: str | None, run: Run, folder: Path, name: str) -> Path | None:
    """Return the checkpoint that the configuration's `resume` names, or None to start from scratch.

    Args:
        resume: ``auto``, ``never``, or a path.
        run: the run whose own checkpoint ``auto`` means.
        folder: what a relative path is relative to.
        name: of the run's own checkpoint: each framework has its own kind of file.

    Raises:
        ConfigError: there is no file at that path.
    """
    if resume in {None, "never"}:
        return None
    path = run.path(name) if resume == "auto" else folder / str(resume)
    if path.is_file():
        return path
    if resume == "auto" and not path.exists():
        return None
    raise ConfigError(
        "there is no checkpoint", where=path, fix="correct resume, or set it to never to start from scratch"
    )


def find_model(model: str | None, run: Run, folder: Path) -> Path:
    """Return the `model.safetensors` that the configuration's `evaluation.model` names; by default the run's own.

    Raises:
        ConfigError: there is no such file, or its results would replace those of this run's own model.
    """
    own = run.path(MODEL)
    path = own if model is None else folder / model
    if not path.is_file():
        fix = (
            "train first, or set evaluation.model to a model.safetensors"
            if model is None
            else "correct evaluation.model"
        )
        raise ConfigError("there is no model", where=path, fix=fix)
    if own.is_file() and not own.samefile(path):
        raise ConfigError(
            "evaluation.model is not the model of this run, whose own results would be lost",
            where=path,
            expected=own,
            fix="give the configuration another 'run', or remove evaluation.model",
        )
    return path
