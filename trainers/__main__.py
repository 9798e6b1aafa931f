"""The program that the images run: ``python -m trainers check|train|evaluate|predict``.

Only this module reads arguments and catches errors. The Safe Haven shows every job as completed, so the last line says
how it ended: ``TRAINING OK <run> mAP=...`` or ``TRAINING FAILED: <why>``, and likewise for the other commands.
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

DETAILS_SHOWN = 200  # lines; more would not help in a job's log

#: Each command with the first word of its last line.
COMMANDS = {
    "check": (commands.check, "CHECK"),
    "train": (commands.train, "TRAINING"),
    "evaluate": (commands.evaluate, "EVALUATION"),
    "predict": (commands.predict, "PREDICTION"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status.

    0: done; 1: failed; 2: the configuration or the command line is wrong; 3: the data is not the dataset that was asked
    for; 75: stopped by a signal, run the same job again to resume.
    """
    job = _Job(_parser().parse_args(arguments))
    signal.signal(signal.SIGTERM, _stop)
    tune_process()
    try:
        line, status = f"{job.word} OK {job.run()}", 0
    except DatapackError as error:
        line, status = f"{job.word} FAILED: {error}", error.exit_code
        job.log_details(error)
    except KeyboardInterrupt:
        line, status = f"{job.word} FAILED: stopped by Ctrl-C", StoppedError.exit_code
    except Exception as error:  # whatever happens, the last line must say that the job failed
        traceback.print_exc()
        why = " ".join(f"{type(error).__name__}: {error}".split())
        line, status = f"{job.word} FAILED: a bug in the trainers, please report the lines above: {why}", 1
    return job.end(line, status)


class _Job:
    """One command, its log and, once it is open, the folder of its run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.command, self.word = COMMANDS[options.command]
        self.place = Place.of_environment()
        self.log = Log(quiet=not self.place.is_first)
        self.opened: Run | None = None

    def run(self) -> str:
        """Run the command; return its result in a few words."""
        options = self.options
        path = config.find(options.config)
        loaded = config.load(path)
        context = RunContext(path.resolve().parent, options.outputs, options.scratch, self.place, self.log)
        run = Run(options.outputs / loaded.run_name)
        if self.place.is_first and options.command != "check":
            run.open()
            self.opened = run
            self.log.keep(run.path(LOG))
            self.log.note(f"run {run.folder.name}, in {run.folder}")
        try:
            return self.command(loaded, context, run)
        finally:
            signal.signal(signal.SIGTERM, lambda *_: None)  # the job is ending: its last line must still be written

    def log_details(self, error: DatapackError) -> None:
        """Log the further lines of an error."""
        if not self.place.is_first:  # the first process may never hear of it
            print(f"process {self.place.rank}: {error}", file=sys.stderr)  # noqa: T201
        for line in error.details[:DETAILS_SHOWN]:
            self.log.note(f"  {line}")
        if len(error.details) > DETAILS_SHOWN:
            self.log.note(f"  and {len(error.details) - DETAILS_SHOWN:,} more")

    def end(self, line: str, status: int) -> int:
        """Close the log with the last line, write the manifest of the run, and only then print the line."""
        self.log.close(line)
        if self.opened is not None:
            try:
                self.opened.seal()
            except DatapackError as error:
                if status == 0:
                    line, status = f"{self.word} FAILED: {error}", error.exit_code
                with contextlib.suppress(OSError):
                    self.log.note(str(error))
        self.log.last(line)
        return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainers",
        description="Check a dataset, train an object detector on it, evaluate the detector, or predict with it.",
    )
    parser.add_argument("command", choices=COMMANDS, nargs="?", default="train", help="what to do (default: train)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: ${config.VARIABLE}, or {config.DEFAULT})"
    )
    for name, folder, what in (("outputs", "/safe_outputs", "results"), ("scratch", "/scratch", "temporary files")):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="DIR",
            default=Path(folder),
            help=f"folder for {what} (default: %(default)s)",
        )
    return parser


def _stop(*_: object) -> NoReturn:
    raise StoppedError("stopped by SIGTERM before there was anything to save", fix="run the same job again")


if __name__ == "__main__":
    sys.exit(main())
