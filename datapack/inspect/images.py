"""What the headers and the metadata of a bag's images say, and what its other files contain."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from datapack.bag.manifest import PAYLOAD
from datapack.errors import BagError
from datapack.executor import run_all
from datapack.files import open_regular
from datapack.inspect.blocks import read_facts
from datapack.inspect.contents import read_content
from datapack.inspect.forms import HEAD, form_of_content, form_of_name
from datapack.inspect.image_header import explain, read_header
from datapack.inspect.model import Content, ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.executor import Advance
    from datapack.progress import Reporter


_BATCH = 64  # files that are read in one go: starting a unit of work takes as long as reading a small file


def read_images(bag: Bag, reporter: Reporter) -> tuple[ImageFile, ...]:
    """Return every payload file that is an image by its name or by its first bytes, sorted by path.

    One that can't be read is returned with its problem; nothing is raised for it.
    """
    return read_files(bag, reporter, (path.removeprefix(f"{PAYLOAD}/") for path in bag.manifest.hashes))[0]


def read_files(bag: Bag, reporter: Reporter, paths: Iterable[str]) -> tuple[tuple[ImageFile, ...], tuple[Content, ...]]:
    """Look into payload files, once: return the images, and what else there is to say about the other files."""
    names = iter(paths)
    batches = iter(lambda: list(islice(names, _BATCH)), [])
    found: list[ImageFile | Content] = []
    with reporter.progress("reading files", bag.files, "files") as advance:
        for batch in run_all(partial(_read_batch, bag.path / PAYLOAD), batches, advance=advance):
            found += batch
    found.sort(key=lambda file: file.path)
    images = tuple(file for file in found if isinstance(file, ImageFile))
    return images, tuple(file for file in found if isinstance(file, Content))


def _read_batch(payload: Path, paths: list[str], advance: Advance) -> list[ImageFile | Content]:
    found = []
    for path in paths:
        found.append(_read(payload, path))
        advance(1)
    return [file for file in found if file is not None]


def _read(payload: Path, path: str) -> ImageFile | Content | None:
    named = form_of_name(path)
    try:
        with open_regular(payload / path, BagError, follow=False) as file:
            head = file.read(HEAD)
            form = form_of_content(head, named)
            if form or named:
                return _image(file, path, named, form)
            return read_content(file, path, head)
    except (BagError, OSError) as error:
        return ImageFile(path, "", 0, 0, problem=f"can't be read: {_reason(error)}") if named else None


def _reason(error: BagError | OSError) -> str:
    return str(error.found if isinstance(error, BagError) else error.strerror)


def read_image(file: BinaryIO, path: str, named: str) -> ImageFile | None:
    """Read the header and the metadata of a file; return None if it is no image.

    Args:
        file: open for reading, on a disk; its position changes.
        path: its path in the payload.
        named: the form that its name stands for; empty if that is not an image's.
    """
    form = form_of_content(file.read(HEAD), named)
    return _image(file, path, named, form) if form or named else None


def _image(file: BinaryIO, path: str, named: str, form: str) -> ImageFile:
    """Read an image; ``form`` is what its content shows, and empty if it shows none."""
    if not form:
        problem = explain(file, named)
        return ImageFile(path, "" if problem else named, 0, 0, problem=problem)
    facts = read_facts(file, form)
    header = read_header(file, form, facts.orientation)
    return ImageFile(
        path,
        "" if header.problem else form,
        header.width,
        header.height,
        facts.orientation,
        facts.has_position,
        tuple(sorted(facts.fields)),
        header.traits,
        header.problem,
    )
