"""`datapack convert`: turn weights of PyTorch into safetensors, without running anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, shortened
from datapack.errors import UsageError
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from datapack.cli.options import Commands
    from datapack.weights.convert import Conversion

_EXAMPLES = (
    "datapack convert model.pth                       # writes model.safetensors",
    "datapack convert last.pt reef.safetensors --key ema   # only what is below one key of a checkpoint",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "convert",
        run,
        summary="turn weights of PyTorch into safetensors, without running anything in them",
        examples=_EXAMPLES,
    )
    parser.add_argument("source", metavar="FILE", help="weights or a checkpoint: .pth, .pt, .bin or .ckpt")
    parser.add_argument("target", metavar="TO", nargs="?", help="the file to write (default: FILE as .safetensors)")
    parser.add_argument("--key", default="", help="take only the tensors below this key, and name them without it")


def run(options: argparse.Namespace) -> Answer:
    """Convert a file."""
    from datapack.weights.convert import ENDING, convert

    source = options.folder.resolve() / options.source
    target = options.folder.resolve() / options.target if options.target else source.with_suffix(ENDING)
    if target.suffix != ENDING:
        raise UsageError("the result is a safetensors file", where="TO", expected=f"a name that ends in {ENDING}")
    if not target.parent.is_dir():
        raise UsageError("no such folder", where="TO", found=str(target.parent))
    done = convert(source, target, key=options.key)
    return Answer(done.to_json(), [*_lines(done, options)])


def _lines(done: Conversion, options: argparse.Namespace) -> Iterator[str]:
    yield f"converted {Path(done.source).name}: {counted(done.tensors, 'tensor')}, {size(done.bytes)}"
    yield f"source {done.source_digest}  {done.source}"
    yield f"result {done.digest}  {done.target}"
    if done.classes:
        yield f"classes that were not loaded: {counted(len(done.classes), 'class', 'classes')}"
        yield from (f"  {name}" for name in shortened(done.classes, options))
    if done.left_out:
        yield f"left out, as they are not tensors: {counted(len(done.left_out), 'value')}"
        yield from (f"  {name}" for name in shortened(done.left_out, options))
