"""Python, and the packages that datapack needs."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from datapack import __version__
from datapack.doctor.result import Result, note, ok, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.doctor.place import Place

_OLDEST = (3, 11)
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:.*?>=\s*(?P<oldest>[0-9.]+))?")


def python(_: Place) -> Iterator[Result]:
    """Check the version of Python."""
    found = f"Python {platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] < _OLDEST:
        yield problem("python", found, f"install Python {_OLDEST[0]}.{_OLDEST[1]} or newer")
    else:
        yield ok("python", found)


def packages(_: Place) -> Iterator[Result]:
    """Check that every package that datapack requires is here, and new enough."""
    try:
        required = [text for text in metadata.requires("datapack") or () if "extra ==" not in text]
    except metadata.PackageNotFoundError:
        found = f"datapack {__version__} runs from a folder, so what it requires is not known"
        yield note("packages", found, "install it: pip install FOLDER")
        return
    wrong = [what for text in required if (what := _lacking(text))]
    if wrong:
        fix = "run 'pip install --upgrade datapack' where it is installed"
        yield problem("packages", f"datapack {__version__} needs {', '.join(wrong)}", fix)
    else:
        yield ok("packages", f"datapack {__version__} and the {len(required)} packages that it requires")


def _lacking(requirement: str) -> str:
    """Say what is wrong with a required package; an empty string if nothing is."""
    parts = _REQUIREMENT.match(requirement)
    if parts is None:
        return ""
    name, oldest = parts["name"], parts["oldest"] or "0"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name}, which is not installed"
    return f"{name} {oldest} or newer, not {version}" if _numbers(version) < _numbers(oldest) else ""


def _numbers(version: str) -> list[int]:
    """Return the numbers at the start of a version, without the zeros at their end: 2.0 is 2."""
    numbers = [int(number) for number in (re.match(r"[0-9.]*", version) or [""])[0].split(".") if number]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
