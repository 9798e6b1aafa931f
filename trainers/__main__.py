"""The program that the images start: ``python -m trainers check|train|evaluate|predict``.

Only this module reads arguments and catches. A job in the Safe Haven is shown as completed however it ended, so the
last line says it: ``TRAINING OK <run> mAP=...`` or ``TRAINING FAILED: <why>``, and likewise for the other commands.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from trainers import commands, config
from trainers.context import RunContext
from trainers.errors import DatapackError, StoppedError
from trainers.log import Log
from trainers.process import Place, tune_process
from trainers.run.folder import LOG, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

DETAILS_SHOWN = 200  # lines; more do not help whoever reads a job's log

#: Each command with the word that its last line begins with.
COMMANDS = {
    "check": (commands.check, "CHECK"),
    "train": (commands.train, "TRAINING"),
    "evaluate": (commands.evaluate, "EVALUATION"),
    "predict": (commands.predict, "PREDICTION"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status.

    0 done; 1 failed; 2 the configuration or the command line is wrong; 3 the data is not what was asked for; 75 stopped
    from outside, and the same job goes on from there.
    """
    options = _parser().parse_args(arguments)
    place = Place.of_environment()
    log = Log(quiet=not place.is_first)
    command, word = COMMANDS[options.command]
    signal.signal(signal.SIGTERM, _stop)
    tune_process()
    opened: Run | None = None
    try:
        path = config.find(options.config)
        wanted = config.load(path)
        context = RunContext(path.resolve().parent, options.outputs, options.scratch, place, log)
        run = Run(options.outputs / wanted.run_name)
        if place.is_first and options.command != "check":
            run.open()
            opened = run
            log.keep(run.path(LOG))
            log.note(f"run {run.folder.name}, in {run.folder}")
        try:
            line, status = f"{word} OK {command(wanted, context, run)}", 0
        finally:
            signal.signal(signal.SIGTERM, lambda *_: None)  # it is ending: nothing comes between it and its last line
    except DatapackError as error:
        line, status = f"{word} FAILED: {error}", error.exit_code
        _say_details(error, place, log)
    except KeyboardInterrupt:
        line, status = f"{word} FAILED: stopped from the keyboard", StoppedError.exit_code
    except Exception as error:  # the last line must say that it failed, whatever happened
        traceback.print_exc()
        why = " ".join(f"{type(error).__name__}: {error}".split())
        line, status = f"{word} FAILED: an error in the trainers, please report the lines above: {why}", 1
    return _end(line, status, opened, log)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainers", description=__doc__.split("\n", 1)[0])
    parser.add_argument("command", choices=COMMANDS, nargs="?", default="train", help="what to do (train)")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"${config.VARIABLE}, or {config.DEFAULT}")
    parser.add_argument("--outputs", type=Path, metavar="DIR", default=Path("/safe_outputs"), help="(%(default)s)")
    parser.add_argument("--scratch", type=Path, metavar="DIR", default=Path("/scratch"), help="(%(default)s)")
    return parser


def _say_details(error: DatapackError, place: Place, log: Log) -> None:
    if not place.is_first:
        print(f"process {place.rank}: {error}", file=sys.stderr)  # noqa: T201 - the first may never know of it
    for line in error.details[:DETAILS_SHOWN]:
        log.note(f"  {line}")
    if len(error.details) > DETAILS_SHOWN:
        log.note(f"  and {len(error.details) - DETAILS_SHOWN:,} more")


def _end(line: str, status: int, run: Run | None, log: Log) -> int:
    """Close the log with the last line, write the manifest of what the run left, and only then say the line."""
    log.close(line)
    if run is not None:
        try:
            run.seal()
        except DatapackError as error:
            if status == 0:
                line, status = f"{line.split(maxsplit=1)[0]} FAILED: {error}", error.exit_code
            with contextlib.suppress(OSError):
                log.note(str(error))
    log.last(line)
    return status


def _stop(*_: object) -> NoReturn:
    raise StoppedError("stopped by SIGTERM, before there was anything to keep", fix="the same job starts anew")


if __name__ == "__main__":
    sys.exit(main())
