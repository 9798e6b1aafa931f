"""The files of weights of a bag: what is in them, and whether their numbers are finite."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.bag.model_facts import MODEL, ModelFacts
from datapack.errors import BagError, WeightsError
from datapack.executor import run_all
from datapack.files import open_regular, read_limited
from datapack.inspect.model import Weights
from datapack.weights.read import HEAD, is_pytorch, is_safetensors, read_weights
from datapack.weights.scan import scan
from datapack.weights.values import not_finite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.executor import Advance
    from datapack.progress import Reporter

_CERTAIN = {".safetensors", ".onnx"}  # endings that no other file has
_PYTORCH = {".pt", ".pth", ".ckpt", ".bin"}  # endings of PyTorch's files, and of others
_NOT_OPENED = {"Keras", "HDF5"}
_LARGEST_FACTS = 4 << 20  # bytes


def read_facts(bag: Bag) -> ModelFacts | None:
    """Return what ``model.json`` says; None if there is none that datapack wrote."""
    name = f"{PAYLOAD}/{MODEL}"
    if name not in bag.listing.files:
        return None
    try:
        return ModelFacts.parse(read_limited(bag.path / name, _LARGEST_FACTS, BagError), name)
    except BagError:
        return None


def read_all_weights(
    bag: Bag, reporter: Reporter, files: Mapping[str, PayloadFile], facts: ModelFacts | None
) -> tuple[Weights, ...]:
    """Return every one of these payload files that is one of weights, sorted by path.

    Only of the weights of a model, which ``facts`` names, the numbers are read too. One that can't be read is returned
    with its problem; nothing is raised for it.
    """
    named = facts.weights if facts else ""
    items = [
        (path, files[path].size) for path in sorted(files) if path == named or _suffix(path) in _CERTAIN | _PYTORCH
    ]
    total = sum(size for path, size in items if path == named)
    with reporter.progress("read weights", total, "B") as advance:
        found = run_all(partial(_read, bag.path / PAYLOAD, named), items, advance=advance)
        return tuple(one for one in found if one is not None)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _read(payload: Path, named: str, item: tuple[str, int], advance: Advance) -> Weights | None:
    path, size = item
    is_model = path == named
    try:
        if not is_model and _suffix(path) in _PYTORCH and not _looks_like_weights(payload / path):
            return None
        if _suffix(path) == ".onnx" and importlib.util.find_spec("onnx") is None:
            return Weights(path, unchecked="install what reads it: pip install 'datapack[onnx]'")
        weights = read_weights(payload / path)
        if weights.format in _NOT_OPENED:
            return Weights(path, unchecked=f"datapack does not open files of {weights.format}")
        return Weights(
            path,
            weights,
            scan=scan(payload / path) if weights.calls else (),
            not_finite=not_finite(payload / path, weights, advance) if is_model else {},
        )
    except WeightsError as error:
        why = WeightsError(error.what, expected=error.expected, found=error.found, fix=error.fix)
        return Weights(path, problem=str(why))
    except OSError as error:
        return Weights(path, problem=f"can't be read: {error.strerror}")
    finally:
        if is_model:
            advance.set(size)


def _looks_like_weights(path: Path) -> bool:
    """Whether a file begins as files of PyTorch do, which by its name it may be. An empty one is another rule's."""
    with open_regular(path, WeightsError, follow=False) as file:
        head = file.read(HEAD)
    return is_pytorch(head) or is_safetensors(head)
