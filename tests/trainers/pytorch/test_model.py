"""The detectors, with and without weights."""

import shutil
import socket
import sysconfig
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from tests.trainers.squares import DIGEST
from tests.trainers.tiny import tiny_detector, tiny_info
from trainers.config import Config
from trainers.errors import ConfigError, TrainingError
from trainers.log import Log
from trainers.pytorch import model as models
from trainers.pytorch.model import build_model, new_model, trained_model
from trainers.pytorch.weights import read
from trainers.run.folder import Run
from trainers.training.model_file import TrainedModel, save_model

NAMES = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn")
CPU = torch.device("cpu")
COMPILES = shutil.which("g++") and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def config(name: str = "fcos_resnet50_fpn", **sections: dict[str, object]) -> Config:
    model = {"name": name, **sections.pop("model", {})}
    return Config.model_validate({"dataset": "x", "digest": DIGEST, "model": model, **sections})


def make_images(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    """Make uint8 images of noise, as the loader does."""
    torch.manual_seed(1)
    return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8).permute(2, 0, 1) for size in sizes]


TARGETS = [
    {"boxes": torch.tensor([[4.0, 4.0, 40.0, 30.0]]), "labels": torch.tensor([2])},
    {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)},
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    """A file as the image has it: a ResNet-50 with its own classifier."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.manual_seed(7)
    torch.save(resnet50(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_each_detector_learns_from_one_tiny_image(name):
    """A batch of one image of a few pixels gives losses: the last map of its backbone has enough for a batch norm."""
    model = new_model(config(name), 4, None, CPU, Log(quiet=True)).train()
    losses = model(
        make_images((20, 32)), [{"boxes": torch.tensor([[2.0, 2.0, 14.0, 14.0]]), "labels": torch.tensor([2])}]
    )
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_detector_learns_from_a_file_without_a_network(name, backbone, monkeypatch):
    """Each detector loads its weights and returns losses, also for an image without boxes, with no network."""

    def no_network(*_):
        raise AssertionError("something uses the network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    model = new_model(config(name), 4, read(backbone, name), CPU, Log(quiet=True)).train()
    losses = model(make_images((48, 64), (64, 40)), TARGETS)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert model.get_submodule("backbone.body.layer4").get_parameter("0.conv1.weight").grad.abs().sum() > 0
    expected = torch.load(backbone, weights_only=True)["layer3.2.bn1.running_var"]
    assert model.state_dict()["backbone.body.layer3.2.bn1.running_var"].equal(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_with_weights_keeps_its_statistics_and_first_stages(name):
    """With weights, BatchNorm and the first stages of the backbone are frozen; without, all is trained."""
    body = build_model(config(name, model={"trainable_layers": 2}), 3, pretrained=True).get_submodule("backbone.body")
    kinds = Counter(type(module) for module in body.modules())
    assert (kinds[FrozenBatchNorm2d], kinds[nn.BatchNorm2d]) == (53, 0)
    assert {key.split(".")[0] for key, value in body.named_parameters() if value.requires_grad} == {"layer3", "layer4"}
    body = build_model(config(name), 3, pretrained=False).get_submodule("backbone.body")
    kinds = Counter(type(module) for module in body.modules())
    assert (kinds[FrozenBatchNorm2d], kinds[nn.BatchNorm2d]) == (0, 53)
    assert all(parameter.requires_grad for parameter in body.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_with_random_weights_starts_as_identities(name):
    """Each residual block starts as the identity and can learn; with weights from a file it does not."""
    block = build_model(config(name), 3, pretrained=False).get_submodule("backbone.body.layer3.4").train()
    given = torch.rand(2, 1024, 4, 4)
    passed = block(given)
    assert passed.equal(given)
    passed.square().sum().backward()
    assert block.get_parameter("bn3.weight").grad.abs().min() > 0
    block = build_model(config(name), 3, pretrained=True).get_submodule("backbone.body.layer3.4").train()
    assert not block(given).equal(given)


def test_images_are_never_resized():
    """An image enters the backbone in its own size, padded to a multiple of 32; boxes come out in its pixels."""
    model = build_model(config(), 3, pretrained=False).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.inference_mode():
        found = model(make_images((40, 70), (33, 20)))
    assert seen == [(2, 3, 64, 96)]
    for output, (height, width) in zip(found, ((40, 70), (33, 20)), strict=True):
        assert len(output["boxes"])
        assert (output["boxes"].amax(dim=0) <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_detections_is_limited(name, monkeypatch):
    """An image has at most `model.detections` detections, and exactly as many if the model finds more."""
    monkeypatch.setattr(models, "SCORE", 0.0)
    model = build_model(config(name, model={"detections": 7}), 3, pretrained=False).eval()
    with torch.inference_mode():
        assert len(model(make_images((64, 64)))[0]["boxes"]) == 7


def test_the_same_seed_gives_the_same_weights():
    """Random weights depend on the seed alone."""
    first, again, other = (build_model(config(seed=seed), 3, pretrained=False).state_dict() for seed in (1, 1, 2))
    assert all(first[key].equal(again[key]) for key in first)
    assert not first["backbone.body.conv1.weight"].equal(other["backbone.body.conv1.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_exact_in_half_precision(name):
    """In bfloat16, anchors equal those in float32, and the outputs of the heads are float32."""
    model = build_model(config(name), 3, pretrained=False)
    generator = next(module for key, module in model.named_modules() if key.endswith("anchor_generator"))
    found = []
    generator.register_forward_hook(lambda _, __, anchors: found.append(anchors[0]))
    wide = [torch.zeros(3, 32, 1312, dtype=torch.uint8)]
    with torch.inference_mode():
        model.eval()(wide)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(wide)[0]
    assert found[1].dtype == outputs["boxes"].dtype == outputs["scores"].dtype == torch.float32
    assert found[0].equal(found[1])
    assert found[0].max() > 1024  # where bfloat16 is off by up to 4 pixels


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_saved_model_restores_the_detector(pretrained, tmp_path):
    """The loaded detector finds what the saved one found, also if its BatchNorm statistics were trained."""
    settings = config()
    model = build_model(settings, 3, pretrained=pretrained)
    model.train()(make_images((48, 64), (64, 40)), TARGETS)  # statistics that are not the initial ones
    run = Run(tmp_path)
    save_model(run, safetensors.torch.save(model.state_dict(), tiny_info(settings).to_metadata()))
    trained = TrainedModel.read(run.path("model.safetensors"), "pytorch")
    with torch.inference_mode():
        before = model.eval()(make_images((48, 64)))[0]
        after = trained_model(settings, trained, CPU).eval()(make_images((48, 64)))[0]
    assert len(before["boxes"])
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-3, rtol=1e-3)


SHAPES = (((64, 64), (64, 48)), ((96, 64), (64, 96)))  # of two batches of images


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason="torch.compile needs g++ and Python.h here")
@pytest.mark.parametrize(("backend", "shapes"), [("inductor", SHAPES[:1]), ("aot_eager", SHAPES)])
def test_a_compiled_backbone_learns_the_same(monkeypatch, tmp_path, backend, shapes):
    """With `training.compile`, losses and gradients are those of the backbone without it, for any shape of images."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(models, "build_model", lambda *_, **__: tiny_detector())
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))  # inductor takes 15 s for each shape
    found = []
    for compiled in (False, True):
        model = new_model(config(training={"compile": compiled}), 3, None, CPU, Log(quiet=True)).train()
        for sizes in shapes:
            images = make_images(*sizes)
            torch.manual_seed(0)  # it draws among its proposals
            losses = model(images, TARGETS)
            sum(losses.values()).backward()
            found.append([*losses.values(), *(parameter.grad.clone() for parameter in model.parameters())])
    assert all(gradient.abs().sum() > 0 for gradient in found[0][4:8])
    torch.testing.assert_close(found[: len(shapes)], found[len(shapes) :], rtol=1e-3, atol=1e-5)


def test_a_gpu_without_room_for_the_model_is_a_clear_error(monkeypatch):
    """Something else uses the GPU's memory: no batch size would help."""

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(TrainingError, match=r"out of memory: there is no room for the model.*end what else uses"):
        new_model(config(), 3, None, CPU, Log(quiet=True))


def test_compiling_without_a_c_compiler_is_a_clear_error(monkeypatch):
    """`training.compile` without a C compiler is refused before the first step."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match=r"no C compiler.*set it to false"):
        new_model(config(training={"compile": True}), 3, None, CPU, Log(quiet=True))
