"""The files that a run starts from, found before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainers.config.frameworks import KERAS, PYTORCH
from trainers.errors import ConfigError
from trainers.run.folder import Run
from trainers.run.inputs import find_checkpoint, find_weights

PTH, PRESET = PYTORCH.weights, KERAS.weights


@pytest.mark.parametrize("name", ["resnet50-1234.pth", "resnet50.safetensors"])
def test_imagenet_is_the_file_in_the_images_bag(tmp_path, monkeypatch, name):
    """`imagenet` is the one weights file below data/ of the bag that TRAINERS_WEIGHTS names."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    file = tmp_path / "data" / "deep" / name
    file.write_bytes(b"")
    (tmp_path / "other.pth").write_bytes(b"")
    monkeypatch.setenv("TRAINERS_WEIGHTS", str(tmp_path))
    assert find_weights("imagenet", tmp_path, PTH) == file


def test_an_image_without_weights_says_so(tmp_path, monkeypatch):
    """`imagenet` in an image with no weights file, or several, is one line that names the other settings."""
    monkeypatch.delenv("TRAINERS_WEIGHTS", raising=False)
    with pytest.raises(ConfigError, match=r"no weights.*set model.weights to a path or to random, or TRAINERS_WE"):
        find_weights("imagenet", tmp_path, PTH)
    monkeypatch.setenv("TRAINERS_WEIGHTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"expected one file \*.safetensors or \*.pth, found none"):
        find_weights("imagenet", tmp_path, PTH)
    (tmp_path / "data").mkdir()
    for name in ("b.safetensors", "a.pth"):
        (tmp_path / "data" / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"expected one file \*.safetensors or \*.pth, found a.pth, b.saf"):
        find_weights("imagenet", tmp_path, PTH)


def test_a_path_is_relative_to_the_configuration(tmp_path):
    """`random` is no file; a path is relative to the configuration's folder; a folder or a missing file is an error."""
    file = tmp_path / "w.pth"
    file.write_bytes(b"")
    assert find_weights("random", tmp_path, PTH) is None
    assert find_weights("w.pth", tmp_path, PTH) == find_weights(str(file), Path("/elsewhere"), PTH) == file
    with pytest.raises(ConfigError, match=r"w2.pth: there are no weights: found nothing there"):
        find_weights("w2.pth", tmp_path, PTH)
    with pytest.raises(ConfigError, match="found no regular file"):
        find_weights(".", tmp_path, PTH)


def test_a_preset_is_a_folder_for_keras_alone(tmp_path, monkeypatch):
    """The folder of a KerasHub preset is found by its path and in the image; PyTorch's detectors can't use one."""
    preset = tmp_path / "data" / "resnet"
    preset.mkdir(parents=True)
    (preset / "model.weights.h5").write_bytes(b"")
    monkeypatch.setenv("TRAINERS_WEIGHTS", str(tmp_path))
    assert find_weights("imagenet", tmp_path, PRESET) == find_weights("data/resnet", tmp_path, PRESET) == preset
    with pytest.raises(ConfigError, match="found no regular file"):
        find_weights("data/resnet", tmp_path, PTH)
    (tmp_path / "data" / "resnet50.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"expected one file \*.safetensors or model.weights.h5, found model"):
        find_weights("imagenet", tmp_path, PRESET)


def test_auto_is_the_runs_own_checkpoint(tmp_path):
    """`auto` is the run's own checkpoint, if any; `never` is none; a path is relative to the configuration's folder."""
    run = Run(tmp_path / "run")
    run.open()
    assert find_checkpoint("auto", run, tmp_path, "checkpoint.pt") is None
    own = run.path("checkpoint.pt")
    own.write_bytes(b"")
    assert (
        find_checkpoint("auto", run, tmp_path, "checkpoint.pt")
        == find_checkpoint("run/checkpoint.pt", run, tmp_path, "checkpoint.pt")
        == own
    )
    assert find_checkpoint("never", run, tmp_path, "checkpoint.pt") is None
    for resume in ("elsewhere.pt", "run"):
        with pytest.raises(ConfigError, match="there is no checkpoint"):
            find_checkpoint(resume, run, tmp_path, "checkpoint.pt")


def test_finding_inputs_needs_no_torch():
    """The inputs are found before torch is imported."""
    code = "import sys, trainers.run.inputs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
