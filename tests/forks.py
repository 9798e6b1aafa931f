"""Runs datapack in a fork of a process that has imported it already: a start takes 0.3 CPU seconds, a fork almost none.

A fork is a process like any other, with a folder, an environment and outputs of its own. `Catalog.start` still starts
datapack as a shell does.
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
