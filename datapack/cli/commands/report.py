"""`datapack report`: show what a version contains, on one page."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_reference, console, short
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.api.results import Report
    from datapack.cli.options import Commands

_EXAMPLES = (
    "datapack report reef@v1",
    "datapack report reef@v1 --deep  # also decode every image",
    "datapack report reef@v1 --no-samples --output reef.html",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "report",
        run,
        summary="write a page that shows what a fetched version contains, and what may be wrong with it",
        examples=_EXAMPLES,
    )
    add_reference(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="where the page goes (default: dist/<name>-<version>.report.html); an existing file is replaced",
    )
    parser.add_argument(
        "--samples",
        action=BooleanOptionalAction,
        default=None,
        help="show up to 48 small copies of images with their boxes, or none (default: some, unless the dataset is "
        "private or its licence has ND)",
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="decode every image, for findings that only pixels show: takes minutes for thousands of images",
    )


def run(options: argparse.Namespace) -> Answer:
    """Write the report of a version."""
    from datapack.api.checking import report

    written = report(
        options.reference,
        options.output,
        samples=options.samples,
        deep=options.deep,
        catalog=options.folder,
        progress=console(options),
    )
    counts, reason = _counts(written), written.no_samples
    value = {
        "reference": written.reference,
        "digest": written.digest,
        "report": str(written.path),
        "bytes": written.bytes,
        "samples": written.samples,
        "no_samples": reason or None,
        "findings": counts,
    }
    found = [
        f"{count:,} silenced" if kind == "silenced" else counted(count, kind) for kind, count in counts.items() if count
    ]
    samples = (
        f"{counted(written.samples, 'image')} of the data"
        if written.samples
        else f"none: {reason or 'no image that can be read'}"
    )
    lines = [
        f"report     {short(written.path)}, {size(written.bytes)}",
        f"dataset    {written.digest}",
        f"findings   {', '.join(found) or 'none'}",
        f"samples    {samples}",
    ]
    return Answer(value, lines)


def _counts(written: Report) -> dict[str, int]:
    """Return the number of findings of each severity, and of those that the catalog silences."""
    kinds = Counter("silenced" if found.silenced else found.rule.severity for found in written.findings)
    return {kind: kinds[kind] for kind in ("error", "warning", "note", "silenced")}
