"""A process of our own Python that reads a file which may be hostile: with little memory and time, and no network.

It starts with ``-I``, an empty environment and the files that it is given. What it finds comes back as JSON. The
network is off where the kernel lets us; without files to open, no socket can be opened either.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datapack
from datapack.errors import DatapackError, WeightsError
from datapack.text import size as readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

_START = "import sys; sys.path.insert(0, {above!r}); from datapack.weights.isolation import main; main()"
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # unshare(2) of linux/sched.h
_LONGEST_ANSWER = 256 << 20  # bytes


@dataclass(frozen=True)
class Limits:
    """What a process may use."""

    memory: int  # bytes of address space
    seconds: int  # of CPU time
    output: int = 0  # bytes of a file that it writes
    opens_files: bool = False  # whether it may open files by name, to read them


def run_isolated(job: str, value: dict[str, Any], where: Path, limits: Limits, files: Sequence[int] = ()) -> Any:
    """Do some work in a process of its own; return what it finds.

    Args:
        job: such as ``datapack.weights.onnx_worker:reader``: it gets ``value``, opens what it needs, and returns the
            function that does the work with the limits, whose result is JSON.
        value: its argument, as JSON can hold it, with the ``path`` of the file.
        where: the file that it reads, for errors.
        limits: what it may use.
        files: descriptors that it inherits, with the same numbers.

    Raises:
        WeightsError: the function raised a `DatapackError`, or the process ended early.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _START.format(above=str(Path(datapack.__file__).parents[1]))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
        pass_fds=tuple(files),
        start_new_session=True,
    )
    question = {"job": job, "value": value, **vars(limits)}
    try:
        answer, _ = process.communicate(json.dumps(question).encode())
    finally:
        process.kill()
        process.wait()
    return _answer(answer, process.returncode, where, limits)


def _answer(content: bytes, status: int, where: Path, limits: Limits) -> Any:
    try:
        answer = json.loads(content) if len(content) <= _LONGEST_ANSWER else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise WeightsError(
            "the process that reads it ended early",
            where=where,
            expected=f"at most {readable_size(limits.memory)} of memory and {limits.seconds} s",
            found=f"status {status}",
        )
    if "error" in answer:
        raise WeightsError(**answer["error"])
    return answer["value"]


def main() -> None:
    """Answer one question: in the process."""
    question = json.loads(sys.stdin.buffer.read())
    limits = Limits(**{name: question[name] for name in Limits.__dataclass_fields__})
    module, _, name = question["job"].partition(":")
    work = getattr(importlib.import_module(module), name)(question["value"])
    _confine(limits)
    try:
        answer = {"value": work()}
    except DatapackError as error:
        facts = {key: _text(getattr(error, key)) for key in ("what", "where", "expected", "found", "fix")}
        answer = {"error": {**facts, "details": list(error.details)}}
    except MemoryError:
        answer = {"error": {"what": "reading it takes more memory than it may", "where": question["value"]["path"]}}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # whatever a library does at its end


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _confine(limits: Limits) -> None:
    """Give up what the job does not need. What it imports must be imported before."""
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_NET):  # only root may
        libc.unshare(_NEW_USER | _NEW_NET)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output, limits.output))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if not limits.opens_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
