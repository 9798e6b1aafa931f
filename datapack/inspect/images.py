"""The images of a bag, as far as their headers and their metadata say. No pixel is decoded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from datapack.bag.manifest import PAYLOAD
from datapack.errors import BagError
from datapack.executor import run_all
from datapack.files import open_regular
from datapack.inspect.blocks import read_facts
from datapack.inspect.forms import HEAD, form_of_content, form_of_name
from datapack.inspect.image_header import explain, read_header
from datapack.inspect.model import ImageFile

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.executor import Advance
    from datapack.progress import Reporter


def read_images(bag: Bag, reporter: Reporter) -> tuple[ImageFile, ...]:
    """Return every payload file that is an image by its name or by its first bytes, sorted by path.

    One that can't be read is returned with its problem; nothing is raised for it.
    """
    names = (path.removeprefix(f"{PAYLOAD}/") for path in bag.manifest.hashes)
    with reporter.progress("read the headers of images", bag.files, "files") as advance:
        found = run_all(partial(_read, bag.path / PAYLOAD), names, advance=advance)
        images = [image for image in found if image is not None]
    return tuple(sorted(images, key=lambda image: image.path))


def _read(payload: Path, path: str, advance: Advance) -> ImageFile | None:
    named = form_of_name(path)
    try:
        with open_regular(payload / path, BagError, follow=False) as file:
            return read_image(file, path, named)
    except (BagError, OSError) as error:
        return ImageFile(path, "", 0, 0, problem=f"can't be read: {_reason(error)}") if named else None
    finally:
        advance(1)


def _reason(error: BagError | OSError) -> str:
    return str(error.found if isinstance(error, BagError) else error.strerror)


def read_image(file: BinaryIO, path: str, named: str) -> ImageFile | None:
    """Read the header and the metadata of a file; return None if it is no image.

    Args:
        file: open for reading, on a disk; its position changes.
        path: its path in the payload.
        named: the form that its name stands for; empty if that is not an image's.
    """
    head = file.read(HEAD)
    form = form_of_content(head, named)
    if not form and not named:
        return None
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
