"""Rebuild an image's config and manifest from the facts in it, and compare: datapack would write the same bytes.

So everything that an engine reads there is what datapack decided: the entrypoint, the environment, the user, the
volumes, the order of the layers. Of the base there is what the base itself says, if it is known here, and otherwise
what the image has besides datapack's own.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.hashing import is_digest
from datapack.image.base import PLATFORM
from datapack.image.base_rules import BaseRules, rules_of
from datapack.image.config import (
    BASE_DIGEST,
    DIGEST_LABEL,
    LICENCE,
    STANDARD,
    TITLE,
    VERSION,
    compose,
    dataset_folder,
)
from datapack.image.kinds import BASE_VARIABLE, DATASET_VARIABLE, DIGEST_VARIABLE, MODEL_VARIABLE, RUNNABLE
from datapack.image.layers import data_layers, program_layer, tag_layer
from datapack.image.stand_in import STAND_IN
from datapack.oci.spec import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.image.config import Foundation, Image
    from datapack.oci.image import StoredImage
    from datapack.reference import Reference

_NAMED = 10  # differences that are named
_MISSING = "nothing"


@dataclass(frozen=True)
class Carrier:
    """An image that claims to carry a version, and its base, if that base is known here."""

    image: StoredImage
    reference: Reference
    digest: str  # of the dataset
    below: int  # how many layers are the base's
    base: StoredImage | None
    earlier: bool = False  # whether its import program is that of an earlier datapack

    @property
    def runnable(self) -> bool:
        """Whether its label calls it a ready-to-run model instead of an import container."""
        return RUNNABLE in self.image.annotations

    @property
    def rules(self) -> BaseRules:
        """What its base must be like."""
        return rules_of(runnable=self.runnable)

    @property
    def _besides(self) -> int:
        """How many layers datapack adds besides those with data: the tag files, and the import program."""
        return 1 if self.runnable else 2

    def problems(self) -> list[str]:
        """Return a line for everything that datapack would have written differently."""
        image, ours = self.image, len(self.image.layers) - self.below
        if ours <= self._besides:
            return ["layers   the image has no layer with data"]
        base: Foundation = self.base or self._derived()
        rebuilt = self._rebuilt(base)
        *_, manifest, config = image.documents.values()
        return [
            *_form_problems(image),
            *_fact_problems(image.annotations, self.reference),
            *self._base_problems(),
            *_compare("config", rebuilt.config, config),
            *_compare("manifest", replace(rebuilt, config=config).manifest, manifest),
            *(f"base     {problem}" for problem in self.rules.settings(base.config)),
        ]

    def _base_problems(self) -> list[str]:
        if self.base is None or self.base.layers == self.image.layers[: self.below]:
            return []
        return [f"base     its layers are not those of the base that the image names, {self.base.descriptor.digest}"]

    def _rebuilt(self, base: Foundation) -> Image:
        above = self.image.layers[self.below :]
        groups = [()] * (len(above) - self._besides)
        folder = dataset_folder(self.reference)
        carrying = [*data_layers(groups, Path(), folder), tag_layer({}, folder)]
        layers = carrying if self.runnable else [program_layer(), *carrying]
        facts, names_base = self.image.annotations, not self.earlier or self._names_base
        return compose(base, self.reference, facts, self.digest, layers, above, names_base=names_base)

    @property
    def _names_base(self) -> bool:
        return any(line.startswith(f"{BASE_VARIABLE}=") for line in self.image.environment)

    def _derived(self) -> StoredImage:
        """Return the base as far as the image shows it: what remains without datapack's own."""
        image, config = self.image, self.image.config
        names = (DATASET_VARIABLE, DIGEST_VARIABLE, MODEL_VARIABLE if self.runnable else BASE_VARIABLE)
        ours = tuple(f"{name}=" for name in names)
        runtime = {
            **(config.get("config") or {}),
            "Env": [line for line in image.environment if not line.startswith(ours)],
            "Labels": {key: value for key, value in image.labels.items() if key not in image.annotations},
        }
        diff_ids, history = config["rootfs"]["diff_ids"], config.get("history") or []
        above = len(image.layers) - self.below
        derived = {
            **config,
            "config": runtime,
            "rootfs": {"diff_ids": diff_ids[: self.below]},
            "history": history[: len(history) - above] if len(history) >= above else [],
        }
        return replace(image, config=derived, layers=image.layers[: self.below])


def _fact_problems(facts: Mapping[str, str], reference: Reference) -> Iterator[str]:
    """Yield what is wrong with the annotations: engines take some others for commands."""
    for key in facts:
        if not key.startswith(STANDARD) and key not in {DIGEST_LABEL, RUNNABLE, STAND_IN}:
            yield f"manifest annotations.{key} is not datapack's"
    for key in {TITLE, LICENCE} - facts.keys():
        yield f"manifest annotations.{key} is missing"
    if facts.get(VERSION) != reference.version:
        yield f"manifest annotations.{VERSION} is {facts.get(VERSION)!a}, not {reference.version!a}"
    if not is_digest(facts.get(BASE_DIGEST)):
        yield f"manifest annotations.{BASE_DIGEST} is no digest"


def _form_problems(image: StoredImage) -> Iterator[str]:
    """Yield what is wrong if an engine would not take it for an image, or not for the Safe Haven's machines."""
    if image.descriptor.media_type != MANIFEST:
        yield f"manifest is said to be {image.descriptor.media_type}, not {MANIFEST}"
    found = f"{image.config['os']}/{image.config['architecture']}"
    if found != str(PLATFORM):
        yield f"config   the image is for {found}, not for {PLATFORM}"


def _compare(name: str, expected: bytes, found: bytes) -> list[str]:
    """Name the values in which two JSON documents differ."""
    if found == expected:
        return []
    differences = list(_differences(json.loads(expected), json.loads(found), ""))
    if not differences:
        return [f"{name:8} is not written as datapack writes it: other spaces, capitals or order"]
    more = len(differences) - _NAMED
    return [f"{name:8} {line}" for line in differences[:_NAMED]] + ([f"{name:8} and {more:,} more"] if more > 0 else [])


def _differences(expected: Any, found: Any, place: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from _differences(expected.get(key, _MISSING), found.get(key, _MISSING), f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip_longest(expected, found, fillvalue=_MISSING)):
            yield from _differences(one, other, f"{place}[{number}]")
    elif expected != found or type(expected) is not type(found):
        yield f"{place.removeprefix('.')} is {_shown(found)}, not {_shown(expected)}"


def _shown(value: Any) -> str:
    return _MISSING if value == _MISSING else reprlib.repr(value)
