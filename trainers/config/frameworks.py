"""The frameworks: which models each has, and what differs between them before either is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PyTorchModel = Literal[
    "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"
]
KerasModel = Literal["retinanet_resnet50_fpn_keras", "retinanet_resnet18_fpn_keras"]
Model = Literal[PyTorchModel, KerasModel]

PRESET_WEIGHTS = "model.weights.h5"  # the file in the folder of a preset of KerasHub


@dataclass(frozen=True)
class Framework:
    """A framework that detectors are trained with."""

    name: str  # in model.safetensors
    title: str  # for people
    jobs: str  # the module of its jobs
    checkpoint: str  # the file of its checkpoints
    weights: tuple[str, ...]  # the weights files that an image may have, as `trainers.run.inputs` takes them
    install: str  # the command that installs it in a clone of the project


PYTORCH = Framework(
    "pytorch", "PyTorch", "trainers.pytorch.jobs", "checkpoint.pt", ("*.safetensors", "*.pth"), "pip install '.[train]'"
)
KERAS = Framework(
    "keras",
    "TensorFlow",
    "trainers.keras.jobs",
    "checkpoint.safetensors",
    ("*.safetensors", PRESET_WEIGHTS),
    "make .venv/tf",
)


def framework_of(model: str) -> Framework:
    """Return the framework of ``model.name``."""
    return KERAS if model in get_args(KerasModel) else PYTORCH
