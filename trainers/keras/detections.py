"""From the outputs of a RetinaNet to detections, as torchvision does it.

KerasHub's `NonMaxSuppression` is not used: it keeps one category per anchor, and lets an object of one category
suppress one of another.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainers.keras.anchors import LEVELS, decode

SCORE = 0.05  # lowest score of a detection, as in PyTorch: COCO's mAP counts low scores too

_CANDIDATES = 1000  # per level
_OVERLAP = 0.5  # with a better detection of the same category, above which one is dropped


def select(outputs: dict[str, Any], anchors: Any, counts: Any, sizes: Any, most: int) -> tuple[Any, Any, Any, Any]:
    """Select the detections of each image of a batch.

    Args:
        outputs: of the detector: ``cls_logits`` (N, A, K) and ``bbox_regression`` (N, A, 4).
        anchors: float32 (A, 4).
        counts: int32 (levels,): the anchors of each level.
        sizes: int32 (N, 2): height and width of each image without its padding.
        most: the maximum of detections per image.

    Returns:
        Boxes (N, most, 4), labels (N, most) from 1, scores (N, most) and how many of them are detections (N,).
    """
    logits, deltas = (tf.cast(outputs[name], tf.float32) for name in ("cls_logits", "bbox_regression"))
    lengths = tf.unstack(counts, len(LEVELS))

    def select_one(image: tuple[Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        own_logits, own_deltas, size = image
        parts = zip(*(tf.split(values, lengths) for values in (own_logits, own_deltas, anchors)), strict=True)
        columns = zip(*(_candidates(*part) for part in parts), strict=True)
        return _suppressed(*(tf.concat(column, 0) for column in columns), size=size, most=most)

    kinds = (tf.float32, tf.int32, tf.float32, tf.int32)
    boxes, labels, scores, found = tf.map_fn(
        select_one, (logits, deltas, sizes), fn_output_signature=kinds, parallel_iterations=1
    )
    return boxes, labels, scores, found


def _suppressed(boxes: Any, labels: Any, scores: Any, *, size: Any, most: int) -> tuple[Any, Any, Any, Any]:
    """Drop candidates of one image that a better one of their category overlaps; fill up with zeros to ``most``."""
    limits = tf.cast(tf.gather(size, [1, 0, 1, 0]), tf.float32)
    boxes = tf.clip_by_value(boxes, 0.0, limits)
    # each category in a place of its own, so that none suppresses another
    moved = boxes + tf.cast(labels, tf.float32)[:, None] * (tf.reduce_max(limits) + 1)
    kept = tf.image.non_max_suppression(moved, scores, most, _OVERLAP)
    count = tf.size(kept)
    labels, scores = (tf.pad(tf.gather(values, kept), [[0, most - count]]) for values in (labels, scores))
    return tf.pad(tf.gather(boxes, kept), [[0, most - count], [0, 0]]), labels, scores, count


def _candidates(logits: Any, deltas: Any, anchors: Any) -> tuple[Any, Any, Any]:
    """Return the boxes, labels and scores of the best pairs of an anchor and a category, in one level."""
    categories = logits.shape[-1]
    all_scores = tf.reshape(tf.sigmoid(logits), [-1])
    scores, chosen = tf.math.top_k(all_scores, tf.minimum(_CANDIDATES, tf.size(all_scores)))
    enough = scores > SCORE
    scores, chosen = tf.boolean_mask(scores, enough), tf.boolean_mask(chosen, enough)
    places = chosen // categories
    return decode(tf.gather(anchors, places), tf.gather(deltas, places)), chosen % categories + 1, scores
