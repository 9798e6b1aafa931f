"""Decode every image of a bag, in processes of their own, and measure its pixels.

A hostile image can take all memory, or end the process that decodes it: then it counts as broken, and another process
goes on. Each process reads a path per line, and answers with a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import datapack
from datapack.bag.manifest import PAYLOAD
from datapack.errors import BagError
from datapack.executor import cores, run_all
from datapack.inspect.forms import READABLE
from datapack.inspect.model import DeepImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datapack.bag.bagit import Bag
    from datapack.executor import Advance
    from datapack.inspect.model import ImageFile
    from datapack.progress import Reporter

_SECONDS = 60  # for one image: the largest take ten
_MEMORY = 6 << 30  # bytes of a process: the largest image takes two
_BATCH = 8  # images in a line: a process then never waits


def read_deep(bag: Bag, images: Iterable[ImageFile], reporter: Reporter) -> tuple[DeepImage, ...]:
    """Decode every image whose header is sound and whose form the trainers decode; return the results by path.

    One that can't be decoded is returned with its problem; nothing is raised for it.
    """
    paths = sorted(image.path for image in images if not image.problem and image.form in READABLE)
    batches = [paths[at : at + _BATCH] for at in range(0, len(paths), _BATCH)]
    count = max(1, min(cores(), len(batches)))
    with reporter.progress("decode images", len(paths), "images") as advance, _workers(bag, count) as free:
        done = run_all(partial(_decode, free), batches, workers=count, advance=advance)
        return tuple(image for batch in done for image in batch)


@contextlib.contextmanager
def _workers(bag: Bag, count: int) -> Iterator[queue.SimpleQueue[_Worker]]:
    """Start processes; yield the queue of those that are free; end them."""
    every = [_Worker(bag.path / PAYLOAD) for _ in range(count)]
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in every:
        free.put(worker)
    try:
        yield free
    finally:
        for worker in every:
            worker.end()


def _decode(free: queue.SimpleQueue[_Worker], paths: list[str], advance: Advance) -> list[DeepImage]:
    worker = free.get()
    try:
        found = worker.ask(paths)
        if found is None:  # one of them ended the process: which one?
            found = [image for path in paths for image in worker.ask([path]) or [_fatal(path)]]
    finally:
        free.put(worker)
    advance(len(paths))
    return found


def _fatal(path: str) -> DeepImage:
    why = f"takes more than {_SECONDS} s, or more memory than there is, or ends the process that decodes it"
    return DeepImage(path, 0, 0.0, 0.0, 0.0, f"can't be decoded: {why}")


class _Worker:
    """A process that decodes images. It is started when it is first needed, and again after its end."""

    def __init__(self, payload: Path) -> None:
        self._payload = payload
        self._process: subprocess.Popen[str] | None = None

    def ask(self, paths: list[str]) -> list[DeepImage] | None:
        """Let it decode images; return None if that ended it.

        Raises:
            BagError: it can't be started.
        """
        if self._process is None:
            self._process = self._start()
            if not self._exchange([_SECONDS, _MEMORY, str(self._payload)]):
                self.end()
                raise BagError("can't start a process to decode images", where=self._payload, found=sys.executable)
        line = self._exchange(paths)
        if not line:
            self.end()
            return None
        return [DeepImage(*fields) for fields in json.loads(line)]

    def _exchange(self, question: list[Any]) -> str:
        """Write a list; return the line that answers it, and nothing if the process has ended."""
        process = cast("subprocess.Popen[str]", self._process)
        try:
            cast("IO[str]", process.stdin).write(json.dumps(question) + "\n")
            cast("IO[str]", process.stdin).flush()
            line = cast("IO[str]", process.stdout).readline()
        except BrokenPipeError:
            return ""
        return line if line.endswith("\n") else ""

    def _start(self) -> subprocess.Popen[str]:
        above = [str(Path(datapack.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, above))}
        return subprocess.Popen(
            [sys.executable, "-m", "datapack.inspect.deep_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def end(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    cast("IO[str]", stream).close()
