"""What a page shows of a model: what it is, its metrics, its tensors by the layers that they are in, and its card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.catalog.model_summary import labelled, read_model
from datapack.errors import BagError, DatapackError
from datapack.files import open_regular
from datapack.page.cells import Amount, Listing, bytes_of, code, name
from datapack.text import counted, size
from datapack.weights.model import BITS
from datapack.weights.read import read_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from markupsafe import Markup

    from datapack.bag.bagit import Bag
    from datapack.bag.model_facts import ModelFacts
    from datapack.report.facts import Fact
    from datapack.weights.model import TensorInfo

MOST_LAYERS, MOST_CATEGORIES = 60, 100
_LEVELS = 2  # parts of a tensor's name that name its layer
_LONGEST_CARD = 20_000  # bytes
_AS_CODE = {"model", "weights", "card", "trained on"}


@dataclass(frozen=True)
class ModelPage:
    """The part of the page about a model."""

    facts: list[Fact]
    metrics: Listing
    categories: Listing
    summary: str  # of the tensors
    layers: Listing
    card: str  # its text; empty if there is none, or if it is not text
    card_more: str  # what is left out of it
    headline: list[tuple[str, str]]


def model_page(bag: Bag) -> ModelPage:
    """Return what the page shows of a model.

    Raises:
        BagError: the bag has no facts about a model, or no such weights.
    """
    facts, payload = read_model(bag.path), bag.path / PAYLOAD
    tensors, problem = _tensors(payload / facts.weights)
    layers = _by_layer(tensors)
    numbers = sum(layer.numbers for layer in layers.values())
    card, more = _card(payload / facts.card) if facts.card else ("", "")
    return ModelPage(
        facts=[(label.capitalize(), _fact(label, value)) for label, value in labelled(facts)],
        metrics=Listing(
            "Metrics, from 0 to 1",
            ("Metric", "Value"),
            [(name(key), Amount(f"{value:.4g}", value)) for key, value in sorted(facts.metrics.items())],
        ),
        categories=_categories(facts),
        summary=problem or _summary(tensors, layers.values()),
        layers=_listing(layers),
        card=card,
        card_more=more,
        headline=_headline(facts, numbers),
    )


def _fact(label: str, value: str | None) -> Markup | None:
    return None if value is None else code(value, 200) if label in _AS_CODE else name(value, 300)


def _headline(facts: ModelFacts, numbers: int) -> list[tuple[str, str]]:
    """Return the numbers that describe the model best."""
    first = next(iter(sorted(facts.metrics.items())), None)
    shown = [("Numbers", _rounded(numbers))] if numbers else []
    if facts.named_categories:
        shown.append(("Categories", f"{len(facts.named_categories):,}"))
    return [*shown, (first[0], f"{first[1]:.3g}")] if first else shown


def _rounded(numbers: int) -> str:
    """Return a number that fits into the headline on a phone; the text below it has all digits."""
    million, billion = 10**6, 10**9
    if numbers < million:
        return f"{numbers:,}"
    return f"{numbers / million:.1f} M" if numbers < billion else f"{numbers / billion:,.1f} bn"


def _tensors(path: Path) -> tuple[Mapping[str, TensorInfo], str]:
    """Return the tensors of a weights file, and why it can't be read or has none that are known."""
    try:
        found = read_weights(path)
    except DatapackError as error:
        return {}, f"The weights can't be read: {error.what}."
    return found.tensors, "" if found.tensors else f"The weights are in the format {found.format}, which is not opened."


@dataclass
class _Layer:
    """The tensors of one layer, or of some that belong together."""

    tensors: int = 0
    numbers: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # tensors of each type


def _by_layer(tensors: Mapping[str, TensorInfo]) -> dict[str, _Layer]:
    """Group tensors by the first parts of their names, in the order of the names."""
    layers: dict[str, _Layer] = {}
    for path in sorted(tensors):
        tensor, parts = tensors[path], path.split(".")
        layer = layers.setdefault(".".join(parts[: min(_LEVELS, max(1, len(parts) - 1))]), _Layer())
        layer.tensors += 1
        layer.numbers += tensor.numbers
        layer.bytes += tensor.numbers * BITS.get(tensor.dtype, 0) // 8
        layer.kinds[tensor.dtype] += 1
    return layers


def _summary(tensors: Mapping[str, TensorInfo], layers: Iterable[_Layer]) -> str:
    every = list(layers)
    kinds = sum((layer.kinds for layer in every), Counter())
    return (
        f"{counted(len(tensors), 'tensor')} with {counted(sum(layer.numbers for layer in every), 'number')}, "
        f"{size(sum(layer.bytes for layer in every))}: {_kinds(kinds)}."
    )


def _kinds(kinds: Counter[str]) -> str:
    """Return the types of tensors, with how many there are of each if there are several types."""
    ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    return ordered[0] if len(ordered) == 1 else ", ".join(f"{kind} ({kinds[kind]:,})" for kind in ordered)


def _listing(layers: Mapping[str, _Layer]) -> Listing:
    """Return the table of layers: the largest, in the order of their names."""
    kept = set(sorted(layers, key=lambda path: (-layers[path].bytes, path))[:MOST_LAYERS])
    rows = [
        (code(path, 100), layer.tensors, layer.numbers, bytes_of(layer.bytes), name(_kinds(layer.kinds)))
        for path, layer in layers.items()
        if path in kept
    ]
    left = len(layers) - len(rows)
    more = f"And {counted(left, 'smaller group')}." if left else ""
    return Listing("Tensors by layer", ("Layer", "Tensors", "Numbers", "Size", "Type"), rows, more)


def _categories(facts: ModelFacts) -> Listing:
    rows = [(name(text, 80), identity) for identity, text in facts.named_categories[:MOST_CATEGORIES]]
    left = len(facts.named_categories) - len(rows)
    more = f"And {counted(left, 'more category', 'more categories')}." if left else ""
    return Listing("Categories, in the order of the labels", ("Category", "Id"), rows, more)


def _card(path: Path) -> tuple[str, str]:
    """Return the text of a card, or of its beginning, and what is left out."""
    with open_regular(path, BagError, follow=False) as file:
        content = file.read(_LONGEST_CARD + 1)
    if b"\0" in content:
        return "", "The card is not plain text; it is in the data."
    text = content[:_LONGEST_CARD].decode("utf-8", errors="replace")
    return text, "And more: the whole card is in the data." if len(content) > _LONGEST_CARD else ""
