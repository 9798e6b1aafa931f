"""Doctor: look at everything that datapack needs here, and say what to do next where something is not right.

Each check is a function from a `Place` to results, in the module of its topic. They run at the same time, as several
wait for a network, and none can keep the others: what has no answer in time is reported as such.
"""

from __future__ import annotations

import importlib
import threading
import time
from typing import TYPE_CHECKING

from datapack.doctor.place import Place
from datapack.doctor.result import Result, note, problem
from datapack.errors import DatapackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["Result", "examine"]

_PATIENCE = 8.0  # seconds for all checks together
_CHECKS = (  # the name of each, its module here, and its function there
    ("python", "software", "python"),
    ("packages", "software", "packages"),
    ("catalog", "sources", "catalog"),
    ("sources", "sources", "needs"),
    ("git", "tracking", "git"),
    ("dvc", "tracking", "dvc"),
    ("disk", "machine", "disk"),
    ("links", "machine", "links"),
    ("engine", "machine", "engine"),
    ("base", "images", "base"),
    ("registry", "images", "registry"),
    ("privacy", "images", "privacy"),
    ("web", "web", "settings"),
)


def examine(folder: Path, *, patience: float = _PATIENCE) -> Iterator[Result]:
    """Yield the results of all checks, in their order, for a folder that may be in a workspace.

    Nothing is changed, and no result shows a secret.

    Args:
        folder: where datapack would run.
        patience: how long to wait for all checks, in seconds.
    """
    place = Place.of(folder)
    loaded = [(name, _load(module, function)) for name, module, function in _CHECKS]  # threads must not import
    running = [_Running(name, check, place) for name, check in loaded]
    end = time.monotonic() + patience
    for each in running:
        each.thread.join(max(0.0, end - time.monotonic()))
        yield from each.results(patience)


def _load(module: str, function: str) -> Callable[[Place], Iterable[Result]]:
    """Return a check; one whose module needs a package that is not here says so when it runs."""
    try:
        check: Callable[[Place], Iterable[Result]] = getattr(
            importlib.import_module(f"datapack.doctor.{module}"), function
        )
    except ImportError as error:
        missing = error

        def check(_: Place) -> Iterable[Result]:
            raise missing

    return check


class _Running:
    """A check in a thread of its own, which ends with the process if it never ends."""

    def __init__(self, name: str, check: Callable[[Place], Iterable[Result]], place: Place) -> None:
        self._name, self._check, self._place = name, check, place
        self._found: list[Result] = []
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._found += self._check(self._place)
        except DatapackError as error:
            self._found.append(problem(self._name, *_parts(error)))
        except ImportError as error:
            self._found.append(problem(self._name, f"not checked: {error}", "install datapack again"))
        except OSError as error:
            what = f"{error.filename or 'not checked'}: {error.strerror or type(error).__name__}"
            self._found.append(problem(self._name, what, "check its owner and permissions"))
        except Exception as error:
            what = f"the check failed: {type(error).__name__}"
            self._found.append(problem(self._name, what, "please report this as a bug in datapack"))

    def results(self, patience: float) -> list[Result]:
        if self.thread.is_alive():
            what = f"no answer within {patience:g} s"
            return [note(self._name, what, "check the network and the disks, and run this again")]
        return self._found


def _parts(error: DatapackError) -> tuple[str, str]:
    """Return what an error says is wrong, and what it says to do."""
    facts = DatapackError(error.what, where=error.where, expected=error.expected, found=error.found)
    return str(facts), error.fix or ""
