"""The program that the images run: ``python -m trainers check|train|evaluate|predict|docs``.

Only this module reads arguments and catches errors. The Safe Haven shows every job as completed, so the last line says
how it ended: ``TRAINING OK <run> mAP=...`` or ``TRAINING FAILED: <why>``, and likewise for the other commands.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from datapack.executor import forget_interrupt
from datapack.progress import Console
from datapack.text import escape_unknown
from trainers.errors import ConfigError, DatapackError, StoppedError, TrainingError
from trainers.log import Log
from trainers.process import Place, check_signals, ignore_signals, tune_process, watch_signals
from trainers.run.folder import LOG, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainers.context import RunContext

DETAILS_SHOWN = 200  # lines; more would not help in a job's log

#: Each command, with the first word of its last line: a function of `trainers.commands`, but for `docs`.
COMMANDS = {"check": "CHECK", "train": "TRAINING", "evaluate": "EVALUATION", "predict": "PREDICTION", "docs": "DOCS"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status.

    0: done; 1: failed; 2: the configuration or the command line is wrong; 3: the data is not the dataset that was asked
    for; 75: stopped by a signal, run the same job again to resume.
    """
    escape_unknown(sys.stdout, sys.stderr)
    try:
        job = _Job(_options(arguments))
    except ConfigError as error:
        Log().last(f"TRAINING FAILED: {error}")
        return error.exit_code
    warnings.showwarning = job.log_warning  # type: ignore[assignment] # it ignores the further arguments
    watch_signals()
    tune_process()
    try:
        line, status = f"{job.word} OK {job.run()}", 0
    except DatapackError as error:
        line, status = f"{job.word} FAILED: {error}", error.exit_code
        job.log_details(error)
    except KeyboardInterrupt:
        forget_interrupt()
        line, status = f"{job.word} FAILED: stopped by Ctrl-C", StoppedError.exit_code
    except (Exception, SystemExit) as error:  # whatever happens, the last line must say that the job failed
        _show_traceback()
        why = " ".join(f"{type(error).__name__}: {error}".split())
        line, status = f"{job.word} FAILED: a bug in the trainers, please report the lines above: {why}", 1
    return job.end(line, status)


def _show_traceback() -> None:
    """Write the traceback, indented: no line of a message in it can look like the last line of a job."""
    for line in traceback.format_exc().splitlines():
        Console().note(f"  {line}")


class _Job:
    """One command, its log and, once it is open, the folder of its run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.word = COMMANDS[options.command]
        self.place = Place()
        self.log = Log()
        self.opened: Run | None = None
        self.reserved = contextlib.ExitStack()  # the folder of the run, until the job ends

    def run(self) -> str:
        """Run the command; return its result in a few words."""
        try:
            return self._run()
        except DatapackError:
            raise
        except ModuleNotFoundError as error:
            check_signals()
            raise _missing(error) from error
        except OSError as error:  # no permission, a name that is too long, a disk that fails
            check_signals()
            raise _of_system(error) from error
        except Exception:
            check_signals()  # this error may only follow from a swallowed one
            raise
        finally:
            ignore_signals()

    def _run(self) -> str:
        from trainers.context import RunContext
        from trainers.site import copy_site

        check_signals()
        options = self.options
        if options.command == "docs":
            return copy_site(options.to or options.outputs / "docs")
        self.place = Place.of_environment()
        self.log.quiet = not self.place.is_first
        command, name, base = self._command()
        context = RunContext(base, options.outputs, options.scratch, self.place, self.log)
        run = Run(options.outputs / name)
        if self.place.is_first and options.command != "check":
            self.reserved.enter_context(run.reserve())
            run.open()
            self.opened = run
            self.log.keep(run.path(LOG))
            self.log.note(f"run {run.folder.name}, in {run.folder}")
        return command(context, run)

    def _command(self) -> tuple[Callable[[RunContext, Run], str], str, Path]:
        """Return what to do, the name of its run, and the folder where relative paths start."""
        from trainers import commands, config, prediction

        options = self.options
        if options.command == "predict" and prediction.detects_in_folder(options.config):
            if self.place.world > 1:
                raise ConfigError("a ready-to-run model runs in one process", fix="start it without torchrun")
            job = prediction.plan(options.config, options.settings, self.log)
            return partial(commands.detect, job), job.run_name, job.images.folder
        if options.settings:
            raise ConfigError("--set is for predict in a ready-to-run model", fix="write the setting into train.yml")
        path = config.find(options.config)
        loaded = config.load(path)
        command = getattr(commands, "check_images" if options.decode else options.command)
        return partial(command, loaded), loaded.run_name, path.resolve().parent

    def log_warning(self, message: Warning | str, category: type[Warning], *_: object) -> None:
        """Log a warning of a library, such as one that quotes an image, in one line."""
        self.log.note(f"{category.__name__}: {' '.join(str(message).split())}")

    def log_details(self, error: DatapackError) -> None:
        """Log the further lines of an error."""
        if not self.place.is_first:  # the first process may never hear of it
            Console().note(f"process {self.place.rank}: {error}")
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
                    self.log.close(line)
                else:
                    self.log.note(str(error))
        self.reserved.close()
        self.log.last(line)
        return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"the command line is wrong: {message}", fix="python -m trainers --help shows what it can be")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; raise `ConfigError` if it is wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.decode and options.command != "check":
        parser.error(f"--decode is for check: {options.command} always decodes what it needs")
    if options.to and options.command != "docs":
        parser.error("--to is for docs")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m trainers",
        description="Check a dataset, train an object detector on it, evaluate it, predict with it, or copy the docs.",
    )
    parser.add_argument("command", choices=COMMANDS, nargs="?", default="train", help="what to do (default: train)")
    parser.add_argument("--decode", action="store_true", help="check: also decode every image of both COCO files")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="predict in a ready-to-run model: a setting, such as device=cpu or score=0.3; can be repeated",
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="docs: the new folder for them (default: /safe_outputs/docs)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration (default: $TRAINERS_CONFIG, or /safe_data/train.yml; for predict in a ready-to-run model "
        "/safe_data/predict.yml, which need not exist)",
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


def _of_system(error: OSError) -> TrainingError:
    """Return an error of the system as one line; for what a user may not read, it says which user that is."""
    found = error.strerror or str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        return TrainingError(
            "no permission", where=error.filename, found=f"{found}, as uid {os.geteuid()}", fix="check its permissions"
        )
    return TrainingError("an error of the system", where=error.filename, found=found)


def _missing(error: ModuleNotFoundError) -> Exception:
    """Return an error that says how to install a missing package; a missing module of ours is a bug."""
    name = error.name or str(error)
    if name.startswith(("datapack.", "trainers.")):
        return error
    fix = "install what the trainers need, in a clone: pip install '.[train]'"
    return TrainingError("a package is missing", found=f"no {name}", fix=fix)


if __name__ == "__main__":
    sys.exit(main())
