"""The weights files of a bag: what is in them, and whether their numbers are finite."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.bag.model_facts import MODEL, ModelFacts
from datapack.errors import BagError, WeightsError
from datapack.executor import run_all
from datapack.files import open_regular, read_limited
from datapack.inspect.findings import EXAMPLES
from datapack.inspect.model import Weights
from datapack.weights.model import WeightsFile
from datapack.weights.read import HEAD, is_pytorch, is_safetensors, is_surely_pytorch, read_weights
from datapack.weights.scan import scan
from datapack.weights.torch_legacy import runs_code
from datapack.weights.values import not_finite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.executor import Advance
    from datapack.progress import Reporter

_CERTAIN = {".safetensors", ".onnx"}  # endings that no other file has
_PYTORCH = {".pt", ".pth", ".ckpt", ".bin"}  # endings of PyTorch's files, and of others
_ANY = ".bin"  # the one of these that any program gives to its files
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
        found = [one for one in run_all(partial(_read, bag.path / PAYLOAD, named), items, advance=advance) if one]
    pickles = [one for one in found if one.file and one.file.calls][:EXAMPLES]  # a dataset can have thousands
    scans = {one.path: scan(bag.path / PAYLOAD / one.path) for one in pickles}
    return tuple(replace(one, scan=scans[one.path]) if one.path in scans else one for one in found)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _read(payload: Path, named: str, item: tuple[str, int], advance: Advance) -> Weights | None:
    path, size = item
    is_model = path == named
    try:
        if not is_model and _suffix(path) in _PYTORCH and not _looks_like_weights(payload / path):
            return None
        return _open(payload / path, path, advance if is_model else None)
    except WeightsError as error:
        if not is_model and _suffix(path) == _ANY and not _is_surely_weights(payload / path):
            return None
        why = WeightsError(error.what, expected=error.expected, found=error.found, fix=error.fix)
        return Weights(path, problem=str(why))
    except OSError as error:
        return Weights(path, problem=f"can't be read: {error.strerror}")
    finally:
        if is_model:
            advance.set(size)


def _open(place: Path, path: str, advance: Advance | None) -> Weights:
    """Read a weights file; its numbers too if there is ``advance``.

    Raises:
        WeightsError: it can't be read.
    """
    if place.suffix.lower() == ".onnx" and importlib.util.find_spec("onnx") is None:
        return Weights(path, unchecked="install what reads it: pip install 'datapack[onnx]'")
    found = read_weights(place)
    if found.format in _NOT_OPENED:
        return Weights(path, unchecked=f"datapack does not open files of {found.format}")
    if advance is not None:
        return Weights(path, found, not_finite=not_finite(place, found, advance))
    # The rest takes memory, and no check needs it.
    brief = WeightsFile(found.format, {}, calls=found.calls, functions=found.functions, complaint=found.complaint)
    return Weights(path, brief)


def _looks_like_weights(path: Path) -> bool:
    """Whether a file, which may be one of PyTorch by its name, begins as those do, or runs code as a pickle.

    An empty one is another rule's.
    """
    with open_regular(path, WeightsError, follow=False) as file:
        head = file.read(HEAD)
        return is_pytorch(head) or is_safetensors(head) or runs_code(file, file.seek(0, os.SEEK_END))


def _is_surely_weights(path: Path) -> bool:
    """Whether a file that can't be read must have been one of weights, or runs code as a pickle."""
    with open_regular(path, WeightsError, follow=False) as file:
        head = file.read(HEAD)
        return is_surely_pytorch(head) or is_safetensors(head) or runs_code(file, file.seek(0, os.SEEK_END))
