"""TensorFlow starts quietly, needs no home, and uses the devices that it is told to."""

import os
import subprocess
import sys

import pytest

from tests.trainers.havens import PROJECT
from trainers.config import Config
from trainers.errors import ConfigError, TrainingError
from trainers.keras.devices import open_devices
from trainers.process import Place


def run(code, **environment):
    """Run code in a new process; return its standard output and standard error."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "KERAS_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_the_import_is_quiet_and_needs_no_home(tmp_path):
    """Nothing is written to the log, and the user's keras.json is neither read nor changed."""
    home = tmp_path / ".keras"
    home.mkdir()
    (home / "keras.json").write_text('{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"}')
    code = """
import trainers.keras, keras, tensorflow as tf
from trainers.keras.devices import open_devices
from trainers.process import Place
open_devices("cpu", Place())
print(tf.reduce_sum(tf.ones(3)).numpy(), keras.config.backend())
print(keras.config.image_data_format(), keras.config.floatx())
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
"""
    out, err = run(code, HOME=str(tmp_path), OMP_NUM_THREADS="3")
    assert out == "3.0 tensorflow\nchannels_last float32\n3 3\n"
    assert err == ""
    assert [path.name for path in home.iterdir()] == ["keras.json"]


def test_no_gpu_and_several_processes_are_clear_errors():
    """`device: cuda` without a GPU, and a start by torchrun, are each one line that says what to do."""
    with pytest.raises(TrainingError, match=r"there is no GPU: expected at least 1 GPU, found 0 GPUs; .*to cpu"):
        open_devices("cuda", Place())
    with pytest.raises(ConfigError, match="in one process: found 2 processes; start the program without torchrun"):
        open_devices("cpu", Place(rank=0, world=2, local_rank=0, local_world=2))


@pytest.mark.parametrize(
    ("chosen", "policy"),
    [("auto", "float32"), ("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")],
)
def test_precision_is_a_policy_of_keras(chosen, policy):
    """On a CPU `auto` is float32; half precision keeps the weights in float32."""
    config = Config.model_validate({"dataset": "x", "digest": "sha256:" + "1" * 64, "training": {"precision": chosen}})
    assert open_devices("cpu", Place()).policy(config.training) == policy


TWO = """
import sys, numpy as np, tensorflow as tf
import trainers.keras
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.trainers.keras.tiny import squares, tiny_config, tiny_learner
from trainers.keras.batches import Loader
from trainers.keras.devices import Devices, open_devices
from trainers.process import Place
from trainers.training.learner import Step

two = Devices(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), ())
coco, pixels = squares(6)
numbers = []
for devices, size in ((two, 1), (open_devices("cpu", Place()), 2)):
    config = tiny_config(batch_size=size, ema=0.5)
    learner = tiny_learner(config, devices, norm=False)
    learner.start(6)
    rest = {"workers": 0, "shuffle": True}
    batches = Loader(coco, pixels, range(6), replicas=devices.replicas, batch_size=size, **rest).epoch(0)
    for number in range(3):
        learner.train_step(Step(0, number + 1, number, 1), batches)
    found = [[step.loss, step.norm] for step in learner.read_losses(keep=0)]
    numbers.append((found, learner.learning_rate, {name: value.numpy() for name, value in learner._state.items()}))
    evaluated = Loader(coco, pixels, range(5), replicas=devices.replicas, batch_size=2, workers=0, shuffle=False)
    counts = [len(learner.detect(batch)) for batch in evaluated.epoch(0)]
    assert sum(counts) == 5, counts
(ours, rate, state), (theirs, same_rate, same_state) = numbers
np.testing.assert_allclose(ours, theirs, rtol=1e-4)
assert rate == same_rate and state.keys() == same_state.keys()
for name in state:
    np.testing.assert_allclose(state[name], same_state[name], rtol=1e-4, atol=1e-5, err_msg=name)
print("the same")
"""


def test_two_copies_of_the_model_train_as_one():
    """A batch of one image on each of two devices makes the same steps as one of two images on one device."""
    out, _ = run(TWO)
    assert out == "the same\n"
