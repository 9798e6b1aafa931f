"""``model.json``: what the weights in a payload are. datapack writes it for a version of `kind: model`.

The trainers read it from the bag in a model container. It is a payload file, so the dataset digest covers it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from datapack.bag.manifest import check_path
from datapack.errors import BagError, ManifestError
from datapack.jsonfile import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = "model.json"  # its path in the payload
NO_CATEGORY = "N/A"  # how lists of categories mark a label, or an id, that has none
FORM = 1  # of the file; it changes when older readers can no longer read it


@dataclass(frozen=True)
class TrainedOn:
    """What a model was trained on: a dataset of datapack by its reference and digest, or a text."""

    reference: str | None = None  # name@version
    digest: str | None = None  # of the dataset: sha256: and 64 hex digits
    text: str | None = None

    @property
    def label(self) -> str:
        """It as a text: the reference and the digest, if it is a dataset."""
        return self.text or f"{self.reference} {self.digest}"


@dataclass(frozen=True)
class ModelFacts:
    """What is known about a model; None and empty are unknown."""

    architecture: str  # as `model.name` in train.yml, such as fasterrcnn_resnet50_fpn_v2
    weights: str  # the file's path in the payload
    categories: tuple[tuple[int, str], ...] = ()  # ids and names, in the order of the labels from 1
    min_size: int | None = None  # of the input: shorter side, pixels
    max_size: int | None = None  # longest side, pixels
    trained_on: TrainedOn | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  # such as mAP, from 0 to 1
    licence: str | None = None
    card: str | None = None  # path in the payload of a text for people

    @property
    def named_categories(self) -> tuple[tuple[int, str], ...]:
        """The categories without the placeholders of labels that have none, such as those of COCO's 91 labels."""
        return tuple(category for category in self.categories if category[1] != NO_CATEGORY)

    def to_json(self) -> bytes:
        """Return the content of ``model.json``: the same facts give the same bytes."""
        content = {"form": FORM, **asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes, where: object) -> ModelFacts:
        """Read ``model.json``; raise `BagError` if it is something else."""
        value = parse_json(content, where, BagError)
        try:
            return _facts(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise BagError("not a model.json", where=where, expected=f"form {FORM} of it", found=found) from error


def _facts(value: dict[str, Any]) -> ModelFacts:
    if value.pop("form") != FORM:
        raise ValueError("another form")
    trained_on = value.pop("trained_on")
    categories = tuple((_whole(identity), _text(name)) for identity, name in value.pop("categories"))
    metrics = {_text(name): float(number) for name, number in value.pop("metrics").items()}
    sizes = {name: None if value[name] is None else _whole(value[name]) for name in ("min_size", "max_size")}
    texts = {name: None if value[name] is None else _text(value[name]) for name in ("licence", "card")}
    names = {name: _text(value[name]) for name in ("architecture", "weights")}
    for path in filter(None, (names["weights"], texts["card"])):
        _check_path(path)
    if unknown := value.keys() - {*sizes, *texts, *names}:
        raise ValueError(f"unknown key {min(unknown)}")
    facts: dict[str, Any] = {**names, **texts, **sizes, "categories": categories, "metrics": metrics}
    return ModelFacts(**facts, trained_on=None if trained_on is None else _trained_on(trained_on))


def _trained_on(value: dict[str, Any]) -> TrainedOn:
    named = TrainedOn(**{key: None if text is None else _text(text) for key, text in value.items()})
    if (named.reference is None) != (named.digest is None) or (named.text is None) == (named.reference is None):
        raise ValueError("trained_on is neither a dataset with its digest nor a text")
    return named


def _check_path(path: str) -> None:
    """Refuse a path that leads out of the payload."""
    try:
        check_path(path)
    except ManifestError as error:
        raise ValueError(str(error)) from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"not a text: {value!r}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"not a whole number: {value!r}")
    return value
