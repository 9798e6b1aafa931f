"""The command line: parse options, make one call, print the result. No other package prints."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

from datapack.cli.commands import DETAILS_SHOWN, run
from datapack.cli.output import complain, show_warning
from datapack.cli.parser import make_parser
from datapack.cli.signals import Signals
from datapack.errors import DatapackError, UsageError
from datapack.executor import forget_interrupt
from datapack.text import escape_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

STOPPED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its status: 0 success, 1 failure, 2 wrong usage, 3 data or image differs, 130 stopped."""
    escape_unknown(sys.stdout, sys.stderr)
    warnings.showwarning = show_warning  # type: ignore[assignment] # it ignores the further arguments
    options = argparse.Namespace(after_stop="run the same command again to continue")
    signals = Signals()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments, options, signals)
    except KeyboardInterrupt:
        forget_interrupt()
        complain(f"stopped; {options.after_stop}")
        return STOPPED
    finally:
        signals.restore()


def _run(arguments: Sequence[str], options: argparse.Namespace, signals: Signals) -> int:
    """Run one command; show its error, unless that may only follow from a signal."""
    try:
        signals.catch()
        _parse(arguments, options)
        _check_encoding()
        options.command(options)
    except BaseException as error:
        signals.check()
        return _show(error)
    else:
        return 0
    finally:
        signals.end()


def _check_encoding() -> None:
    """Refuse a locale in which file names are not UTF-8: a dataset would get other names, and another digest."""
    found = sys.getfilesystemencoding()
    if found != "utf-8":
        fix = "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        raise UsageError("file names would be read wrongly", where="the locale", expected="utf-8", found=found, fix=fix)


def _parse(arguments: Sequence[str], options: argparse.Namespace) -> None:
    """Parse the command line. Arguments after ``--`` go to the program in the container and are not parsed."""
    ours, after = list(arguments), None
    if "--" in ours:
        cut = ours.index("--")
        ours, after = ours[:cut], ours[cut + 1 :]
    parser = make_parser()
    parser.parse_args(ours, options)
    if after is not None and options.command is not run:
        parser.error("only 'datapack run' accepts arguments after --")
    options.arguments = tuple(after or ())


def _show(error: BaseException) -> int:
    """Show the error that ended the command; return its exit status."""
    match error:
        case DatapackError():
            return _fail(error)
        case BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output is gone
            return 1
        case OSError():
            return _fail(_readable(error))
        case Exception():
            return _fail_with_bug(error)
    raise error


def _fail(error: DatapackError) -> int:
    complain(f"error: {error}")
    for line in error.details[:DETAILS_SHOWN]:
        complain(f"  {line}")
    if len(error.details) > DETAILS_SHOWN:
        complain(f"  and {len(error.details) - DETAILS_SHOWN:,} more")
    return error.exit_code


def _fail_with_bug(error: Exception) -> int:
    """Show the traceback, indented: no line of a message in it can look like one of ours."""
    complain(*(f"  {line}" for line in traceback.format_exc().splitlines()))
    return _fail(DatapackError(f"a bug in datapack, please report the lines above: {type(error).__name__}: {error}"))


def _readable(error: OSError) -> DatapackError:
    fixes = {
        errno.ENOSPC: "make room, then run the same command again to continue",
        errno.EDQUOT: "your disk quota is used up: make room, then run the same command again to continue",
        errno.EROFS: "work in a folder that you can write to",
        errno.EACCES: "check its owner and permissions",
    }
    return DatapackError(
        error.strerror or str(error) or type(error).__name__, where=error.filename, fix=fixes.get(error.errno or 0)
    )
