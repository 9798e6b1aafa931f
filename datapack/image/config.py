"""The image: a base, some layers and a dataset's facts, composed into an OCI config and manifest.

There are two kinds. An import container starts the import program, on any small base. A ready-to-run image carries the
weights of a model on a trainer image, and starts the trainers' own program.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from datapack.image.kinds import (
    BASE_VARIABLE,
    DATASET_VARIABLE,
    DIGEST_VARIABLE,
    MODEL_VARIABLE,
    RUNNABLE,
    RUNNABLE_MEANS,
    TRAINER_COMMAND,
    image_name,
    image_title,
)
from datapack.image.stand_in import STAND_IN, STAND_IN_MEANS
from datapack.oci.spec import CONFIG, MANIFEST, Descriptor, canonical_json
from datapack.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.layers import Layer


ENTRYPOINT = ["/usr/local/bin/import"]
CREATED = "1970-01-01T00:00:00Z"  # fixed: the same input gives the same image
STEP = "datapack: "  # how datapack's steps in an image's history begin
DIGEST_LABEL = "io.github.datapack.dataset.digest"
STANDARD = "org.opencontainers.image."  # how OCI's labels begin
TITLE, VERSION, LICENCE = f"{STANDARD}title", f"{STANDARD}version", f"{STANDARD}licenses"
BASE_NAME, BASE_DIGEST = f"{STANDARD}base.name", f"{STANDARD}base.digest"
_FROM_BASE = {"Env", "Labels", "WorkingDir"}  # what an image has from its base
_FROM_TRAINER = {*_FROM_BASE, "Entrypoint", "User"}


def dataset_folder(reference: Reference) -> str:
    """Return where the bag is in an image, without a leading slash.

    The folder does not depend on the version, so that a layer shared by two versions has the same paths in both.
    """
    return f"dataset/{reference.name}"


@dataclass(frozen=True)
class Image:
    """An image without the bytes of its layers."""

    reference: Reference
    config: bytes
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    @property
    def runnable(self) -> bool:
        """Whether it is ready to run, not an import container."""
        return RUNNABLE in self.annotations

    @cached_property
    def config_descriptor(self) -> Descriptor:
        return Descriptor.of(CONFIG, self.config)

    @property
    def tag(self) -> str:
        """The image's default name: ``name:version``, or of a ready-to-run image ``name-run:version``."""
        return f"{image_name(self.reference, runnable=self.runnable)}:{self.reference.version}"

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return image_title(self.reference, runnable=self.runnable)

    @property
    def id(self) -> str:
        """The image ID that engines show: the config's digest."""
        return self.config_descriptor.digest

    @cached_property
    def manifest(self) -> bytes:
        """The image manifest's bytes."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self.config_descriptor.to_json(),
                "layers": [layer.to_json() for layer in self.layers],
                "annotations": dict(self.annotations),
            }
        )

    @cached_property
    def descriptor(self) -> Descriptor:
        return Descriptor.of(MANIFEST, self.manifest)

    @property
    def digest(self) -> str:
        """The image digest, which identifies it in a registry."""
        return self.descriptor.digest


class Foundation(Protocol):
    """What an image has from its base."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The base's config."""

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The base's layers, lowest first."""


def dataset_of(environment: Iterable[str]) -> tuple[Reference, str] | None:
    """Return the reference and the dataset digest that an import container names in its environment.

    Raises:
        UsageError: the value is not a reference.
    """
    variables = dict(line.partition("=")[::2] for line in environment)
    if DATASET_VARIABLE in variables and DIGEST_VARIABLE in variables:
        return Reference.parse(variables[DATASET_VARIABLE]), variables[DIGEST_VARIABLE]
    return None


def compose(
    base: Foundation,
    reference: Reference,
    labels: Mapping[str, str],
    dataset_digest: str,
    layers: Sequence[Layer],
    descriptors: Sequence[Descriptor],
    *,
    names_base: bool = True,
) -> Image:
    """Compose an image.

    Args:
        base: what the image is based on.
        reference: the version that the image carries.
        labels: the facts about the dataset, used as labels and as annotations. They say which kind of image it is.
        dataset_digest: the digest of the bag's manifest.
        layers: the layers above the base, lowest first.
        descriptors: the same layers as written. They are uncompressed, so digest and diff_id are the same.
        names_base: whether the import program is told the base, as those of datapack 0.1 were not.
    """
    config = base.config
    labels = {**labels, DIGEST_LABEL: dataset_digest}
    runtime = _runtime(config, reference, dataset_digest, runnable=RUNNABLE in labels)
    if names_base and RUNNABLE not in labels:
        base_name = "@".join(labels[label] for label in (BASE_NAME, BASE_DIGEST) if label in labels)
        runtime["Env"].append(f"{BASE_VARIABLE}={base_name}")
    runtime["Labels"] = {**(runtime.get("Labels") or {}), **labels}
    if BASE_NAME not in labels:  # a name there would be that of the base's own base
        runtime["Labels"].pop(BASE_NAME, None)
    image_config = {
        "architecture": config["architecture"],
        "os": config["os"],
        "created": CREATED,
        "config": runtime,
        "rootfs": {
            "type": "layers",
            "diff_ids": [*config["rootfs"]["diff_ids"], *(layer.digest for layer in descriptors)],
        },
        "history": [
            *(config.get("history") or ()),
            *({"created": CREATED, "created_by": f"{STEP}{layer.purpose}"} for layer in layers),
        ],
    }
    return Image(
        reference=reference,
        config=canonical_json(image_config),
        layers=(*base.layers, *descriptors),
        annotations=labels,
    )


def _runtime(config: Mapping[str, Any], reference: Reference, digest: str, *, runnable: bool) -> dict[str, Any]:
    """Return how an image starts: what it has from its base's ``config``, and what datapack adds."""
    kept = _FROM_TRAINER if runnable else _FROM_BASE
    runtime = {key: value for key, value in (config.get("config") or {}).items() if key in kept}
    if runnable:
        runtime["Cmd"] = TRAINER_COMMAND
    else:
        runtime["Entrypoint"] = ENTRYPOINT
    own = {DATASET_VARIABLE: str(reference), DIGEST_VARIABLE: digest}
    if runnable:
        own[MODEL_VARIABLE] = f"/{dataset_folder(reference)}"
    runtime["Env"] = [*(runtime.get("Env") or ()), *(f"{name}={value}" for name, value in own.items())]
    return runtime


def labels(entry: Entry, base: Base, *, runnable: bool = False) -> dict[str, str]:
    """Return the facts about an image's dataset and base, under OCI's standard keys, and of which kind it is.

    An image based on a stand-in says so in its title, and has the stand-in's label. A base on disk has no name: where
    it is must not matter.
    """
    title = entry.dataset.title
    facts = {
        "title": f"{title} (on {STAND_IN_MEANS})" if base.is_stand_in else title,
        "version": entry.reference.version,
        "licenses": entry.dataset.licence,
        "vendor": entry.dataset.publisher,
        "authors": entry.dataset.contact,
        "url": entry.dataset.homepage,
        "source": entry.dataset.homepage,
    }
    shown = {f"{STANDARD}{name}": value for name, value in facts.items() if value}
    shown |= {BASE_DIGEST: base.digest} if base.is_on_disk else {BASE_NAME: base.name, BASE_DIGEST: base.digest}
    if runnable:  # the base's own description would be of its training
        shown |= {RUNNABLE: "true", f"{STANDARD}description": RUNNABLE_MEANS}
    return {**shown, STAND_IN: "true"} if base.is_stand_in else shown
