"""What every function of the public interface does the same way: where it runs, what it shows, how it is stopped."""

from __future__ import annotations

import os
import signal
import threading
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from datapack.errors import CatalogError, refused
from datapack.executor import raise_unless_held
from datapack.progress import Console, Reporter, Silent
from datapack.reference import Reference
from datapack.workspace.folder import CATALOG, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Place = str | os.PathLike[str]


def interruptible(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let Ctrl-C, or a notebook's stop button, raise `KeyboardInterrupt` only where the work can stop.

    A handler of the caller's own stays in place. Ctrl-C never stops a call in another thread than the main one.
    """

    @wraps(function)
    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return _typed(function, *arguments, **options)
        signal.signal(signal.SIGINT, lambda *_: raise_unless_held(_interrupt))
        try:
            return _typed(function, *arguments, **options)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    return call


def _typed(function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
    """Call a function; what the system refuses, such as a full disk, is a `DatapackError` too."""
    try:
        return function(*arguments, **options)
    except OSError as error:
        raise refused(error) from error


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def folder_of(catalog: Place | None) -> Path:
    """Return the folder that a call runs in, as the command does with ``-C``: by default the current one."""
    folder = Path(catalog or ".").absolute()
    if folder.name == CATALOG and not folder.is_dir():
        folder = folder.parent
    if not folder.is_dir():
        raise CatalogError("not a folder with a catalog", where=catalog, expected=f"a folder, or its {CATALOG}")
    return folder.resolve()


def workspace_of(catalog: Place | None) -> Workspace:
    """Find the catalog at or above the folder that a call runs in."""
    return Workspace.find(folder_of(catalog))


def several(paths: Place | Iterable[Place]) -> Iterable[Place]:
    """Return files of which a caller may name one alone: a text is a sequence of its letters otherwise."""
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def reporter_of(progress: bool | Reporter) -> Reporter:
    """Return what shows the progress: nothing, lines on standard error, or what the caller gave."""
    if isinstance(progress, bool):
        return Console() if progress else Silent()
    return progress


def reference_of(reference: object) -> Reference:
    """Parse a reference, ``name@version``."""
    return Reference.parse(str(reference))
