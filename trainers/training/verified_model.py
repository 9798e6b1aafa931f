"""The verified model of a ready-to-run image: what it is, found before any framework is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, get_args

from trainers.config.frameworks import KerasModel, PyTorchModel, framework_of
from trainers.errors import ConfigError
from trainers.training.model_file import ModelInfo, SafetensorsFile, looks_like_safetensors

if TYPE_CHECKING:
    from trainers.dataset.model_bag import VerifiedModel

_KNOWN = (*get_args(PyTorchModel), *get_args(KerasModel))
_MIN_SIZE, _MAX_SIZE = 800, 1333  # pixels: those of torchvision's detectors, where nothing says others
_LARGEST = 10_000  # pixels of a side, as in train.yml

Value = TypeVar("Value")


def model_info(model: VerifiedModel) -> ModelInfo:
    """Return what a verified model is, as its `model.json` and its weights say.

    Raises:
        ConfigError: they contradict each other, or say too little; or the trainers do not know the architecture.
    """
    facts = model.facts
    if facts.architecture not in _KNOWN:
        raise ConfigError(
            "the trainers in this image do not know this model",
            where=model.bag.reference,
            expected=f"one of {', '.join(_KNOWN)}",
            found=facts.architecture,
        )
    own = _own_info(model)
    categories = _agreed("categories", model, facts.categories, own.categories if own else ())
    if own:
        _agreed("architecture", model, facts.architecture, own.name)
    if not categories:
        raise ConfigError("nothing says what the categories of this model are", where=model.path)
    longest = _agreed("max_size", model, facts.max_size, own.max_size if own else None) or _MAX_SIZE
    shortest = _agreed("min_size", model, facts.min_size, own.min_size if own else None) or min(_MIN_SIZE, longest)
    if not 1 <= shortest <= longest <= _LARGEST:
        raise ConfigError("no size for images", where=model.path, found=f"min_size {shortest}, max_size {longest}")
    trained_on = facts.trained_on
    return ModelInfo(
        framework=framework_of(facts.architecture).name,
        name=facts.architecture,
        categories=categories,
        min_size=shortest,
        max_size=longest,
        reference=(trained_on and trained_on.reference) or "",
        digest=(trained_on and trained_on.digest) or "",
        split=own.split if own else {},
    )


def _own_info(model: VerifiedModel) -> ModelInfo | None:
    """Return what the weights themselves say, if the trainers wrote them."""
    if not looks_like_safetensors(model.weights):
        return None
    return SafetensorsFile.of(model.path, model.weights).info


def _agreed(what: str, model: VerifiedModel, said: Value, own: Value) -> Value:
    """Return what `model.json` says or, if it says nothing, the weights; raise `ConfigError` if they differ."""
    if said and own and said != own:
        raise ConfigError(
            f"model.json and the weights disagree about the {what}", where=model.path, expected=said, found=own
        )
    return said or own
