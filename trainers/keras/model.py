"""The detectors: KerasHub's RetinaNet with a ResNet and a feature pyramid, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from trainers.keras.anchors import LEVELS, make_generator

if TYPE_CHECKING:
    from trainers.config import Config

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's red, green and blue from 0 to 1, which the backbones were trained with
STD = (0.229, 0.224, 0.225)

_SCALE = (1 / (255 * np.array(STD))).astype(np.float32)
_SHIFT = (-np.array(MEAN) / np.array(STD)).astype(np.float32)
_FILTERS = [64, 128, 256, 512]  # of a ResNet's stages, before the expansion of a bottleneck
_STRIDES = [1, 2, 2, 2]
_SPREAD = 0.01  # standard deviation of a head's first weights, as in the paper (Lin et al. 2017)
_PRIOR = 0.01  # what a new head says of each anchor and category: nearly all of them are background
_EPSILON = 1e-5  # of the heads' group norms, as in torchvision


@dataclass(frozen=True)
class Backbone:
    """A ResNet."""

    block: str  # KerasHub's name of its kind of block
    blocks: tuple[int, ...]  # in each stage
    last_norm: str  # the end of the name of a block's last norm


BACKBONES = {
    "retinanet_resnet18_fpn_keras": Backbone("basic_block", (2, 2, 2, 2), "_2_bn"),
    "retinanet_resnet50_fpn_keras": Backbone("bottleneck_block", (3, 4, 6, 3), "_3_bn"),
}


def build_model(config: Config, categories: int, policy: str, *, pretrained: bool) -> Any:
    """Build a detector with random weights from ``config.seed``.

    It takes normalised images (N, H, W, 3), H and W multiples of 32, and returns ``cls_logits`` (N, A, categories) and
    ``bbox_regression`` (N, A, 4) for the A anchors of `trainers.keras.anchors`.

    Args:
        config: the model's name, the stages to train.
        categories: their number; the background is none.
        policy: the precision of the forward pass, by Keras's name.
        pretrained: whether weights will be loaded: then the backbone's BatchNorm keeps their statistics, and its first
            stages are frozen. With random weights everything is trained, and each residual block starts as its
            shortcut alone.
    """
    keras.utils.set_random_seed(config.seed)
    backbone = BACKBONES[config.model.name]
    resnet = keras_hub.models.ResNetBackbone(
        [64], [7], _FILTERS, list(backbone.blocks), _STRIDES, backbone.block, dtype=policy
    )
    pyramid = keras_hub.models.RetinaNetBackbone(resnet, LEVELS[0], LEVELS[-1], use_p5=True, dtype=policy)
    model = keras_hub.models.RetinaNetObjectDetector(
        pyramid,
        categories,
        bounding_box_format="xyxy",
        anchor_generator=make_generator(),
        use_prediction_head_norm=True,
        dtype=policy,
    )
    _start_heads(model, config.seed)
    if pretrained:
        _freeze(resnet, config.model.trainable_layers)
    else:
        _start_shallow(resnet, backbone)
    return model


def _start_heads(model: Any, seed: int) -> None:
    """Start the heads as the paper does.

    KerasHub starts them with five times larger weights, and gives the prior probability of a category to the head of
    boxes instead: the first boxes are then off by five anchors, and the focal loss starts at half of all anchors.
    """
    draw = np.random.default_rng([seed, len(model.variables)])
    for head in (model.box_head, model.classification_head):
        for layer in (*head.conv_layers, head.prediction_layer):
            layer.kernel.assign(draw.normal(0, _SPREAD, layer.kernel.shape).astype(np.float32))
        for norm in head.group_norm_layers:
            norm.epsilon = _EPSILON
        bias = head.prediction_layer.bias
        prior = -math.log((1 - _PRIOR) / _PRIOR) if head is model.classification_head else 0.0
        bias.assign(np.full(bias.shape, prior, np.float32))


def _start_shallow(resnet: Any, backbone: Backbone) -> None:
    """Start each residual block as the identity (Goyal et al. 2017): random weights learn much sooner this way."""
    for layer in resnet.layers:
        if layer.name.endswith(backbone.last_norm):
            layer.gamma.assign(np.zeros(layer.gamma.shape, np.float32))


def _freeze(resnet: Any, trainable_layers: int) -> None:
    """Freeze all but the last stages, and the statistics of every BatchNorm, with its factors.

    The few images of a step are too few for statistics.
    """
    trained = ("stack3", "stack2", "stack1", "stack0", "conv1")[:trainable_layers]
    for layer in resnet.layers:
        layer.trainable = layer.name.startswith(trained) and not isinstance(layer, keras.layers.BatchNormalization)


def normalized(images: Any, sizes: Any) -> Any:
    """Turn uint8 images (N, H, W, 3) into float32: (x / 255 - mean) / std, with zeros around each image.

    Args:
        images: each in the upper left corner, with zeros around it.
        sizes: int32 (N, 2), height and width of each image.
    """
    number, height, width, _ = tf.unstack(tf.shape(images))
    rows = tf.cast(tf.range(height)[None, :] < sizes[:, 0, None], tf.float32)
    columns = tf.cast(tf.range(width)[None, :] < sizes[:, 1, None], tf.float32)
    # whole rows at once: an operation with three numbers per pixel takes three times as long on a CPU
    shift = tf.reshape(columns[:, :, None] * _SHIFT, (number, 1, width * 3))
    pixels = tf.reshape(tf.cast(images, tf.float32), (number, height, width * 3))
    pixels = pixels * tf.tile(_SCALE, (width,)) + rows[:, :, None] * shift
    return tf.reshape(pixels, (number, height, width, 3))


def tensors(model: Any) -> dict[str, Any]:
    """Return the variables of a model by name: the weights, and the statistics of the norms."""
    return {variable.path: variable for variable in model.variables}
