"""`model.safetensors`: the weights of a detector, and what they were trained for. Reading it runs no code.

It is a safetensors file whose ``__metadata__`` has one key, ``trainers``: JSON that says which model, for which
categories and sizes, trained on which images. The tensors have the names of the framework.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.errors import shown
from datapack.files import check_space, open_regular
from datapack.hashing import digest_of
from datapack.jsonfile import parse_json
from trainers.errors import ConfigError, TrainingError
from trainers.run.folder import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainers.run.folder import Run

KEY = "trainers"  # of the metadata
FORM = 1  # of its content; it changes when older readers can no longer read it

_LENGTH = 8  # bytes: the length of the header, with which a safetensors file begins
_LONGEST = 100_000_000  # bytes of a header, as the library has it
_BY_TORCH = (b"PK\x03\x04", b"\x80\x02")  # how its files begin: a ZIP file; before torch 1.6 a pickle
_AROUND = 1 << 16  # bytes that a disk may need besides the file
_SHOWN = 120  # characters of a message of the library


@dataclass(frozen=True)
class ModelInfo:
    """What a model is, and what it was trained on."""

    framework: str  # pytorch or keras
    name: str  # model.name in train.yml
    categories: tuple[tuple[int, str], ...]  # ids and names, in the order of the labels from 1
    min_size: int  # of the images: shorter side, pixels
    max_size: int  # longest side, pixels
    reference: str  # of the dataset: name@version
    digest: str  # of the dataset: sha256: and 64 hex digits
    split: Mapping[str, Any]  # from `trainers.training.checkpoint.split_facts`

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of the file: the same facts give the same text."""
        content = {
            "form": FORM,
            "framework": self.framework,
            "name": self.name,
            "categories": self.categories,
            "min_size": self.min_size,
            "max_size": self.max_size,
            "dataset": {"reference": self.reference, "digest": self.digest},
            "split": self.split,
        }
        return {KEY: json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))}

    @classmethod
    def parse(cls, text: str, path: Path) -> ModelInfo:
        """Parse what `to_metadata` returned; raise `ConfigError` if it is something else."""
        value = parse_json(text.encode(), path, ConfigError, limit=None)
        try:
            return _info(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise ConfigError(
                "this model does not say what it is", where=path, expected=f"form {FORM} of {KEY}", found=found
            ) from error


def _info(value: dict[str, Any]) -> ModelInfo:
    if value["form"] != FORM:
        raise ValueError(f"form {value['form']!r}, of another version of the trainers")
    dataset, split = value["dataset"], value["split"]
    if not isinstance(split, dict):
        raise TypeError("split is not a mapping")
    return ModelInfo(
        framework=_typed(value["framework"], str),
        name=_typed(value["name"], str),
        categories=tuple((_typed(identity, int), _typed(name, str)) for identity, name in value["categories"]),
        min_size=_typed(value["min_size"], int),
        max_size=_typed(value["max_size"], int),
        reference=_typed(dataset["reference"], str),
        digest=_typed(dataset["digest"], str),
        split=split,
    )


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


@dataclass(frozen=True)
class SafetensorsFile:
    """A safetensors file whose header was checked; `readable` is for its tensors."""

    path: Path
    digest: str  # of its bytes: sha256: and 64 hex digits
    content: bytes  # read once, so that the digest is of what is loaded, even if the file is replaced meanwhile
    metadata: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> SafetensorsFile:
        """Read a file; raise `ConfigError` if it is something else, cut short, or too long for its header."""
        with open_regular(path, ConfigError) as file:
            length = os.fstat(file.fileno()).st_size
            _checked_header(file, length, path)
            file.seek(0)
            content = file.read()
        return cls.of(path, content)

    @classmethod
    def of(cls, path: Path, content: bytes) -> SafetensorsFile:
        """Take the content of a file that was read; raise `ConfigError` as `read` does."""
        header = _checked_header(io.BytesIO(content), len(content), path)
        metadata = header.get("__metadata__", {})
        return cls(path, digest_of(content), content, metadata if isinstance(metadata, Mapping) else {})

    @property
    def info(self) -> ModelInfo | None:
        """What the trainers wrote about a model, if they wrote the file; raise `ConfigError` if that is damaged."""
        text = self.metadata.get(KEY)
        return ModelInfo.parse(text, self.path) if isinstance(text, str) else None


def looks_like_safetensors(content: bytes) -> bool:
    """Whether a file begins as a safetensors file does: with the length of a header, and the header."""
    return content[_LENGTH : _LENGTH + 1] == b"{"


def _checked_header(file: BinaryIO, size: int, path: Path) -> dict[str, Any]:
    """Return the header of a file of ``size`` bytes, once it fits the file."""
    header, start = _header(file, size, path)
    _check_length(header, start, size, path)
    return header


def _header(file: BinaryIO, length_of_file: int, path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a file, and its end: where the tensors begin."""
    start, available = file.read(_LENGTH + 1), length_of_file - _LENGTH
    length = int.from_bytes(start[:_LENGTH], "little")
    if start[_LENGTH:] != b"{":
        raise ConfigError("not a safetensors file", where=path, found=_kind(start[:_LENGTH]))
    if length > min(available, _LONGEST):
        found = f"a header of {length:,} bytes in a file of {available + _LENGTH:,}"
        raise ConfigError("this safetensors file is cut short or damaged", where=path, found=found)
    header = parse_json(start[_LENGTH:] + file.read(length - 1), path, ConfigError, limit=None)
    if not isinstance(header, dict):
        raise ConfigError("not a safetensors file", where=path, found="a header that is not an object")
    return header, _LENGTH + length


def _kind(start: bytes) -> str:
    """Say what a file is that begins like this."""
    if start.startswith(_BY_TORCH):
        return "a file that torch.save wrote"
    return f"something else, which begins with {start!r}" if start else "an empty file"


def _check_length(header: Mapping[str, Any], start: int, found: int, path: Path) -> None:
    """Compare the size of a file with its header, before its content is read."""
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        expected = start + max(map(int, ends), default=0)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ConfigError("this safetensors file is damaged", where=path, found="a tensor without a place") from error
    if found != expected:
        what = "is cut short" if found < expected else "has bytes that belong to no tensor"
        raise ConfigError(
            f"this safetensors file {what}", where=path, expected=f"{expected:,} bytes", found=f"{found:,}"
        )


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the library about the tensors of a file into a `ConfigError` of one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a data type that it lacks
        found = f"{type(error).__name__}: {error}"
        raise ConfigError("this safetensors file is damaged", where=path, found=shown(found[:_SHOWN])) from error


@dataclass(frozen=True)
class TrainedModel:
    """A `model.safetensors`."""

    file: SafetensorsFile
    info: ModelInfo

    @property
    def path(self) -> Path:
        return self.file.path

    @classmethod
    def read(cls, path: Path, framework: str) -> TrainedModel:
        """Read a model; raise `ConfigError` if it is something else, damaged, or of another framework."""
        file = SafetensorsFile.read(path)
        info = file.info
        if info is None:
            fix = "a weights file alone can only be where a training starts: model.weights"
            raise ConfigError("not a model of the trainers", where=path, expected=f"{KEY} in its metadata", fix=fix)
        check_framework(info, framework, path)
        return cls(file, info)


def check_framework(info: ModelInfo, framework: str, path: Path) -> None:
    """Raise `ConfigError` if a model is for another framework than the one that `model.name` selects."""
    if info.framework != framework:
        raise ConfigError(
            "this model is for another framework",
            where=path,
            expected=f"one for {framework}",
            found=f"{info.framework}, {info.name}",
            fix=f"set model.name to {info.name}",
        )


def save_model(run: Run, content: bytes) -> str:
    """Write `model.safetensors`; an earlier one stays until the new one is complete.

    Args:
        run: the run that it belongs to.
        content: the file.

    Returns:
        Its sha256, hex digits.

    Raises:
        TrainingError: there is not enough disk space.
    """
    check_space(run.folder, len(content) + _AROUND, TrainingError)
    with run.write(MODEL) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()
