"""The devices of a job: the cores that it may use, or all GPUs, each with a copy of the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from trainers.errors import ConfigError, TrainingError
from trainers.process import cores

if TYPE_CHECKING:
    from trainers.config import TrainingSection
    from trainers.process import Place

_BFLOAT16 = (8, 0)  # compute capability of the first GPUs that are fast in it
_MOST_THREADS = 1024
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True)
class Devices:
    """What TensorFlow computes on."""

    strategy: Any  # tf.distribute.Strategy
    gpus: tuple[Any, ...]  # the physical devices; empty: the CPU

    @property
    def replicas(self) -> int:
        """The copies of the model; each takes a batch of its own."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def name(self) -> str:
        """What the report calls them."""
        return f"cuda ({len(self.gpus)} GPUs)" if len(self.gpus) > 1 else "cuda" if self.gpus else "cpu"

    @property
    def gpu(self) -> str | None:
        """The name of the first GPU."""
        if not self.gpus:
            return None
        return str(tf.config.experimental.get_device_details(self.gpus[0]).get("device_name", "a GPU"))

    def policy(self, section: TrainingSection) -> str:
        """Return Keras's name for the precision of the forward pass; weights are float32 in all of them."""
        chosen = section.precision
        if chosen == "auto":
            able = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in self.gpus]
            fast = all(capability is not None and tuple(capability) >= _BFLOAT16 for capability in able)
            chosen = ("bfloat16" if fast else "float16") if self.gpus else "float32"
        return _POLICIES[chosen]


def open_devices(name: str, place: Place) -> Devices:
    """Prepare the devices of this process.

    Args:
        name: ``cuda`` or ``cpu``.
        place: of this process, which must be the only one.

    Raises:
        ConfigError: there are several processes.
        TrainingError: there is no GPU.
    """
    if place.world > 1:
        fix = "start the program without torchrun: one process uses all GPUs of its node"
        raise ConfigError("TensorFlow's detectors train in one process", found=f"{place.world} processes", fix=fix)
    _limit_threads()
    if name == "cpu":
        tf.config.set_visible_devices([], "GPU")
        # the same sums in the same order; on a GPU some operations have no such form, and would fail
        tf.config.experimental.enable_op_determinism()
        return Devices(tf.distribute.get_strategy(), ())
    gpus = tuple(tf.config.list_physical_devices("GPU"))
    if not gpus:
        fix = "start it with ces-gpu-run, in an image with CUDA, or set device to cpu"
        raise TrainingError("there is no GPU", expected="at least 1 GPU", found="0 GPUs", fix=fix)
    for gpu in gpus:  # or TensorFlow takes all memory at once, and other programs on the GPU get none
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    return Devices(strategy, gpus)


def _limit_threads() -> None:
    """Let TensorFlow use the cores that the job may use, as `trainers.process.tune_process` counts them.

    By default it starts a thread for each core of the machine, whatever the limits of the container.
    """
    set_by_hand = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(set_by_hand) if set_by_hand.isdecimal() and 0 < int(set_by_hand) <= _MOST_THREADS else cores()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow runs already, with the threads of an earlier job in this process
        return
