"""What the trainers recorded about a finished training, in ``run.json``, ``coco_eval.json`` and the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from datapack.bag.model_facts import ModelFacts, TrainedOn
from datapack.errors import DatapackError, FetchError
from datapack.files import read_limited
from datapack.jsonfile import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The names that the trainers give to the files of a run.
MODEL, RECORD, EVALUATION, OLD_MODEL = "model.safetensors", "run.json", "coco_eval.json", "model.pt"
_KEY = "trainers"  # of the model's metadata
_LARGEST = 256 << 20  # bytes of a JSON file
_DIGEST = r"^sha256:[0-9a-f]{64}$"

_Part = TypeVar("_Part", bound=BaseModel)
_Text = Annotated[str, Field(min_length=1)]
_Pixels = Annotated[int, Field(strict=True, ge=1)]
_Score = Annotated[float, Field(ge=0, le=1)] | None


class _Dataset(BaseModel):
    reference: _Text
    digest: Annotated[str, Field(pattern=_DIGEST)]


class _Record(BaseModel):
    """The part of ``run.json`` that counts here."""

    outcome: str
    reason: str | None = None
    model: str
    dataset: _Dataset


class _Model(BaseModel):
    """What the trainers write into the metadata of a model."""

    form: Literal[1]
    framework: _Text
    name: _Text
    categories: Annotated[tuple[tuple[Annotated[int, Field(strict=True)], _Text], ...], Field(min_length=1)]
    min_size: _Pixels
    max_size: _Pixels
    dataset: _Dataset


class _Scores(BaseModel):
    AP: _Score
    AP50: _Score


class _Summary(BaseModel):
    all: _Scores


class _Evaluation(BaseModel):
    """The part of ``coco_eval.json`` that counts here."""

    at100: _Summary


def check_outcome(path: Path, where: str) -> None:
    """Raise `FetchError` unless ``run.json`` says that the training has ended well."""
    record = _read(_Record, path, where)
    if record.outcome != "ok":
        found = f"{record.outcome}: {record.reason}" if record.reason else record.outcome
        fix = "let the training end, or resume it"
        raise FetchError("the training has not ended well", where=where, expected="outcome ok", found=found, fix=fix)


def run_facts(folder: Path, paths: Mapping[str, str], where: str) -> ModelFacts:
    """Return what a run says about its model.

    Args:
        folder: the payload.
        paths: the paths in it of the run's files, by the names that the trainers gave them.
        where: the source, for errors.

    Raises:
        FetchError: the files are not those of the trainers, or not of one training.
    """
    record = _read(_Record, folder / paths[RECORD], where)
    model = _read_model(folder / paths[MODEL], where)
    if (model.name, model.dataset) != (record.model, record.dataset):
        raise FetchError(
            f"{MODEL} and {RECORD} are of different trainings",
            where=where,
            expected=f"{record.model} trained on {record.dataset.reference} {record.dataset.digest}",
            found=f"{model.name} trained on {model.dataset.reference} {model.dataset.digest}",
        )
    scores = {}
    if EVALUATION in paths:
        found = _read(_Evaluation, folder / paths[EVALUATION], where).at100.all
        scores = {"mAP": found.AP, "mAP50": found.AP50}
    return ModelFacts(
        architecture=model.name,
        weights=paths[MODEL],
        categories=model.categories,
        min_size=model.min_size,
        max_size=model.max_size,
        trained_on=TrainedOn(reference=model.dataset.reference, digest=model.dataset.digest),
        metrics={name: score for name, score in scores.items() if score is not None},
    )


def _read(kind: type[_Part], path: Path, where: str) -> _Part:
    content = read_limited(path, _LARGEST, FetchError, follow=False)
    return _parse(kind, content, f"{where}: {path.name}")


def _read_model(path: Path, where: str) -> _Model:
    from datapack.weights.read import read_weights  # here: datasets need none of it

    try:
        metadata = read_weights(path).metadata
    except DatapackError as error:
        raise FetchError("the model can't be read", where=where, found=error) from error
    if _KEY not in metadata:
        raise FetchError(
            f"{path.name} is not a model of the trainers", where=where, found=f"no {_KEY!r} in its metadata"
        )
    return _parse(_Model, metadata[_KEY].encode(), f"{where}: {path.name}")


def _parse(kind: type[_Part], content: bytes, where: str) -> _Part:
    value = parse_json(content, where, FetchError, limit=None)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        found = f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
        fix = "name the folder of a finished training, not of a prediction"
        raise FetchError("not what the trainers write", where=where, found=found, fix=fix) from error
