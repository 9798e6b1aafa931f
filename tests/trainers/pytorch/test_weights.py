"""Weights files: which are accepted, which are refused."""

import gzip
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import detection, resnet18, resnet50

from datapack.hashing import hash_file
from tests.trainers.squares import DIGEST
from tests.trainers.tiny import tiny_info
from trainers.config import Config
from trainers.errors import ConfigError, DatapackError
from trainers.log import Log
from trainers.pytorch.checkpoint import read_checkpoint
from trainers.pytorch.model import build_model, new_model
from trainers.pytorch.weights import fit, load, read


def detector(name: str = "fcos_resnet50_fpn", classes: int = 3, *, pretrained: bool = True) -> torch.nn.Module:
    config = Config.model_validate({"dataset": "x", "digest": DIGEST, "model": {"name": name}})
    return build_model(config, classes, pretrained=pretrained)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Write the files that torchvision would write."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    made = {"weights": None, "weights_backbone": None}
    torch.save(resnet50(weights=None).state_dict(), folder / "resnet50.pth")
    torch.save(resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    torch.save(detection.fcos_resnet50_fpn(**made, num_classes=91).state_dict(), folder / "fcos.pth")
    torch.save(detection.fasterrcnn_resnet50_fpn(**made).state_dict(), folder / "fasterrcnn.pth")
    return folder


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_backbone_is_copied_into_the_body(files, pretrained):
    """All of a ResNet-50 but its classifier is copied, into frozen and into trainable BatchNorm."""
    model = detector(pretrained=pretrained)
    weights = read(files / "resnet50.pth", "fcos_resnet50_fpn")
    assert fit(model, weights) == ()
    assert weights.digest == f"sha256:{hash_file(files / 'resnet50.pth')}"
    body = model.get_submodule("backbone.body").state_dict()
    assert all(tensor.equal(weights.tensors[name]) for name, tensor in body.items() if "num_batches" not in name)
    assert "layer4.2.bn3.running_var" in body


def test_a_detector_with_other_categories_leaves_the_predictor_random(files, capsys):
    """From a file for 90 categories, all is copied but the tensors whose shape depends on it; the log names them."""
    config = Config.model_validate({"dataset": "x", "digest": DIGEST, "model": {"name": "fcos_resnet50_fpn"}})
    model = new_model(config, 3, read(files / "fcos.pth", "fcos_resnet50_fpn"), torch.device("cpu"), Log())
    own, theirs = model.state_dict(), torch.load(files / "fcos.pth", weights_only=True)
    left = {"head.classification_head.cls_logits.weight", "head.classification_head.cls_logits.bias"}
    assert {name for name in own if own[name].shape != theirs[name].shape} == left
    assert all(own[name].equal(theirs[name]) for name in own.keys() - left)
    said = capsys.readouterr().out
    assert "initial weights (detector)" in said
    assert all(name in said for name in left)


@pytest.mark.parametrize("kind", ["pth", "safetensors", "of the trainers", "checkpoint of torchvision"])
def test_a_detector_with_the_same_number_of_categories_is_copied_whole(files, tmp_path, kind):
    """Nothing stays random, in whichever kind of file the tensors are."""
    name, path = "fasterrcnn_resnet50_fpn", tmp_path / "weights"
    tensors = torch.load(files / "fasterrcnn.pth", weights_only=True)
    info = tiny_info(Config.model_validate({"dataset": "x", "digest": DIGEST, "model": {"name": name}}))
    if kind == "pth":
        shutil.copy(files / "fasterrcnn.pth", path)
    elif kind == "checkpoint of torchvision":
        torch.save({"model": tensors, "epoch": 3}, path)
    else:
        save_file(tensors, path, info.to_metadata() if kind == "of the trainers" else None)
    model = detector(name, 91)
    weights = read(path, name)
    assert fit(model, weights) == ()
    assert weights.digest == f"sha256:{hash_file(path)}"
    assert all(tensor.equal(tensors[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_backbone_in_another_precision_is_converted(files, tmp_path, dtype):
    """A safetensors file may hold any floating-point numbers; the detector keeps float32."""
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in torch.load(files / "resnet50.pth", weights_only=True).items()
    }
    save_file(tensors, tmp_path / "resnet50.safetensors")
    model = detector()
    assert fit(model, read(tmp_path / "resnet50.safetensors", "fcos_resnet50_fpn")) == ()
    body = model.get_submodule("backbone.body").state_dict()
    assert body["conv1.weight"].dtype == torch.float32
    assert body["conv1.weight"].equal(tensors["conv1.weight"].float())


def test_weights_of_another_type_of_numbers_are_refused(files, tmp_path):
    """Integers, as in a quantised model, are not weights of this model."""
    tensors = torch.load(files / "resnet50.pth", weights_only=True)
    tensors["conv1.weight"] = (100 * tensors["conv1.weight"]).to(torch.int8)
    save_file(tensors, tmp_path / "quantized.safetensors")
    says = (
        r"quantized.safetensors: the weights do not fit: .*1 of another type: conv1.weight torch.float32 is torch.int8"
    )
    with pytest.raises(ConfigError, match=says):
        fit(detector(), read(tmp_path / "quantized.safetensors", "fcos_resnet50_fpn"))


def test_old_tensor_names_are_accepted(files, tmp_path):
    """The tensors of torchvision's first Faster R-CNN, some with old names, fit."""
    old = {}
    for name, tensor in torch.load(files / "fasterrcnn.pth", weights_only=True).items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")  # noqa: PLW2901
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"fpn.{block}.{level}.0.", f"fpn.{block}.{level}.")  # noqa: PLW2901
        old[name] = tensor
    assert "rpn.head.conv.weight" in old
    torch.save(old, tmp_path / "old.pth")
    model = detector("fasterrcnn_resnet50_fpn", 91)
    assert fit(model, read(tmp_path / "old.pth", "fasterrcnn_resnet50_fpn")) == ()
    assert model.state_dict()["rpn.head.conv.0.0.weight"].equal(old["rpn.head.conv.weight"])


@pytest.mark.parametrize(
    ("file", "name", "says"),
    [
        (
            "fcos.pth",
            "retinanet_resnet50_fpn_v2",
            r"missing: .*; \d+ unexpected: head.classification_head.conv.0.bias, ",
        ),
        ("fasterrcnn.pth", "fcos_resnet50_fpn", r"unexpected: .*"),
        ("resnet18.pth", "fcos_resnet50_fpn", r"those of a ResNet-50, found \d+ missing: layer1.0.bn3.bias, "),
    ],
)
def test_weights_of_another_model_name_the_keys(files, file, name, says):
    """The error has the file and, sorted, the first keys that are missing, unexpected or of another shape."""
    with pytest.raises(ConfigError, match=rf"{file}: the weights do not fit: .*{says}"):
        fit(detector(name), read(files / file, name))


def test_at_most_ten_keys_are_named(files):
    """The error stays one line."""
    with pytest.raises(ConfigError) as caught:
        fit(detector(), read(files / "resnet18.pth", "fcos_resnet50_fpn"))
    missing = str(caught.value).split("missing: ")[1].split("; ")[0]
    assert missing.count(",") == 10
    assert missing.endswith(", ...")


def test_a_tensor_of_another_shape_is_an_error(files, tmp_path):
    """Only the predictor may differ, and only in the number of categories."""
    tensors = torch.load(files / "fcos.pth", weights_only=True)
    tensors["backbone.body.conv1.weight"] = tensors["backbone.body.conv1.weight"][:, :1]
    tensors["head.classification_head.cls_logits.weight"] = torch.zeros(91, 128, 3, 3)
    torch.save(tensors, tmp_path / "odd.pth")
    with pytest.raises(ConfigError) as caught:
        fit(detector(), read(tmp_path / "odd.pth", "fcos_resnet50_fpn"))
    assert "2 of another shape: backbone.body.conv1.weight (64, 3, 7, 7) is (64, 1, 7, 7)" in str(caught.value)
    assert "head.classification_head.cls_logits.weight" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "retinanet_resnet50_fpn_v2"}, "these weights are for another model: expected fcos"),
        ({"framework": "keras"}, "this model is for another framework: expected one for pytorch, found keras, fcos"),
    ],
    ids=str,
)
def test_the_model_of_another_detector_is_refused(tmp_path, changes, says):
    """The error names both detectors, or both frameworks."""
    config = Config.model_validate({"dataset": "x", "digest": DIGEST, "model": {"name": "fcos_resnet50_fpn"}})
    metadata = replace(tiny_info(config), **changes).to_metadata()
    save_file({"backbone.body.conv1.weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata)
    with pytest.raises(ConfigError, match=rf"model.safetensors: {says}"):
        read(tmp_path / "model.safetensors", "fcos_resnet50_fpn")


class Runs:
    """A pickle that runs code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    """No code runs, neither from torch's two file formats nor from a plain pickle."""
    ran = tmp_path / "ran"
    torch.save({"conv1.weight": Runs(ran)}, tmp_path / "new.pth")
    torch.save({"conv1.weight": Runs(ran)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Runs(ran), protocol=2))
    for name in ("new.pth", "old.pth", "plain.pth"):
        with pytest.raises(ConfigError, match=rf"{name}: can't read the weights: .* found something else, or code"):
            read(tmp_path / name, "m")
    assert not ran.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_a_clear_error(files, tmp_path, share):
    """The error is one line, however much of the file is left."""
    content = (files / "resnet18.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ConfigError, match=r"cut.pth: can't read the weights"):
        read(tmp_path / "cut.pth", "m")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": torch.zeros(1)}, {"conv1.weight": 3}, torch.zeros(2)])
def test_other_content_is_a_clear_error(tmp_path, content):
    """A file that torch wrote with other content is an error of one line."""
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="these weights can't be used"):
        read(tmp_path / "other.pth", "m")


def test_a_folder_is_a_clear_error(tmp_path):
    """The error is one line."""
    with pytest.raises(ConfigError, match="found no regular file"):
        load(tmp_path, "weights", ConfigError)


OTHER_KINDS = {
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "an array of NumPy": b"\x93NUMPY\x01\x00" + bytes(500),
    "a pointer of Git LFS instead of the file": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a web page or XML; download it again": b"\n<!doctype html><html>not found</html>",
    "a compressed file; decompress it": gzip.compress(b"weights"),
    "an empty file": b"",
    "something else, which begins with b'garbage!'": b"garbage!" * 9,
}


@pytest.mark.parametrize("says", OTHER_KINDS)
def test_a_file_of_another_kind_is_named(tmp_path, says):
    """A file that torch did not write is not called damaged: the error says what it is, and what to do."""
    (tmp_path / "weights.pth").write_bytes(OTHER_KINDS[says])
    for read_it in (lambda path: read(path, "m"), read_checkpoint):
        with pytest.raises(DatapackError) as caught:
            read_it(tmp_path / "weights.pth")
        assert f"expected a file that torch.save wrote, of tensors and plain values, found {says}" in str(caught.value)
        assert "damaged" not in str(caught.value)


def test_the_digest_is_of_what_was_loaded(files, tmp_path, monkeypatch):
    """A file that is replaced while it is read has the digest of the bytes that were loaded."""
    shutil.copy(files / "resnet50.pth", tmp_path / "weights.pth")
    original = torch.load

    def replaced(*arguments, **options):
        (tmp_path / "weights.pth").write_bytes(b"other")
        return original(*arguments, **options)

    monkeypatch.setattr(torch, "load", replaced)
    assert read(tmp_path / "weights.pth", "m").digest == f"sha256:{hash_file(files / 'resnet50.pth')}"
