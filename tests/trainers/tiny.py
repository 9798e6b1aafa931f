"""A training that takes seconds: a small detector finds squares; everything around it is real."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from tests.trainers.squares import DIGEST, SIDE, squares
from trainers.config import Config
from trainers.evaluation.coco import Evaluator
from trainers.log import Log
from trainers.process import Place
from trainers.pytorch.distributed import TorchGroup
from trainers.pytorch.learner import TorchLearner
from trainers.pytorch.loader import Batch, Loader
from trainers.pytorch.model import keep_boxes_exact
from trainers.pytorch.normalize import NormalizeAndPad
from trainers.run.folder import Run
from trainers.training.checkpoint import split_facts
from trainers.training.loop import Job
from trainers.training.model_file import ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

torch.set_num_threads(1)  # so little work takes longer to share out than to do


def tiny_config(**training: object) -> Config:
    """Make a configuration for a few steps on the CPU."""
    return Config.model_validate(
        {
            "dataset": "squares/v1",
            "digest": DIGEST,
            "device": "cpu",
            "image": {"min_size": SIDE, "max_size": SIDE},
            "training": {"epochs": 2, "batch_size": 2, "warmup_steps": 2, **training},
            "evaluation": {"batch_size": 2},
        }
    )


class Backbone(nn.Module):
    """Three convolutions with BatchNorm, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = 16
        widths = (3, 16, 16, 16)
        blocks = (
            (nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in itertools.pairwise(widths)
        )
        self.body = nn.Sequential(*(layer for block in blocks for layer in block))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return OrderedDict({"0": self.body(images)})


def tiny_detector(seed: int = 0) -> nn.Module:
    """Make a Faster R-CNN, which samples its proposals at random in each training step."""
    torch.manual_seed(seed)
    model = FasterRCNN(
        Backbone(),
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, 32), nn.ReLU()),
        box_predictor=_Predictor(),
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=50,
        rpn_batch_size_per_image=16,
        box_batch_size_per_image=16,
    )
    model.transform = NormalizeAndPad()
    keep_boxes_exact(model)
    return model


class _Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(32, 3), nn.Linear(32, 12)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


def tiny_info(config: Config) -> ModelInfo:
    """Describe the model of such a job."""
    return ModelInfo(
        framework="pytorch",
        name=config.model.name,
        categories=((3, "red"), (8, "green")),
        min_size=config.image.min_size,
        max_size=config.image.max_size,
        reference="squares@v1",
        digest=DIGEST,
        split=split_facts(config),
    )


def tiny_job(
    folder: Path, config: Config | None = None, group: TorchGroup | None = None, count: int = 10
) -> Job[Batch]:
    """Make a job whose run is in ``folder``: 6 of 10 images to train on, 4 to validate on."""
    config = config or tiny_config()
    group = group or TorchGroup(Place(), torch.device("cpu"))
    coco, pixels = squares(count)
    training, validation = np.arange(count - 4), np.arange(count - 4, count)
    place = group.place
    rest = {"workers": 2, "device": group.device, "rank": place.rank, "world": place.world}
    folder.mkdir(exist_ok=True)
    run = Run(folder / "run")
    if place.is_first:
        run.open()
    return Job(
        config=config,
        coco=coco,
        model=tiny_info(config),
        split="0123abcd",
        learner=TorchLearner(tiny_detector(config.seed), config, group),
        training=Loader(
            coco, pixels, training, batch_size=config.training.batch_size, seed=config.seed, shuffle=True, **rest
        ),
        validation=Loader(coco, pixels, validation, batch_size=config.evaluation.batch_size, shuffle=False, **rest),
        evaluator=lambda: Evaluator(coco, validation, pixels.sizes),
        run=run,
        checkpoint="checkpoint.pt",
        log=Log(quiet=not place.is_first),
        group=group,
        started=time.monotonic(),
    )
