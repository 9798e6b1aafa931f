"""The initial weights of a detector: read from a file, never from a network, and checked before they are loaded.

They are a `model.safetensors` of an earlier training, torchvision's tensors as a safetensors file, or the folder of a
KerasHub preset. No code in a file is run: of a preset only numbers are read, into a model that is built here.
"""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from datapack.files import read_limited
from datapack.hashing import hash_file
from datapack.jsonfile import parse_json
from trainers.config.frameworks import KERAS, PRESET_WEIGHTS
from trainers.errors import ConfigError
from trainers.keras.model import tensors
from trainers.training.model_file import SafetensorsFile, check_framework, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from trainers.log import Log
    from trainers.training.model_file import TrainedModel

_CLASSIFIER = "classification_head/logits_layer/"  # the one part whose shape depends on the number of categories
_PYRAMID = ("fpn/", "box_head/", "classification_head/")  # what a detector has and a ResNet has not
_UNUSED = re.compile(r"fc\.|.*\.num_batches_tracked$")  # of torchvision's ResNets
_SHOWN = 10  # names in an error message

_PRESET = "config.json"  # of a preset
_LONGEST = 1 << 20  # bytes of its configuration

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_CONVOLUTION = {"kernel": "weight", "bias": "bias"}
_TORCHVISION = (  # the name of a layer, and torchvision's name of it in a detector
    (r"conv1_conv", r"backbone.body.conv1"),
    (r"conv1_bn", r"backbone.body.bn1"),
    (r"stack(\d)_block(\d+)_0_conv", r"backbone.body.layer{0}.{1}.downsample.0"),
    (r"stack(\d)_block(\d+)_0_bn", r"backbone.body.layer{0}.{1}.downsample.1"),
    (r"stack(\d)_block(\d+)_(\d)_(conv|bn)", r"backbone.body.layer{0}.{1}.{3}{2}"),
    (r"fpn/lateral_conv_P(\d)", r"backbone.fpn.inner_blocks.{0}.0"),
    (r"fpn/output_conv_P(\d)", r"backbone.fpn.layer_blocks.{0}.0"),
    (r"fpn/coarser_P(\d)", r"backbone.fpn.extra_blocks.p{0}"),
    (r"box_head/conv2d_(\d)", r"head.regression_head.conv.{0}.0"),
    (r"box_head/group_norm_(\d)", r"head.regression_head.conv.{0}.1"),
    (r"box_head/logits_layer", r"head.regression_head.bbox_reg"),
    (r"classification_head/conv2d_(\d)", r"head.classification_head.conv.{0}.0"),
    (r"classification_head/group_norm_(\d)", r"head.classification_head.conv.{0}.1"),
    (r"classification_head/logits_layer", r"head.classification_head.cls_logits"),
)
_SHIFTS = {"stack": 1, "fpn/lateral": -3, "fpn/output": -3}  # added to the first number of a name


@dataclass(frozen=True)
class Weights:
    """The arrays of a file, by the names and in the order of dimensions that Keras has."""

    path: Path
    digest: str  # of the bytes that the arrays were read from
    arrays: Mapping[str, NDArray[Any]]

    @property
    def is_backbone(self) -> bool:
        return not any(name.startswith(_PYRAMID) for name in self.arrays)


def load_initial(model: Any, path: Path, name: str, log: Log) -> str:
    """Load the weights that a training starts with into a new detector; return their digest.

    Args:
        model: the detector.
        path: a safetensors file, or the folder of a preset.
        name: the detector's name; a `model.safetensors` says which one it is.
        log: where the origin of the weights is noted.

    Raises:
        ConfigError: the weights are of another kind, damaged, or do not fit.
    """
    if path.is_dir():
        return _load_preset(model, path, log)
    weights = _read(model, path, name)
    random = _fit(model, weights)
    log.note(f"initial weights ({'backbone' if weights.is_backbone else 'detector'}): {path}, {weights.digest}")
    if random:
        log.note(f"they are for other categories, so these layers stay random: {', '.join(random)}")
    return weights.digest


def load_trained(model: Any, trained: TrainedModel) -> None:
    """Load a `model.safetensors` into a detector for its categories; raise `ConfigError` if it does not fit."""
    with readable(trained.path):
        arrays = safetensors.numpy.load(trained.file.content)
    if left := _fit(model, Weights(trained.path, trained.file.digest, arrays)):
        raise ConfigError("this model does not fit its categories", where=trained.path, found=", ".join(left))


def _read(model: Any, path: Path, name: str) -> Weights:
    file = SafetensorsFile.read(path)
    if info := file.info:
        check_framework(info, KERAS.name, path)
        if info.name != name:
            raise ConfigError("these weights are for another model", where=path, expected=name, found=info.name)
    with readable(path):
        arrays = safetensors.numpy.load(file.content)
    if "conv1.weight" in arrays or "backbone.body.conv1.weight" in arrays:
        arrays = _of_torchvision(arrays, tensors(model))
    elif "conv1_conv/kernel" not in arrays:
        raise ConfigError(
            "these weights can't be used",
            where=path,
            expected="a model.safetensors, or the tensors of a torchvision ResNet or RetinaNet by name",
            found=_list(arrays),
        )
    return Weights(path, file.digest, arrays)


