"""Anchors: the boxes that a RetinaNet starts from, how an image's boxes are assigned to them, and back to boxes.

The definitions are torchvision's, so that weights and losses can be compared. KerasHub's own `RetinaNetLabelEncoder` is
not used: a box that overlaps no anchor by half has none there, so small objects are never learned, and its option
against that assigns the first anchor to the padding of a batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras_hub
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = range(3, 8)  # of the feature pyramid: one cell is 2 ** level pixels wide
RATIOS = (0.5, 1.0, 2.0)  # height / width
SCALES = 3  # per octave
PER_CELL = SCALES * len(RATIOS)

_SIZE = 4  # of the smallest anchor of a level, in cells
_POSITIVE, _NEGATIVE = 0.5, 0.4  # overlap with a box; between the two an anchor is not trained
_LARGEST = math.log(1000 / 16)  # of the logarithm of a side's growth, as in torchvision: exp must stay finite


def make_generator() -> Any:
    """Make KerasHub's generator of anchors with these sizes."""
    return keras_hub.layers.AnchorGenerator("xyxy", LEVELS[0], LEVELS[-1], SCALES, list(RATIOS), _SIZE)


def anchors_of(generator: Any, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the anchors (A, 4) of a batch of this size, x1 y1 x2 y2 in pixels, and their number in each level."""
    levels = [anchors.numpy() for anchors in generator(tf.zeros((height, width, 1))).values()]
    return np.concatenate(levels), np.array([len(level) for level in levels], np.int32)


def assign(anchors: Any, boxes: Any, labels: Any, count: Any) -> tuple[Any, Any]:
    """Assign the boxes of one image to anchors.

    Args:
        anchors: float32 (A, 4).
        boxes: float32 (M, 4); only the first ``count`` are boxes, the others are padding.
        labels: int32 (M,), from 1.
        count: int32 scalar.

    Returns:
        The box (A, 4) and the label (A,) of each anchor; the label is 0 for the background, and -1 where the anchor is
        neither. Each box has the anchors that overlap it most, even if that is little.
    """
    boxes, labels = boxes[:count], labels[:count]
    overlap = _overlap(anchors, boxes)
    # a column more, for an image without boxes
    padded = tf.pad(overlap, [[0, 0], [0, 1]], constant_values=-1.0)
    best, chosen = tf.reduce_max(padded, 1), tf.argmax(padded, 1, output_type=tf.int32)
    highest = tf.reduce_max(overlap, 0)
    needed = tf.reduce_any((overlap == highest) & (highest > 0), 1)
    positive = (best >= _POSITIVE) | needed
    label = tf.gather(tf.pad(labels, [[0, 1]]), chosen)
    background = tf.where(best < _NEGATIVE, 0, -1)
    return tf.gather(tf.pad(boxes, [[0, 1], [0, 0]]), chosen), tf.where(positive, label, background)


def _overlap(anchors: Any, boxes: Any) -> Any:
    """Return the intersection over union of each anchor (A, 4) with each box (M, 4): (A, M)."""
    start = tf.maximum(anchors[:, None, :2], boxes[None, :, :2])
    end = tf.minimum(anchors[:, None, 2:], boxes[None, :, 2:])
    shared = tf.reduce_prod(tf.maximum(end - start, 0.0), -1)
    return shared / (area(anchors)[:, None] + area(boxes)[None, :] - shared)


def area(boxes: Any) -> Any:
    """Return the areas of boxes (..., 4)."""
    return tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], -1)


def decode(anchors: Any, deltas: Any) -> Any:
    """Return the boxes (..., 4) that a head means by its numbers: a shift in anchors' sides, and logarithms of growth.

    KerasHub's `decode_deltas_to_boxes` has no limit for it, and an untrained detector overflows.
    """
    size = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + size / 2 + deltas[..., :2] * size
    half = tf.exp(tf.minimum(deltas[..., 2:], _LARGEST)) * size / 2
    return tf.concat([centre - half, centre + half], -1)
