"""The plan of a build as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.text import counted, duration, size
from datapack.versions.plan import RATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datapack.versions.cost import Amount, SourceCost
    from datapack.versions.plan import Plan, VersionPlan

_WAYS = {
    "here": "the bag is here; its sources are not asked",
    "cache": "restored from DVC's cache; its sources are not asked",
    "remote": "restored from DVC's remote; its sources are not asked",
    "sources": "from its sources",
}
_LABEL = 10  # columns
_HEADS = ("SOURCE", "FILES", "SIZE", "ALREADY HERE")


def table(plan: Plan, root: Path) -> list[str]:
    """Format a plan; paths are relative to ``root``."""
    lines = [f"{plan.reference} -> {plan.target}"]
    for version in plan.versions:
        lines += ["", *_version_lines(version)]
    return [*lines, "", *_cost_lines(plan, root)]


def _version_lines(version: VersionPlan) -> Iterator[str]:
    yield f"{version.reference}: {_amount(version.whole, 'file')}, {_WAYS[version.way]}"
    if version.model:
        yield f"  model: {version.model}"
    if version.sources:
        rows = [_HEADS, *map(_row, version.sources)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *cells in rows:
            aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            yield f"  {name.ljust(widths[0])}  {'  '.join(aligned)}"


def _row(cost: SourceCost) -> tuple[str, str, str, str]:
    here = _amount(cost.here, "file") if cost.here.files else "nothing"
    return cost.label, _number(cost.whole.files), _size(cost.whole), here


def _number(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _size(amount: Amount) -> str:
    if amount.bytes is None:
        return "unknown"
    return f"about {size(amount.bytes)}" if amount.estimated else size(amount.bytes)


def _amount(amount: Amount, noun: str) -> str:
    number = f"an unknown number of {noun}s" if amount.files is None else counted(amount.files, noun)
    return f"{number}, size unknown" if amount.bytes is None else f"{number}, {_size(amount)}"


def _cost_lines(plan: Plan, root: Path) -> list[str]:
    labelled: list[tuple[str, Sequence[str]]] = [
        ("fetch", [_fetch(plan)]),
        ("disk", list(_disk_lines(plan, root))),
        ("image", [f"{_amount(plan.image.whole, 'layer')}, without the base's"]),
        ("push", [f"{_amount(plan.image.new, 'layer')} to send"] if plan.target.startswith("docker://") else []),
    ]
    return [
        f"{label if not number else '':{_LABEL}}{line}"
        for label, lines in labelled
        for number, line in enumerate(lines)
    ]


def _fetch(plan: Plan) -> str:
    fetched = plan.fetched
    if fetched.files == 0:
        return "nothing over a network"
    at_once = f"at most {counted(plan.connections, 'connection')} to a host"
    text = f"{_amount(fetched, 'file')} over a network, with {at_once}"
    if fetched.bytes is None:
        return f"{text}; how long that takes is unknown"
    return f"{text}; {duration(fetched.bytes / RATE)} at {size(RATE)}/s, but the real rate is unknown"


def _disk_lines(plan: Plan, root: Path) -> Iterator[str]:
    for place in plan.places:
        about = "about " if place.estimated and place.needed else ""
        needed = "unknown" if place.needed is None else f"{about}{size(place.needed)}"
        shown = place.path.relative_to(root) if place.path.is_relative_to(root) else place.path
        where = place.note if place.name == "engine" else f"{shown}{f' ({place.note})' if place.note else ''}"
        yield f"{needed:>12}  {where}"
    for disk in plan.disks:
        mark = {True: "fits", False: "DOES NOT FIT", None: "unknown whether it fits"}[disk.fits]
        needed = "unknown" if disk.needed is None else size(disk.needed)
        yield f"{needed:>12}  needed, {size(disk.free)} free: {mark}"