def _fit(model: Any, weights: Weights) -> tuple[str, ...]:
    """Copy arrays into a detector; return the names of those that stay random: of a classifier of other categories.

    Raises:
        ConfigError: the file does not fit: arrays are missing, unexpected, or have another shape or type.
    """
    own = tensors(model)
    if weights.is_backbone:
        own = {name: variable for name, variable in own.items() if not name.startswith(_PYRAMID)}
    arrays, both = weights.arrays, own.keys() & weights.arrays.keys()
    other = {name for name in both if tuple(own[name].shape) != arrays[name].shape}
    random = {name for name in other if name.startswith(_CLASSIFIER)}
    problems = {
        "missing": own.keys() - arrays.keys(),
        "unexpected": arrays.keys() - own.keys(),
        "of another shape": [f"{name} {tuple(own[name].shape)} is {arrays[name].shape}" for name in other - random],
        "of another type": [f"{name} {arrays[name].dtype}" for name in both if arrays[name].dtype.kind != "f"],
    }
    found = "; ".join(f"{len(names)} {kind}: {_list(names)}" for kind, names in problems.items() if names)
    if found:
        expected = f"those of {'its ResNet' if weights.is_backbone else 'this model'}"
        raise ConfigError("the weights do not fit", where=weights.path, expected=expected, found=found)
    for name in both - random:
        own[name].assign(arrays[name].astype(np.float32))
    return tuple(sorted(random))


def _load_preset(model: Any, folder: Path, log: Log) -> str:
    """Load a preset of a ResNet, or of a RetinaNet without its heads; return the digest of its weights file."""
    resnet = model.backbone.image_encoder
    parts = {"ResNetBackbone": resnet, "RetinaNetBackbone": model.backbone}
    config = parse_json(read_limited(folder / _PRESET, _LONGEST, ConfigError), folder / _PRESET, ConfigError)
    name = config.get("class_name") if isinstance(config, dict) else None
    path = folder / PRESET_WEIGHTS
    if name not in parts or not path.is_file():
        raise ConfigError(
            "this preset can't be used",
            where=folder,
            expected=f"{_PRESET} and {PRESET_WEIGHTS} of a {' or a '.join(parts)}",
            found=f"{name}" if path.is_file() else f"no {PRESET_WEIGHTS}",
        )
    expected = f"a {resnet.block_type} of stages {list(resnet.stackwise_num_blocks)}"
    digest = _load_copy(parts[name], path, expected)
    log.note(f"initial weights (preset of a {name}): {folder}, {digest}")
    return digest


def _load_copy(part: Any, path: Path, expected: str) -> str:
    """Load the weights of a preset; return the digest of the bytes that were loaded.

    Keras reads a file, not bytes. A copy that nobody else can reach stays the same while it is hashed and loaded.

    Raises:
        ConfigError: they do not fit, or are damaged.
    """
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about every part of a model that has no weights
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        digest = f"sha256:{hash_file(copy)}"
        try:
            part.load_weights(str(copy))
        except (ValueError, KeyError, OSError) as error:
            what = "the weights of this preset do not fit, or are damaged"
            found = " ".join(str(error).split())[:200]
            raise ConfigError(what, where=path, expected=expected, found=found) from error
    return digest


def _of_torchvision(arrays: Mapping[str, NDArray[Any]], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return torchvision's arrays by the names of this model, as far as it has them, and others by their own."""
    prefix = "" if "backbone.body.conv1.weight" in arrays else "backbone.body."
    ours = {torchvision_name(name).removeprefix(prefix): name for name in names}
    return {ours.get(name, name): _turned(array) for name, array in arrays.items() if not _UNUSED.match(name)}


def _turned(array: NDArray[Any]) -> NDArray[Any]:
    """Turn the kernel of a convolution from (out, in, height, width) to (height, width, in, out)."""
    return np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array  # noqa: PLR2004


def torchvision_name(name: str) -> str:
    """Return torchvision's name of a tensor in a `retinanet_resnet50_fpn_v2`."""
    layer, _, what = name.rpartition("/")
    for pattern, template in _TORCHVISION:
        if match := re.fullmatch(pattern, layer):
            groups = list(match.groups())
            if groups and groups[0].isdigit():
                shift = next((by for start, by in _SHIFTS.items() if layer.startswith(start)), 0)
                groups[0] = str(int(groups[0]) + shift)
            return f"{template.format(*groups)}.{(_NORM | _CONVOLUTION)[what]}"
    raise KeyError(name)


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
