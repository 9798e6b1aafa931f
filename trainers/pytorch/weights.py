"""The initial weights of a detector: read from a file, never from a network, and checked before they are loaded."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import safetensors.torch
import torch

from datapack.hashing import digest_of
from trainers.config.frameworks import PYTORCH
from trainers.errors import ConfigError, DatapackError
from trainers.training.model_file import SafetensorsFile, check_framework, looks_like_safetensors, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from torch import Tensor, nn

# The one part of a detector whose shape depends on the number of categories: its first dimension.
_PREDICTORS = ("roi_heads.box_predictor.", "head.classification_head.cls_logits.")
_COUNTER = "num_batches_tracked"  # a frozen BatchNorm has none, and nothing here needs it
_OLD_NAMES = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$")
_OLD_HEAD = re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$")
_HEAD = 64  # bytes: enough to tell what a file is
_SHOWN = 10  # names in an error message
_EXPECTED = "a file that torch.save wrote, of tensors and plain values"
_SAFETENSORS = rb".{8}\{"  # how the file begins: the length of a header, and the header
_WRITTEN_BY_TORCH = (b"PK\x03\x04", b"\x80")  # a ZIP file; before torch 1.6 a pickle
_OTHER_KINDS = (  # how a file begins, what it is, what to do
    (_SAFETENSORS, "a safetensors file", None),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes", None),
    (rb"\x93NUMPY", "an array of NumPy", None),
    (rb"version https://git-lfs", "a pointer of Git LFS instead of the file", "run git lfs pull where it comes from"),
    (rb"\s*<", "a web page or XML", "download it again"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file", "decompress it"),
)


@dataclass(frozen=True)
class Weights:
    """The tensors of a file: of a ResNet-50, or of a detector."""

    path: Path
    digest: str  # of the bytes that the tensors were read from, or "" if nobody needs it
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, content: Any, path: Path, digest: str = "") -> Weights:
        """Find the tensors in the content of ``path``; raise `ConfigError` if they are not those of a known model."""
        if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
            content = content["model"]  # as torchvision's reference saves its checkpoints
        known = isinstance(content, Mapping) and ("conv1.weight" in content or "backbone.body.conv1.weight" in content)
        if not known or not all(map(_is_tensor, content.values())):
            raise ConfigError(
                "these weights can't be used",
                where=path,
                expected="the tensors of a torchvision ResNet-50 or detector by name, or a model.safetensors",
                found=_list(content) if isinstance(content, Mapping) else type(content).__name__,
            )
        return cls(path, digest, content)

    @classmethod
    def of_safetensors(cls, file: SafetensorsFile, model: str) -> Weights:
        """Read the tensors of a file; raise `ConfigError` if it is damaged, or if it says it is for another model."""
        if info := file.info:
            check_framework(info, PYTORCH.name, file.path)
            if info.name != model:
                raise ConfigError(
                    "these weights are for another model", where=file.path, expected=model, found=info.name
                )
        with readable(file.path):
            tensors = safetensors.torch.load(file.content)
        return cls.of(tensors, file.path, file.digest)

    @property
    def is_backbone(self) -> bool:
        return "conv1.weight" in self.tensors


def read(path: Path, model: str) -> Weights:
    """Read a weights file: a torchvision ResNet-50 or detector, as safetensors or from torch; or a model of a run.

    Args:
        path: the file.
        model: the detector that it should be for; a `model.safetensors` says which one it is.

    Raises:
        ConfigError: it is something else, cut short, or would run code.
    """
    with _opened(path, "weights", ConfigError) as file:
        head = file.read(_HEAD)
        if re.match(_SAFETENSORS, head, re.DOTALL):
            return Weights.of_safetensors(SafetensorsFile.read(path), model)
        content = head + file.read()  # once, for the digest of what is loaded, even if the file is replaced meanwhile
    loaded = _parse(io.BytesIO(content), path, "weights", ConfigError)
    return Weights.of(loaded, path, digest_of(content))


def as_safetensors(path: Path, content: bytes) -> SafetensorsFile:
    """Return weights that were read as a safetensors file, whichever of both kinds of file they are.

    Raises:
        ConfigError: as `read` does.
    """
    if looks_like_safetensors(content):
        return SafetensorsFile.of(path, content)
    found = Weights.of(_parse(io.BytesIO(content), path, "weights", ConfigError), path)
    tensors = {name: tensor.clone().contiguous() for name, tensor in found.tensors.items()}  # none shares memory
    return SafetensorsFile.of(path, safetensors.torch.save(tensors))


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def load(path: Path, what: str, error_type: type[DatapackError], fix: str | None = None) -> Any:
    """Read a file of tensors and plain values onto the CPU; no code in it is run.

    Raises:
        DatapackError: of ``error_type``: ``path`` is another kind of file, is cut short, or would run code.
    """
    with _opened(path, what, error_type, fix) as file:
        return _parse(file, path, what, error_type, fix)


@contextlib.contextmanager
def _opened(path: Path, what: str, error_type: type[DatapackError], fix: str | None = None) -> Iterator[BinaryIO]:
    if not path.is_file():
        raise error_type(f"can't read the {what}", where=path, found="no regular file", fix=fix)
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise error_type(f"can't read the {what}", where=path, found=error.strerror or str(error), fix=fix) from error


def _parse(file: BinaryIO, path: Path, what: str, error_type: type[DatapackError], fix: str | None = None) -> Any:
    other = _other_kind(file.read(_HEAD))
    if other is not None:
        found, remedy = other
        raise error_type(f"can't read the {what}", where=path, expected=_EXPECTED, found=found, fix=remedy or fix)
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        found = "something else, or code to run"
        raise error_type(f"can't read the {what}", where=path, expected=_EXPECTED, found=found, fix=fix) from error
    except Exception as error:  # torch documents no list of what a broken file can raise
        found = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise error_type(
            f"can't read the {what}: the file is cut short or damaged", where=path, found=found, fix=fix
        ) from error


def _other_kind(head: bytes) -> tuple[str, str | None] | None:
    """Return what a file is that `torch.save` did not write, and what to do about it; None if it may have."""
    if head.startswith(_WRITTEN_BY_TORCH) and not re.match(_SAFETENSORS, head, re.DOTALL):
        return None
    for start, kind, remedy in _OTHER_KINDS:
        if re.match(start, head, re.DOTALL):
            return kind, remedy
    return f"something else, which begins with {head[:8]!r}" if head else "an empty file", None


def fit(model: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Copy the tensors of a file into a detector; return the names of those that stay random.

    These are the predictor's, if the file is of a detector with other categories. A ResNet-50's classifier is left out.

    Raises:
        ConfigError: the file does not fit: tensors are missing, unexpected, or have another shape.
    """
    part, tensors = model, _by_new_names(weights.tensors)
    if weights.is_backbone:
        part = model.get_submodule("backbone.body")
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    own = {name: tensor for name, tensor in part.state_dict().items() if not name.endswith(_COUNTER)}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
    both = own.keys() & tensors.keys()
    other = [name for name in both if own[name].shape != tensors[name].shape]
    random = [name for name in other if name.startswith(_PREDICTORS) and own[name].shape[1:] == tensors[name].shape[1:]]
    shapes = [f"{name} {tuple(own[name].shape)} is {tuple(tensors[name].shape)}" for name in {*other} - {*random}]
    kinds = [name for name in both if own[name].is_floating_point() != tensors[name].is_floating_point()]
    problems = {
        "missing": own.keys() - tensors.keys(),
        "unexpected": tensors.keys() - own.keys(),
        "of another shape": shapes,
        "of another type": [f"{name} {own[name].dtype} is {tensors[name].dtype}" for name in kinds],
    }
    found = "; ".join(f"{len(names)} {kind}: {_list(names)}" for kind, names in problems.items() if names)
    if found:
        expected = f"those of {'a ResNet-50' if weights.is_backbone else 'this model'}"
        raise ConfigError("the weights do not fit", where=weights.path, expected=expected, found=found)
    part.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in random}, strict=False)
    return tuple(sorted(random))


def _by_new_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors that have old names in torchvision's oldest Faster R-CNN file."""
    return {re.sub(_OLD_NAMES, r"\1.0.\2", re.sub(_OLD_HEAD, r"\1.0.0.\2", name)): tensors[name] for name in tensors}


def _list(names: Iterable[object]) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
