"""A detector at work: batches in, detections out, through one compiled function for all sizes of images."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from trainers.keras.anchors import LEVELS, anchors_of, make_generator
from trainers.keras.detections import select
from trainers.keras.model import normalized
from trainers.training.memory import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.keras.batches import Batch, Part
    from trainers.keras.devices import Devices

IMAGES = (
    tf.TensorSpec((None, None, None, 3), tf.uint8),  # images
    tf.TensorSpec((None, 2), tf.int32),  # their heights and widths
    tf.TensorSpec((None, 4), tf.float32),  # anchors
)

_KEPT = 64  # sizes of batches whose anchors are kept


@functools.lru_cache(_KEPT)
def cached_anchors(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the anchors of a batch of this size, and their number in each level."""
    return anchors_of(make_generator(), height, width)


class KerasDetector:
    """Runs a model on batches.

    The function is traced once, with open sizes: a new one for each size of images would take seconds every time.
    """

    def __init__(self, model: Any, config: Config, devices: Devices) -> None:
        self.config, self.devices, self._model = config, devices, model
        counts = tf.TensorSpec((len(LEVELS),), tf.int32)
        self._select = compiled(self._select_all, [[(*IMAGES, counts)] * devices.replicas])

    @contextlib.contextmanager
    def detecting(self) -> Iterator[None]:
        """Turn a lack of memory into an error that says which batch size to try."""
        with memory_errors("evaluation.batch_size", self.config.evaluation.batch_size):
            yield

    def detect(self, batch: Batch) -> list[Mapping[str, NDArray[Any]]]:
        """Return the detections in each image, with their boxes in its pixels."""
        found: dict[int, Mapping[str, NDArray[Any]]] = {}
        results = self._select([_inputs(part) for part in batch.parts])
        for part, result in zip(batch.parts, results, strict=True):
            rows = zip(part.indices, *(values.numpy() for values in result), strict=True)
            for index, boxes, labels, scores, count in rows:
                found[index] = {"boxes": boxes[:count], "labels": labels[:count], "scores": scores[:count]}
        return [found[index] for index in batch.indices]

    def _select_all(self, parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return run_replicas(self.devices.strategy, self._select_part, parts)

    def _select_part(self, images: Any, sizes: Any, anchors: Any, counts: Any) -> tuple[Any, ...]:
        outputs = self._model(normalized(images, sizes), training=False)
        return select(outputs, anchors, counts, sizes, self.config.model.detections)


def _inputs(part: Part) -> tuple[Any, ...]:
    return part.images, part.sizes, *cached_anchors(*part.images.shape[1:3])


def compiled(function: Any, signature: list[Any]) -> Any:
    """Compile a function for tensors of these shapes and types."""
    # no code has to be translated, which would need a writable /tmp
    return tf.function(function, input_signature=signature, autograph=False)


def run_replicas(strategy: Any, function: Any, parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Call a function with each part, on the device of the part's copy of the model; return its tensors for each.

    To be used within `tf.function`.
    """
    if len(parts) == 1:
        return [function(*parts[0])]

    def run() -> tuple[Any, ...]:
        place = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
        results: tuple[Any, ...] = function(*parts[int(place)])
        return results

    columns = [strategy.experimental_local_results(values) for values in strategy.run(run)]
    return list(zip(*columns, strict=True))


@contextlib.contextmanager
def memory_errors(key: str, batch_size: int) -> Iterator[None]:
    """If memory runs out, of the GPU or of the machine, raise `TrainingError` that says which batch size to try."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise out_of_memory(key, batch_size) from error
    except MemoryError as error:
        raise out_of_memory(key, batch_size) from error
