"""The command line: parse options, make one call, print the result. No other package prints."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import failure
from datapack.cli.options import SHOWN
from datapack.cli.output import Marked, complain, say, say_json, show_warning
from datapack.cli.parser import make_parser
from datapack.cli.signals import Signals
from datapack.errors import DatapackError, UsageError, refused
from datapack.executor import forget_interrupt
from datapack.progress import Level
from datapack.text import escape_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

STOPPED = 128 + signal.SIGINT


class _StoppedError(DatapackError):
    exit_code = STOPPED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its status: 0 success, 1 failure, 2 wrong usage, 3 data or image differs, 130 stopped."""
    _open_standard_files()
    escape_unknown(sys.stdout, sys.stderr)
    warnings.showwarning = show_warning  # type: ignore[assignment] # it ignores the further arguments
    given = sys.argv[1:] if arguments is None else arguments
    again = "run the same command again to continue"
    options = argparse.Namespace(after_stop=again, target=None, to=None, answered=False)
    signals = Signals()
    try:
        return _run(given, options, signals)
    except KeyboardInterrupt:
        forget_interrupt()
        stopped = _StoppedError("stopped", fix=options.after_stop)
        complain(str(stopped))
        _answer_with(stopped, given, options)
        return STOPPED
    finally:
        signals.restore()


def _open_standard_files() -> None:
    """Open what the caller has closed: no file of ours, or of DVC, must be taken for standard output or error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as datapack runs


def _run(arguments: Sequence[str], options: argparse.Namespace, signals: Signals) -> int:
    """Run one command and show its answer or its error, unless that may only follow from a signal."""
    try:
        signals.catch()
        _parse(arguments, options)
        _check_encoding()
        _check_folder(options)
        answer = options.command(options)
        options.answered = True
        if options.json:
            say_json(answer.value, _output(options))
        else:
            say(*answer.lines, file=_output(options))
        if sys.stdout:
            sys.stdout.flush()
    except BaseException as error:
        signals.check()
        return _show(error, arguments, options)
    else:
        return int(answer.status)
    finally:
        signals.end()


def _answer_with(error: DatapackError, arguments: Sequence[str], options: argparse.Namespace) -> None:
    """Answer with an error if JSON is asked for, even by a command line that can't be parsed; one answer is enough."""
    asked = "--json" in list(itertools.takewhile(lambda word: word != "--", arguments))
    if asked and not options.answered:
        with contextlib.suppress(OSError):  # the error has been shown
            say_json(failure(error), _output(options))


def _output(options: argparse.Namespace) -> TextIO:
    """Return where the answer goes: standard output, unless that is the image."""
    return sys.stderr if "oci-archive:-" in {options.target, options.to} else sys.stdout


def _check_encoding() -> None:
    """Refuse a locale in which file names are not UTF-8: a dataset would get other names, and another digest."""
    found = sys.getfilesystemencoding()
    if found != "utf-8":
        fix = "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        raise UsageError("file names would be read wrongly", where="the locale", expected="utf-8", found=found, fix=fix)


def _check_folder(options: argparse.Namespace) -> None:
    """Refuse a folder that is not there, which is not the same as one without a catalog; `init` makes it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        fix = "change to another folder, or to the new one of this name"
        raise UsageError("it was removed", where="the current folder", fix=fix) from None
    if not options.makes_folder and not options.folder.is_dir():
        what = "not a folder" if options.folder.exists() else "no such folder"
        raise UsageError(what, where=options.folder, fix="choose another with -C")


def _parse(arguments: Sequence[str], options: argparse.Namespace) -> None:
    """Parse the command line. Arguments after ``--`` go to the program in the container and are not parsed."""
    ours, after = list(arguments), None
    if "--" in ours:
        cut = ours.index("--")
        ours, after = ours[:cut], ours[cut + 1 :]
    make_parser().parse_args(ours, options)
    if after is not None and not options.takes_arguments:
        raise UsageError("only 'datapack run' accepts arguments after --", where="datapack")
    options.arguments = tuple(after or ())


def _show(error: BaseException, arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Show the error that ended the command; return its exit status."""
    match error:
        case DatapackError():
            shown = error
        case BrokenPipeError():  # the reader of our output is gone
            _drop_output()
            return 1
        case OSError():
            shown = refused(error)
            if options.answered:  # the answer could not be written, and Python would try again at its end
                _drop_output()
        case Exception():
            shown = _bug(error)
        case _:
            raise error
    _complain_of(shown, options)
    _answer_with(shown, arguments, options)
    return shown.exit_code


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain_of(error: DatapackError, options: argparse.Namespace) -> None:
    complain(Marked("error:", "red", f" {error}"))
    details = [f"  {line}" for line in error.details]
    complain(*(details if getattr(options, "level", None) is Level.VERBOSE else details[:SHOWN]))
    if len(error.details) > SHOWN and getattr(options, "level", None) is not Level.VERBOSE:
        complain(f"  and {len(error.details) - SHOWN:,} more")


def _bug(error: Exception) -> DatapackError:
    """Show the traceback, indented: no line of a message in it can look like one of ours."""
    complain(*(f"  {line}" for line in traceback.format_exc().splitlines()))
    return DatapackError(f"a bug in datapack, please report the lines above: {type(error).__name__}: {error}")
