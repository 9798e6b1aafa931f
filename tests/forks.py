"""Runs programs in a fork of a process that has imported them already, because a fork takes almost no time.

A start of datapack takes 0.3 CPU seconds, one of a trainer, which imports torch, 3. A fork is a process like any other,
with a folder, an environment and outputs of its own. `Catalog.start` and `Haven.start` still start what a shell does.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection

#: What commands import: what one of them imports brings in the rest.
IMPORTED = ("datapack.cli", "datapack.build.build", "datapack.build.diff", "datapack.targets", "datapack.verify")
FOR_A_START = ("PYTHON", "LC_", "LANG")  # beginnings of the variables that count only when Python starts
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(list(IMPORTED))


def run(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], change: str) -> subprocess.CompletedProcess[str]:
    """Run ``datapack ARGUMENTS`` to its end, after the code ``change``; return its status and outputs."""
    umask = os.umask(0)
    os.umask(umask)
    with tempfile.TemporaryDirectory(prefix="datapack-fork-") as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _server.Process(target=_main, args=(arguments, cwd, dict(env), change, umask, outputs))
        process.start()
        process.join()
        stdout, stderr = (path.read_text(errors="surrogateescape") for path in outputs)
    return subprocess.CompletedProcess(["datapack", *arguments], process.exitcode or 0, stdout, stderr)


def _main(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], change: str, umask: int, outputs: Sequence[Path]
) -> NoReturn:
    from datapack.cli import main

    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.stderr.reconfigure(errors="backslashreplace", line_buffering=True)
    os.chdir(cwd)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    exec(change)
    sys.exit(main(arguments))


class Trainer:
    """A process that has imported torch, and forks for each job. It starts with the first one."""

    def __init__(self) -> None:
        self.connection: Connection | None = None

    def run(self, arguments: Sequence[str], env: Mapping[str, str], timeout: float) -> tuple[int, str]:
        """Run ``python -m trainers ARGUMENTS`` to its end; return its status, and both of its outputs in one."""
        if self.connection is None:
            self.connection, other = multiprocessing.Pipe()
            context = multiprocessing.get_context("spawn")
            context.Process(target=_fork_trainers, args=(other,), daemon=True).start()
        with tempfile.NamedTemporaryFile("r", prefix="trainers-fork-", errors="surrogateescape") as output:
            self.connection.send((list(arguments), dict(env), output.name))
            if not self.connection.poll(timeout):
                raise TimeoutError(f"the job takes more than {timeout} s: {output.read()}")
            return self.connection.recv(), output.read()


trainer = Trainer()


def _fork_trainers(connection: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: tests run beside each other
    import trainers.__main__
    import trainers.pytorch.jobs
    import trainers.report.write

    assert trainers.__main__
    while True:
        arguments, env, output = connection.recv()
        process = os.fork()
        if not process:
            _be_trainer(arguments, env, output)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _be_trainer(arguments: Sequence[str], env: Mapping[str, str], output: str) -> NoReturn:
    from trainers.__main__ import main

    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.stderr.reconfigure(errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    status = 1
    try:
        status = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
