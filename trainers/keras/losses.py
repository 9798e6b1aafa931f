"""The losses of a RetinaNet, as torchvision defines them for its `retinanet_resnet50_fpn_v2`.

KerasHub's `compute_loss` is not used: it needs `Model.fit`, which has no place for our loop, and it divides by the
positive anchors of the whole batch, so that a batch without boxes trains nothing, not even the background.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainers.keras.anchors import area, assign, decode

_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss (Lin et al. 2017)
_TINY = 1e-7


def detection_losses(outputs: dict[str, Any], anchors: Any, boxes: Any, labels: Any, counts: Any) -> dict[str, Any]:
    """Return the losses of a batch: the mean over its images of sums over anchors, per positive anchor.

    Args:
        outputs: of the detector: ``cls_logits`` (N, A, K) and ``bbox_regression`` (N, A, 4).
        anchors: float32 (A, 4), x1 y1 x2 y2 in pixels.
        boxes: float32 (N, M, 4); of each image only the first ``counts`` are boxes.
        labels: int32 (N, M), from 1.
        counts: int32 (N,).
    """
    # float32: in half precision a coordinate over 1,000 is off by pixels, and rare categories' losses vanish
    logits, deltas = (tf.cast(outputs[name], tf.float32) for name in ("cls_logits", "bbox_regression"))
    target, label = tf.map_fn(  # one image at a time: overlaps of anchors and boxes are the largest tensors of all
        lambda image: assign(anchors, *image),
        (boxes, labels, counts),
        fn_output_signature=(tf.float32, tf.int32),
        parallel_iterations=1,
    )
    positive = label > 0
    anchors_found = tf.maximum(tf.reduce_sum(tf.cast(positive, tf.float32), 1), 1.0)  # 1: an image without boxes
    focal = tf.reduce_sum(_focal(logits, tf.one_hot(label - 1, logits.shape[-1])), 2)
    classification = tf.reduce_sum(tf.where(label >= 0, focal, 0.0), 1) / anchors_found
    # the loss of a background's zeros is finite, so that `where` lets no NaN into the gradient
    regression = tf.reduce_sum(tf.where(positive, _giou(decode(anchors, deltas), target), 0.0), 1) / anchors_found
    return {"classification": tf.reduce_mean(classification), "bbox_regression": tf.reduce_mean(regression)}


def _focal(logits: Any, target: Any) -> Any:
    probability = tf.sigmoid(logits)
    error = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    hit = probability * target + (1 - probability) * (1 - target)
    return (_ALPHA * target + (1 - _ALPHA) * (1 - target)) * error * (1 - hit) ** _GAMMA


def _giou(boxes: Any, target: Any) -> Any:
    """Return 1 minus the generalised intersection over union of pairs of boxes (..., 4)."""
    start, end = tf.maximum(boxes[..., :2], target[..., :2]), tf.minimum(boxes[..., 2:], target[..., 2:])
    shared = tf.reduce_prod(tf.maximum(end - start, 0.0), -1)
    union = area(boxes) + area(target) - shared
    around = tf.maximum(boxes[..., 2:], target[..., 2:]) - tf.minimum(boxes[..., :2], target[..., :2])
    hull = tf.reduce_prod(around, -1)
    return 1 - shared / (union + _TINY) + (hull - union) / (hull + _TINY)
