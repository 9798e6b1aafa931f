"""The section ``model:`` of a version: what its weights are, as far as their source does not say it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from datapack.bag.model_facts import NO_CATEGORY, ModelFacts, TrainedOn
from datapack.catalog.sources.base import PayloadPath  # noqa: TC001 - pydantic needs it
from datapack.catalog.sources.derived import OtherVersion  # noqa: TC001 - pydantic needs it
from datapack.catalog.strict import StrictModel
from datapack.errors import UsageError
from datapack.reference import Reference

if TYPE_CHECKING:
    from typing import Self

_ID = r"^(?:0|[1-9][0-9]{0,17})$"
_DIGEST = r"^sha256:[0-9a-f]{64}$"
FORMS = {
    _ID: "a category's id, a whole number",
    _DIGEST: "a dataset digest, sha256: and 64 hexadecimal digits",
}

_Text = Annotated[str, Field(min_length=1)]
_Pixels = Annotated[int, Field(strict=True, ge=1)]


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for place, name in enumerate(names) if name != NO_CATEGORY and name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"two categories are called {twice!r}: remove one of them")
    return names


def _check_text(text: Any) -> Any:
    """Refuse the reference of a dataset where only a text is expected: without a digest it names no content."""
    try:
        reference = Reference.parse(text if isinstance(text, str) else "")
    except UsageError:
        return text
    raise PydanticCustomError(
        "trained_on",
        "{what}",
        {
            "what": "a dataset without its digest",
            "expected": "a text, or a dataset and its digest",
            "found": repr(text),
            "fix": f"write {{dataset: {reference}, digest: 'sha256:...'}}; 'datapack show {reference}' has the digest",
        },
    )


class InputSize(StrictModel):
    """The size of the images that a model takes, in pixels; images are scaled to it."""

    min_size: _Pixels | None = Field(None, description="the shorter side, in pixels")
    max_size: _Pixels | None = Field(None, description="the longest side, in pixels")

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.min_size is None and self.max_size is None:
            raise ValueError("no size: give min_size, max_size or both")
        if self.min_size and self.max_size and self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is larger than max_size {self.max_size}")
        return self


class TrainedOnDataset(StrictModel):
    """The dataset of datapack that a model was trained on; the keys are those of ``train.yml``."""

    dataset: OtherVersion = Field(description="the version, such as reef@v1; the catalog need not have it")
    digest: str = Field(pattern=_DIGEST, description="its dataset digest, sha256:... with 64 hexadecimal digits")


class ModelSection(StrictModel):
    """What the weights in a version are. datapack writes it to ``model.json`` in the payload."""

    architecture: _Text | None = Field(
        None,
        description="the architecture, required except for a run; one that the trainers know has the name of "
        "'model.name' in train.yml",
    )
    categories: (
        Annotated[tuple[_Text, ...], Field(min_length=1), AfterValidator(_check_distinct)]
        | Annotated[dict[Annotated[str, Field(pattern=_ID)], _Text], Field(min_length=1)]
        | PayloadPath
        | None
    ) = Field(
        None,
        description="the categories in the order of their labels from 1: a list of names, whose ids are then 1, 2, "
        "3, ...; names by their ids, such as {1: fish, 5: crab}; or the payload path of a COCO file that has them, "
        "in the order of their ids. 'N/A' is a label without a category",
    )
    input: InputSize | None = Field(None, description="the size that images are scaled to")
    trained_on: Annotated[TrainedOnDataset | _Text | None, BeforeValidator(_check_text)] = Field(
        None, description="what it was trained on: a version with its digest, or a text"
    )
    metrics: dict[_Text, Annotated[float, Field(strict=True, ge=0, le=1)]] = Field(
        default={}, description="how good it is, such as {mAP: 0.37, mAP50: 0.585}: numbers from 0 to 1"
    )
    card: PayloadPath | None = Field(None, description="the payload path of a text about the model, for people")
    weights: PayloadPath | None = Field(
        None,
        description="the payload path of the weights; needed only if several files end in .safetensors, .pt, .pth, "
        ".ckpt, .bin, .onnx, .keras or .h5",
    )
    convert: Annotated[bool, Field(strict=True)] | _Text = Field(
        False,
        description="'true' replaces weights that are a pickle by the same tensors as safetensors; a text, such as "
        "ema, keeps only the tensors below this key of a checkpoint",
    )
    allow_pickle: _Text | None = Field(
        None, description="the reason to accept a pickle that runs code when it is loaded, where convert can't help"
    )

    @model_validator(mode="after")
    def _check_pickle(self) -> Self:
        if self.convert and self.allow_pickle:
            raise ValueError("'convert' leaves no pickle, so 'allow_pickle' contradicts it: remove one of them")
        return self

    @property
    def listed_categories(self) -> tuple[tuple[int, str], ...]:
        """Ids and names, if the section itself has them, not a file."""
        match self.categories:
            case tuple():
                return tuple(enumerate(self.categories, start=1))
            case dict():
                return tuple((int(identity), name) for identity, name in self.categories.items())
        return ()

    def facts(self, weights: str, categories: tuple[tuple[int, str], ...]) -> ModelFacts:
        """Return what the section says of the model; its architecture is empty if it does not say it.

        Args:
            weights: the payload path of the weights.
            categories: their ids and names.
        """
        size = self.input
        return ModelFacts(
            architecture=self.architecture or "",
            weights=weights,
            categories=categories,
            min_size=size.min_size if size else None,
            max_size=size.max_size if size else None,
            trained_on=self._trained_on(),
            metrics=self.metrics,
            card=self.card,
        )

    def _trained_on(self) -> TrainedOn | None:
        match self.trained_on:
            case None:
                return None
            case TrainedOnDataset():
                return TrainedOn(reference=self.trained_on.dataset, digest=self.trained_on.digest)
        return TrainedOn(text=self.trained_on)

    @property
    def said(self) -> Any:
        """What the section says, for JSON; categories are a list, as their order counts."""
        listed = [list(category) for category in self.listed_categories]
        rest = self.model_dump(mode="json", exclude_defaults=True, exclude={"categories"})
        return {**rest, "categories": listed or self.categories}
