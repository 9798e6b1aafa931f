"""`predict.yml`: the settings of `predict` in a ready-to-run model. Every key has a default: no file is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from trainers.config.file import VARIABLE, load_as
from trainers.config.sections import Below, Count, FolderName, Share, Threads, _Section
from trainers.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT = Path("/safe_data/predict.yml")
TRAINING = Path("/safe_data/train.yml")  # if it is there, `predict` is about the dataset that it names


class Prediction(_Section):
    """The settings of `predict` in a ready-to-run model."""

    images: Below = "."
    """folder of the images, relative to the folder of this file; images in folders below it count too"""

    score: Share = 0.5
    """lowest score of a detection that is written and counted; 0.05 for mAP, which counts low scores too"""

    device: Literal["cuda", "cpu"] = "cuda"
    """with `cuda`, a missing GPU is an error, so that a job never uses a CPU by mistake"""

    batch_size: Count = 8
    """images per batch; if GPU memory runs out, the error says which number to try"""

    workers: Threads | None = None
    """reading threads; by default one for each core that the job may use"""

    detections: Annotated[int, Field(ge=1, le=1000)] = 300
    """maximum number of detections per image"""

    run: FolderName | None = None
    """folder in `/safe_outputs`; by default named after the model, these settings and the images"""

    samples: bool = False
    """`true` puts a few images with their detections into the report; only if governance lets images leave"""


def find_prediction(option: Path | None) -> Path | None:
    """Return the path of the settings: ``--config``, or `VARIABLE`, or `DEFAULT` if it is there; None for defaults."""
    named = option or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    return named or (DEFAULT if DEFAULT.exists() else None)


def load_prediction(path: Path | None, changes: Sequence[str] = ()) -> Prediction:
    """Read the settings, and apply ``changes``, each ``KEY=VALUE`` with a value as in YAML.

    Raises:
        ConfigError: with a line for every mistake in the file, or for the first wrong change.
    """
    settings = Prediction() if path is None else load_as(Prediction, path, DEFAULT)
    for change in changes:
        settings = _changed(settings, change)
    return settings


def _changed(settings: Prediction, change: str) -> Prediction:
    key, equals, text = change.partition("=")
    known = list(Prediction.model_fields)
    where = f"--set {change}"
    if not equals or key not in known:
        raise ConfigError("not a setting", where=where, expected=f"KEY=VALUE, with one of {', '.join(known)}")
    try:
        value: Any = yaml.safe_load(text)
        return Prediction.model_validate({**settings.model_dump(), key: value})
    except yaml.YAMLError as error:
        raise ConfigError("not a value", where=where, found=repr(text)) from error
    except ValidationError as error:
        expected = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise ConfigError("invalid value", where=where, expected=expected, found=repr(text)) from error
