"""What only a ready-to-run image needs: a payload that is a model, and a base with room above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.bag.model_facts import MODEL, ModelFacts
from datapack.errors import BagError, ImageError, UsageError
from datapack.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.bag.bagit import Bag
    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.layers import Layer

MOST_LAYERS = 125  # of an image: Docker and overlay stop at about 127
_LIMIT = 1 << 20  # bytes of a model.json


def check_is_model(entry: Entry) -> None:
    """Raise `UsageError` if a version is not a model, before anything is fetched."""
    if not entry.is_model:
        raise UsageError(
            "not a model: only a version of 'kind: model' can be made ready to run",
            where=entry.reference,
            fix="leave --runnable out for an import container",
        )


def check_model(bag: Bag) -> ModelFacts:
    """Return what the weights in a bag are.

    Raises:
        BagError: it has no `model.json`, or one that the trainers could not use.
    """
    path, name = bag.path / PAYLOAD / MODEL, f"{PAYLOAD}/{MODEL}"
    if name not in bag.manifest.hashes:
        raise BagError(
            f"not a model: there is no {MODEL} in its payload",
            where=bag.path,
            fix="a version of 'kind: model' has one; leave --runnable out for an import container",
        )
    facts = ModelFacts.parse(read_limited(path, _LIMIT, BagError), path)
    if f"{PAYLOAD}/{facts.weights}" not in bag.manifest.hashes:
        raise BagError("its weights are not in the payload", where=path, found=facts.weights)
    return facts


def check_layers(base: Base, layers: Sequence[Layer]) -> None:
    """Raise `ImageError` if an image would have more layers than an engine can stack."""
    count = len(base.layers) + len(layers)
    if count > MOST_LAYERS:
        raise ImageError(
            "too many layers for one image",
            where=base.name,
            expected=f"at most {MOST_LAYERS}",
            found=f"{len(base.layers)} of the base and {len(layers)} of the model",
            fix="use a base with fewer layers",
        )
