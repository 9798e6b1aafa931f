"""The weights that a training starts with, and those of a finished one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from datapack.hashing import hash_file
from tests.trainers.keras.tiny import NAME, tiny_config, tiny_info
from trainers.config import Config
from trainers.errors import ConfigError
from trainers.keras.model import BACKBONES, build_model, tensors
from trainers.keras.weights import load_initial, load_trained, torchvision_name
from trainers.log import Log
from trainers.training.model_file import TrainedModel

QUIET = Log(quiet=True)


def config(seed=0, **model):
    base = tiny_config()
    changed = {"seed": seed, "model": base.model.model_copy(update=model)}
    return base.model_copy(update=changed)


def build(seed=0, categories=2, *, pretrained=False, **model):
    return build_model(config(seed, **model), categories, "float32", pretrained=pretrained)


@pytest.fixture(scope="module")
def source():
    """A detector whose weights are saved in many ways."""
    return build(seed=7)


def arrays_of(model):
    return {name: variable.numpy() for name, variable in tensors(model).items()}


def save(path, arrays, info=None):
    path.write_bytes(safetensors.numpy.save(arrays, info.to_metadata() if info else None))
    return path


def same(model, source, start=""):
    ours, theirs = arrays_of(model), arrays_of(source)
    return [name for name in theirs if name.startswith(start) and not np.array_equal(ours[name], theirs[name])]


def test_every_variable_has_a_name_of_its_own_and_one_in_torchvision():
    """A file of torchvision has each weight once."""
    for name in BACKBONES:
        model = build(name=name)
        theirs = [torchvision_name(variable) for variable in tensors(model)]
        assert len(set(theirs)) == len(theirs) == len(model.variables)


def test_the_same_seed_gives_the_same_weights(source):
    """Random weights follow from the seed, and heads start with a low probability for each category."""
    assert same(build(seed=7), source) == []
    bias = arrays_of(source)["classification_head/logits_layer/bias"]
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), 0.01, rtol=1e-5)
    assert not arrays_of(source)["box_head/logits_layer/bias"].any()


def test_a_trained_detector_keeps_all_but_another_classifier(tmp_path, source):
    """A model.safetensors is copied whole; with other categories its classifier stays random, and the log says so."""
    path = save(tmp_path / "model.safetensors", arrays_of(source), tiny_info(config()))
    target = build(seed=1)
    digest = load_initial(target, path, NAME, QUIET)
    assert digest.startswith("sha256:")
    assert same(target, source) == []
    other = build(seed=1, categories=5)
    load_initial(other, path, NAME, QUIET)
    assert same(other, source, "box_head/") == same(other, source, "stack") == []
    assert len(same(other, source, "classification_head/logits_layer")) == 2
    with pytest.raises(ConfigError, match="does not fit its categories: found classification_head/logits_layer/bias"):
        load_trained(other, TrainedModel.read(path, "keras"))


@pytest.mark.parametrize("whole", [True, False])
def test_presets_are_loaded_from_their_folder(tmp_path, source, whole):
    """A preset of a RetinaNet fills the backbone with its pyramid, one of a ResNet the ResNet alone; heads stay."""
    (source.backbone if whole else source.backbone.image_encoder).save_to_preset(str(tmp_path))
    target = build(seed=1)
    digest = load_initial(target, tmp_path, NAME, QUIET)
    assert digest.startswith("sha256:")
    assert same(target, source, "stack") == same(target, source, "conv1") == []
    assert (same(target, source, "fpn/") == []) == whole
    assert same(target, source, "box_head/conv") != []


def test_the_digest_of_a_preset_is_that_of_the_bytes_that_were_loaded(tmp_path, source, monkeypatch):
    """A preset that somebody replaces meanwhile is loaded as it was, under the digest of what it was."""
    source.backbone.image_encoder.save_to_preset(str(tmp_path))
    path = tmp_path / "model.weights.h5"
    before = hash_file(path)

    def replaced(copy):
        path.write_bytes(b"something else")
        return hash_file(copy)

    monkeypatch.setattr("trainers.keras.weights.hash_file", replaced)
    target = build(seed=1)
    assert load_initial(target, tmp_path, NAME, QUIET) == f"sha256:{before}"
    assert same(target, source, "conv1") == []


def test_presets_that_do_not_fit_are_clear_errors(tmp_path, source):
    """Another network, another kind of preset, or a damaged file: one line."""
    source.backbone.image_encoder.save_to_preset(str(tmp_path))
    with pytest.raises(ConfigError, match=r"or are damaged: expected a bottleneck_block of stages \[3, 4, 6"):
        load_initial(build(name="retinanet_resnet50_fpn_keras"), tmp_path, "", QUIET)
    target, whole = build(seed=1), (tmp_path / "model.weights.h5").read_bytes()
    for content in (b"", whole[:2000], b"<html>"):
        (tmp_path / "model.weights.h5").write_bytes(content)
        with pytest.raises(ConfigError, match="do not fit, or are damaged") as caught:
            load_initial(target, tmp_path, NAME, QUIET)
        assert "\n" not in str(caught.value)
    for text in (json.dumps({"class_name": "BertBackbone"}), "[]", "{"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=r"preset can.t be used|JSON"):
            load_initial(target, tmp_path, NAME, QUIET)


def test_files_that_do_not_fit_are_clear_errors(tmp_path, source):
    """Missing, unexpected, misshapen and integer tensors, and foreign or damaged files: one line that says which."""
    arrays = arrays_of(source)
    name = "fpn/lateral_conv_P3/kernel"
    wrong = {
        "1 missing: fpn/lateral_conv_P3/kernel": {key: value for key, value in arrays.items() if key != name},
        "1 unexpected: odd": {**arrays, "odd": np.zeros(3, np.float32)},
        r"1 of another shape: fpn/lateral_conv_P3/kernel \(1, 1, 128, 256\) is \(3,\)": {
            **arrays,
            name: np.zeros(3, np.float32),
        },
        "1 of another type: fpn/lateral_conv_P3/kernel int64": {**arrays, name: arrays[name].astype(np.int64)},
        "expected a model.safetensors, or the tensors of a torchvision ResNet or RetinaNet": {"a": arrays[name]},
    }
    before = arrays_of(target := build(seed=1))
    for found, content in wrong.items():
        with pytest.raises(ConfigError, match=found):
            load_initial(target, save(tmp_path / "w.safetensors", content), NAME, QUIET)
    pickle = tmp_path / "w.pth"
    pickle.write_bytes(b"PK\x03\x04 a file of torch")
    with pytest.raises(ConfigError, match="not a safetensors file"):
        load_initial(target, pickle, NAME, QUIET)
    assert all(np.array_equal(array, before[key]) for key, array in arrays_of(target).items())


def test_a_model_of_another_framework_or_name_is_refused(tmp_path, source):
    """A model of PyTorch, and one of another detector of Keras, are each one line with the name to set."""
    info = tiny_info(config())
    theirs = replace(info, framework="pytorch", name="retinanet_resnet50_fpn_v2")
    path = save(tmp_path / "model.safetensors", {"a": np.zeros(1, np.float32)}, theirs)
    message = "framework: expected one for keras, found pytorch, .*; set model.name to retinanet_resnet50_fpn_v2"
    with pytest.raises(ConfigError, match=message):
        load_initial(source, path, NAME, QUIET)
    with pytest.raises(ConfigError, match=message):
        TrainedModel.read(path, "keras")
    path = save(path, arrays_of(source), replace(info, name="retinanet_resnet50_fpn_keras"))
    with pytest.raises(ConfigError, match="another model: expected retinanet_resnet18_fpn_keras, found retinanet_res"):
        load_initial(source, path, NAME, QUIET)


def test_pretrained_stages_are_frozen_with_all_statistics():
    """With weights from a file the first stages and every norm of the backbone stay as they are."""
    trained = {variable.path.split("/")[0] for variable in build(pretrained=True).trainable_variables}
    stages = {name.split("_")[0] for name in trained if name.startswith(("stack", "conv1"))}
    assert stages == {"stack1", "stack2", "stack3"}
    assert not any(name.endswith("_bn") for name in trained)
    everything = {variable.path.split("/")[0] for variable in build().trainable_variables}
    assert {"conv1_conv", "conv1_bn", "stack0_block0_1_conv", "fpn", "box_head"} <= everything


def test_the_default_configuration_names_pytorchs_detector():
    """A train.yml without a model's name trains what it trained before."""
    assert not Config.model_validate({"dataset": "x", "digest": "sha256:" + "1" * 64}).model.name.endswith("_keras")
