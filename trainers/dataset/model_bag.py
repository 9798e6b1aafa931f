"""The model in a ready-to-run image: its bag is verified before any framework is imported, and its weights are kept.

What is loaded later are the very bytes that were compared with the manifest, not a file that is read again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.listing import list_payload
from datapack.bag.manifest import MANIFEST, PAYLOAD, Manifest
from datapack.bag.model_facts import MODEL, ModelFacts
from datapack.errors import BagError, ManifestError
from datapack.hashing import is_digest
from trainers.dataset.verify import Dataset, check_bytes
from trainers.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

VARIABLE = "TRAINERS_MODEL"  # the folder of the bag in the image
DIGEST, REFERENCE = "DATAPACK_DIGEST", "DATAPACK_DATASET"  # what it must be, and what it is called

_FIX = "pull or load the image again; if that does not help, ask who built it"


@dataclass(frozen=True)
class VerifiedModel:
    """A model of which every byte was compared with the manifest that the image names."""

    bag: Dataset
    facts: ModelFacts
    weights: bytes  # as they were compared

    @property
    def reference(self) -> str:
        """Its name@version."""
        return self.bag.reference

    @property
    def digest(self) -> str:
        """The dataset digest."""
        return self.bag.manifest.digest

    @property
    def path(self) -> Path:
        """The path of the weights, for errors: what is there now need not be what was compared."""
        return self.bag.path(f"{PAYLOAD}/{self.facts.weights}")

    @property
    def sha256(self) -> str:
        """The hash of the weights, in hex."""
        return self.bag.manifest.hashes[f"{PAYLOAD}/{self.facts.weights}"]


def in_model_image() -> bool:
    """Whether this image is a ready-to-run model."""
    return bool(os.environ.get(VARIABLE))


def verify_model(workers: int, advance: Callable[[int], None] = lambda _: None) -> VerifiedModel:
    """Compare every file of the model in this image with its manifest; return its facts and its weights.

    Args:
        workers: threads.
        advance: called with the number of bytes read since its last call.

    Raises:
        ConfigError: the environment is not that of a ready-to-run model, or its `model.json` is of another form.
        MismatchError: the model is not the one that the image names; ``details`` says which files differ.
    """
    bag = _open(Path(os.environ[VARIABLE]))
    facts = _facts(bag, workers)
    weights = f"{PAYLOAD}/{facts.weights}"
    if weights not in bag.manifest.hashes:
        raise ConfigError("there are no weights", where=bag.folder, expected=facts.weights, fix=_FIX)
    kept = _read(bag, {weights}, workers, advance)
    return VerifiedModel(bag, facts, kept[weights])


def _open(folder: Path) -> Dataset:
    """Read the manifest of the bag; raise `MismatchError` if it is not the one that the image names."""
    digest = os.environ.get(DIGEST, "")
    if not is_digest(digest):
        fix = "start the image as it was built: its environment names the model"
        raise ConfigError(f"{VARIABLE} is set, but no digest of the model", where=f"${DIGEST}", fix=fix)
    try:
        manifest, listing = Manifest.read(folder), list_payload(folder)
    except (ManifestError, BagError) as error:
        raise MismatchError(
            error.what, where=error.where, expected=error.expected, found=error.found, fix=_FIX
        ) from error
    if manifest.digest != digest:
        raise MismatchError(
            f"the model is not the one that this image names: its {MANIFEST} is another",
            where=folder,
            expected=digest,
            found=manifest.digest,
            fix=_FIX,
        )
    return Dataset(folder, os.environ.get(REFERENCE) or folder.name, manifest, listing)


def _read(
    bag: Dataset, wanted: Collection[str], workers: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, bytes]:
    """Compare every file with the manifest; return the content of those that are ``wanted``, as it was compared."""
    kept: dict[str, bytes] = {}
    try:
        check_bytes(bag, workers=workers, images=wanted, visit=kept.__setitem__, advance=advance)
    except MismatchError as error:
        raise MismatchError(
            "the model does not match the manifest that this image names",
            where=bag.folder,
            found=error.found,
            fix=_FIX,
            details=error.details,
        ) from error
    return kept


def _facts(bag: Dataset, workers: int) -> ModelFacts:
    """Read `model.json`, which says which file has the weights."""
    name = f"{PAYLOAD}/{MODEL}"
    if name not in bag.manifest.hashes:
        raise ConfigError("the model in this image does not say what it is", where=bag.folder, expected=MODEL, fix=_FIX)
    try:
        return ModelFacts.parse(bag.read(name), bag.path(name))
    except MismatchError:
        _read(bag, (), workers)  # it may not be the only file that differs
        raise
    except BagError as error:
        raise ConfigError(error.what, where=error.where, expected=error.expected, found=error.found) from error
