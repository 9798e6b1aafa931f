"""What a version of `kind: model` is, in short: from its bag if that is here, and else from the catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datapack.bag.manifest import PAYLOAD
from datapack.bag.model_facts import MODEL, ModelFacts
from datapack.errors import BagError
from datapack.files import read_limited
from datapack.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.workspace.folder import Workspace

_LARGEST = 16 << 20  # bytes of model.json
_SHOWN = 5  # categories
UNKNOWN = "known once it is fetched"


def known_model(workspace: Workspace, entry: Entry) -> ModelFacts | None:
    """Return what is known about a model; None if the version is none, or only a run that is not fetched knows."""
    if not entry.is_model:
        return None
    try:
        return read_model(workspace.bag(entry.reference))
    except BagError:  # it is not here, or damaged, which is for others to say
        section = entry.version.model
        if section is None or section.architecture is None:
            return None
        return section.facts(section.weights or "", section.listed_categories)


def read_model(bag: Path) -> ModelFacts:
    """Return what ``model.json`` in a bag says; raise `BagError` if it can't be read."""
    path = bag / PAYLOAD / MODEL
    return ModelFacts.parse(read_limited(path, _LARGEST, BagError, follow=False), path)


def model_json(facts: ModelFacts) -> dict[str, Any]:
    """Return the facts for JSON."""
    return {**asdict(facts), "weights": facts.weights or None}


def summary(facts: ModelFacts) -> str:
    """Return a line about a model: ``fasterrcnn_resnet50_fpn, 18 categories, trained on reef@v1, mAP 0.37``."""
    parts = [facts.architecture]
    if facts.named_categories:
        parts.append(counted(len(facts.named_categories), "category", "categories"))
    if facts.trained_on:
        parts.append(f"trained on {facts.trained_on.text or facts.trained_on.reference}")
    return ", ".join([*parts, *_metrics(facts)])


def _metrics(facts: ModelFacts) -> list[str]:
    return [f"{name} {value:.3g}" for name, value in sorted(facts.metrics.items())]


def labelled(facts: ModelFacts) -> list[tuple[str, str | None]]:
    """Return what is known about a model, each with a label; None for what is not known."""
    named = facts.named_categories
    names = ", ".join(name for _, name in named[:_SHOWN])
    more = ", ..." if len(named) > _SHOWN else ""
    return [
        ("model", facts.architecture),
        ("weights", facts.weights or None),
        ("categories", f"{len(named):,}: {names}{more}" if named else None),
        ("input", input_size(facts)),
        ("trained on", facts.trained_on.label if facts.trained_on else None),
        ("metrics", ", ".join(_metrics(facts)) or None),
        ("card", facts.card),
    ]


def input_size(facts: ModelFacts) -> str | None:
    """Return the size of the images that a model takes, in words."""
    parts = []
    if facts.min_size:
        parts.append(f"shorter side {facts.min_size:,} pixels")
    if facts.max_size:
        parts.append(f"longest side {'at most ' if facts.min_size else ''}{facts.max_size:,} pixels")
    return ", ".join(parts) or None
