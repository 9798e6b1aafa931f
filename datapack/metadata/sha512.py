"""The sha512 of every payload file, taken in the pass that compares the file with the bag's manifest.

So no byte gets a checksum that was not verified. The lines are in the form of ``sha512sum -c``, run in the bag.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from datapack.errors import BagError
from datapack.executor import run_all
from datapack.files import disk_errors
from datapack.hashing import new_buffer, read_blocks, regular_opener
from datapack.metadata.content import differs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.executor import Advance
    from datapack.progress import Reporter

_BATCH = 16  # files per unit of work


def sha512_lines(bag: Bag, reporter: Reporter) -> Iterator[bytes]:
    """Yield a line for each payload file, in the order of the manifest; each file is read once, on all cores.

    Raises:
        MismatchError: a file differs from the manifest.
        BagError: a file can't be read.
    """
    files = iter(bag.payload())
    batches = iter(lambda: list(islice(files, _BATCH)), [])
    with reporter.progress("taking the sha512 of the payload", bag.bytes, "B") as advance:
        for lines in run_all(partial(_batch, bag.path), batches, advance=advance):
            yield from lines


def _batch(bag: Path, files: Sequence[PayloadFile], advance: Advance) -> list[bytes]:
    buffer = new_buffer()
    return [_line(bag, file, buffer, advance) for file in files]


def _line(bag: Path, file: PayloadFile, buffer: memoryview, advance: Advance) -> bytes:
    path = bag / file.path
    ours, other = hashlib.sha256(), hashlib.sha512()
    with disk_errors(path, BagError), open(path, "rb", buffering=0, opener=regular_opener) as content:
        size = os.fstat(content.fileno()).st_size
        for block in read_blocks(content.readinto, buffer):
            ours.update(block)
            other.update(block)
            advance(len(block))
    if ours.hexdigest() != file.sha256 or size != file.size:
        raise differs(path, file.sha256, ours.hexdigest())
    return f"{other.hexdigest()}  {file.path}\n".encode()
