"""The two kinds of image: an import container, and a ready-to-run model on a trainer image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datapack.reference import Reference

DATASET_VARIABLE = "DATAPACK_DATASET"
DIGEST_VARIABLE = "DATAPACK_DIGEST"
BASE_VARIABLE = "DATAPACK_BASE"  # of an import container: the base's name and digest, for the receipt
MODEL_VARIABLE = "TRAINERS_MODEL"  # of a ready-to-run image: the folder of the bag with the model
TRAINER_ENTRYPOINT = ["python", "-m", "trainers"]
TRAINER_COMMAND = ["predict"]
RUNNABLE = "io.github.datapack.runnable"  # the label of a ready-to-run image
RUNNABLE_MEANS = "a ready-to-run model: it runs on the images in /safe_data"


def image_name(reference: Reference, *, runnable: bool = False) -> str:
    """Return the default name of a version's image, without a tag: that of a ready-to-run one ends with ``-run``."""
    return f"{reference.name}-run" if runnable else reference.name


def image_title(reference: Reference, *, runnable: bool = False) -> str:
    """Return what an image is, in a few words: two images of one version must not replace each other."""
    return f"{reference}, ready to run" if runnable else str(reference)
