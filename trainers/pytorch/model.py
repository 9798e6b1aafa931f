"""The detectors: those of torchvision, by name, for images that already have the size of the model's input."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from trainers.errors import ConfigError, TrainingError
from trainers.pytorch.inference import is_out_of_memory
from trainers.pytorch.normalize import NormalizeAndPad
from trainers.pytorch.weights import Weights, fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torchvision.models.detection.image_list import ImageList

    from trainers.config import Config
    from trainers.log import Log
    from trainers.training.model_file import TrainedModel

SCORE = 0.05  # lowest score of a detection, the same for all models: COCO's mAP counts low scores too

_STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1")  # of a ResNet, from the last one, as torchvision counts


def build_model(config: Config, classes: int, *, pretrained: bool) -> nn.Module:
    """Build a detector with random weights from ``config.seed``.

    In training mode it takes uint8 images (3, H, W) and targets and returns losses. In evaluation mode it takes images
    and returns a dict for each: boxes (n, 4) x1, y1, x2, y2 in the image's pixels, labels (n,), scores (n,).

    Args:
        config: the model's name, its maximum of detections, the stages to train.
        classes: the number of categories, plus one for the background.
        pretrained: whether weights will be loaded: then the backbone's BatchNorm keeps their statistics, and its first
            stages are frozen. With random weights everything is trained, and each residual block starts as its
            shortcut alone.
    """
    torch.manual_seed(config.seed)
    name, detections = config.model.name, config.model.detections
    if name.startswith("fasterrcnn"):
        limits = {"box_detections_per_img": detections, "box_score_thresh": SCORE}
    else:  # these keep 1,000 candidates per level, the maximum of `detections`
        limits = {"detections_per_img": detections, "score_thresh": SCORE}
    model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=classes, **limits)
    model.transform = NormalizeAndPad()
    body = model.get_submodule("backbone.body")
    if pretrained:
        _freeze(body, config.model.trainable_layers)
    else:
        _start_shallow(body)
    keep_boxes_exact(model)
    return model


def new_model(config: Config, classes: int, weights: Weights | None, device: torch.device, log: Log) -> nn.Module:
    """Build the detector that a training starts with, on its device.

    Args:
        config: which detector.
        classes: the number of categories, plus one for the background.
        weights: its initial weights; None for random ones.
        device: where it is trained.
        log: where the origin of the weights is noted.

    Raises:
        ConfigError: the weights do not fit, or `training.compile` is set and there is no C compiler.
    """
    model = build_model(config, classes, pretrained=weights is not None)
    if weights is not None:
        random = fit(model, weights)
        log.note(
            f"initial weights ({'backbone' if weights.is_backbone else 'detector'}): {weights.path}, {weights.digest}"
        )
        if random:
            log.note(f"they are for other categories, so these layers stay random: {', '.join(random)}")
    return _on_device(model, config, device)


def trained_model(config: Config, trained: TrainedModel, device: torch.device) -> nn.Module:
    """Build the detector of a `model.safetensors` on its device; raise `ConfigError` if its tensors do not fit."""
    model = build_model(config, len(trained.info.categories) + 1, pretrained=True)
    weights = Weights.of_safetensors(trained.file, config.model.name)
    if left := fit(model, weights):
        raise ConfigError("this model does not fit its categories", where=trained.path, found=", ".join(left))
    return _on_device(model, config, device)


def _on_device(model: nn.Module, config: Config, device: torch.device) -> nn.Module:
    order = torch.channels_last if config.training.channels_last else torch.contiguous_format
    try:
        model = model.to(device, memory_format=order)  # type: ignore[call-overload]  # missing in its stubs
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fix = "end what else uses this GPU, or use another one"
        raise TrainingError("out of memory: there is no room for the model", where=device, fix=fix) from error
    if config.training.compile:
        if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
            fix = "set it to false, or use an image with gcc"
            raise ConfigError("training.compile: there is no C compiler here", fix=fix)
        model.get_submodule("backbone").compile(dynamic=True)  # images have many shapes
    return model


def _freeze(body: nn.Module, trainable_layers: int) -> None:
    """Freeze all but the last stages, and the statistics of every BatchNorm.

    torchvision's builders do so only if they download weights themselves, and never for the newer models. The few
    images of a step are too few for statistics.
    """
    trained = (*_STAGES[:trainable_layers], *(("bn1",) if trainable_layers == len(_STAGES) else ()))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    for module in list(body.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, child.eps))


def _start_shallow(body: nn.Module) -> None:
    """Start each residual block as the identity (Goyal et al. 2017).

    A deep backbone with random weights learns much sooner this way. torchvision's ResNets have an option for it, but
    its detectors do not use it.
    """
    for block in body.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)


def keep_boxes_exact(model: nn.Module) -> None:
    """Keep anchors and boxes in float32, whatever the precision of the forward pass.

    torchvision gives them the type of the features. In bfloat16 a coordinate over 1,000 is off by up to 4 pixels.
    """
    for name, module in model.named_modules():
        if name.endswith("anchor_generator"):
            module.register_forward_pre_hook(_float_anchors)
        elif name in {"rpn.head", "roi_heads.box_predictor", "head"}:
            module.register_forward_hook(_float_outputs)


def _float_anchors(_module: nn.Module, inputs: tuple[ImageList, Iterable[Tensor]]) -> tuple[ImageList, list[Tensor]]:
    # the generator uses the shape, the device and the type of the features, not their values
    images, features = inputs
    return images, [feature.new_empty((), dtype=torch.float32).expand(feature.shape) for feature in features]


def _float_outputs(_module: nn.Module, _inputs: object, outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: output.float() for name, output in outputs.items()}
    return type(outputs)(_float_outputs(_module, _inputs, output) for output in outputs)
