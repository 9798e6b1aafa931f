"""The detectors: torchvision's, by name, for images that have the model's size already."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from trainers.errors import ConfigError
from trainers.pytorch.normalize import Prepare
from trainers.pytorch.weights import fit, read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torchvision.models.detection.image_list import ImageList

    from trainers.config import Config
    from trainers.log import Log
    from trainers.pytorch.checkpoint import TrainedModel

SCORE = 0.05  # least score of a detection, for all models alike: COCO's mean precision counts the low ones too

_STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1")  # of a ResNet, from the last; as torchvision counts them


def build_model(config: Config, classes: int, *, pretrained: bool) -> nn.Module:
    """Make a detector with the random weights of ``config.seed``.

    In training it takes uint8 images (3, H, W) and targets and gives losses; else it takes images and gives a
    dict an image: boxes (n, 4) x1, y1, x2, y2 in the image's pixels, labels (n,), scores (n,).

    Args:
        config: the model's name, its most detections, the stages that are trained.
        classes: how many categories there are, and one for the background.
        pretrained: weights will be copied in: the backbone's BatchNorm keeps their statistics, and its first stages
            are not trained. With random weights all is trained, and each residual block begins as no more than its
            shortcut.
    """
    torch.manual_seed(config.seed)
    name, detections = config.model.name, config.model.detections
    if name.startswith("fasterrcnn"):
        limits = {"box_detections_per_img": detections, "box_score_thresh": SCORE}
    else:  # they look at 1,000 candidates a level, which is as many as `detections` can be
        limits = {"detections_per_img": detections, "score_thresh": SCORE}
    model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=classes, **limits)
    model.transform = Prepare()
    body = model.get_submodule("backbone.body")
    if pretrained:
        _freeze(body, config.model.trainable_layers)
    else:
        _start_shallow(body)
    keep_boxes_exact(model)
    return model


def first_model(config: Config, classes: int, path: Path | None, device: torch.device, log: Log) -> nn.Module:
    """Make the detector that a training begins with, on its device.

    Args:
        config: which detector.
        classes: how many categories there are, and one for the background.
        path: the file of its first weights, None for random ones.
        device: where it is trained.
        log: where it says which weights these are.

    Raises:
        ConfigError: the weights do not fit; or the backbone is to be compiled, and there is no compiler.
    """
    model = build_model(config, classes, pretrained=path is not None)
    if path is not None:
        weights = read(path, config.model.name)
        random = fit(model, weights)
        log.note(f"weights of {'a backbone' if weights.is_backbone else 'a detector'}: {path}, {weights.digest}")
        if random:
            log.note(f"it has other categories, so these stay random: {', '.join(random)}")
    return _placed(model, config, device)


def trained_model(config: Config, trained: TrainedModel, device: torch.device) -> nn.Module:
    """Make the detector of a `model.pt`, on its device; raise `ConfigError` where it is not of this configuration."""
    own = {"model.name": config.model.name, "image.min_size": config.image.min_size}
    own["image.max_size"] = config.image.max_size
    theirs = dict(zip(own, (trained.name, trained.min_size, trained.max_size), strict=True))
    if own != theirs:
        expected, found = (", ".join(f"{key} {value}" for key, value in facts.items()) for facts in (own, theirs))
        raise ConfigError("this model.pt is of another configuration", expected=expected, found=found)
    model = build_model(config, len(trained.categories) + 1, pretrained=True)
    if left := fit(model, trained.weights):
        raise ConfigError(
            "this model.pt does not fit its categories", where=trained.weights.path, found=", ".join(left)
        )
    return _placed(model, config, device)


def _placed(model: nn.Module, config: Config, device: torch.device) -> nn.Module:
    order = torch.channels_last if config.training.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=order)  # type: ignore[call-overload]  # its stubs know it not
    if config.training.compile:
        if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
            fix = "set it to false, or use an image with gcc"
            raise ConfigError("training.compile: there is no C compiler here", fix=fix)
        model.get_submodule("backbone").compile(dynamic=True)  # images have many shapes
    return model


def _freeze(body: nn.Module, trainable_layers: int) -> None:
    """Keep all but the last stages as they are, and the statistics of every BatchNorm.

    torchvision's builders do so only where they download weights themselves, and never for the newer models. A few
    images a step are too few for statistics.
    """
    trained = (*_STAGES[:trainable_layers], *(("bn1",) if trainable_layers == len(_STAGES) else ()))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    for module in list(body.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, child.eps))


def _start_shallow(body: nn.Module) -> None:
    """Let each residual block give what it got, until training has found something to add (Goyal et al. 2017).

    A deep backbone with random weights learns much sooner so; torchvision's ResNets can be made like this, but its
    detectors do not ask for it.
    """
    for block in body.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)


def keep_boxes_exact(model: nn.Module) -> None:
    """Let anchors and boxes be float32 whatever the precision of the forward pass.

    torchvision takes the type of the features for them. In bfloat16 a coordinate over 1,000 is off by up to 4 pixels.
    """
    for name, module in model.named_modules():
        if name.endswith("anchor_generator"):
            module.register_forward_pre_hook(_float_anchors)
        elif name in {"rpn.head", "roi_heads.box_predictor", "head"}:
            module.register_forward_hook(_float_outputs)


def _float_anchors(_module: nn.Module, inputs: tuple[ImageList, Iterable[Tensor]]) -> tuple[ImageList, list[Tensor]]:
    # the generator looks at the shape, the device and the type of the features, not into them
    images, features = inputs
    return images, [feature.new_empty((), dtype=torch.float32).expand(feature.shape) for feature in features]


def _float_outputs(_module: nn.Module, _inputs: object, outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: output.float() for name, output in outputs.items()}
    return type(outputs)(_float_outputs(_module, _inputs, output) for output in outputs)
