"""The rules of a base: it must not have what an import container has, nor change what the import program runs."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from datapack.image.layers import MOUNTS, PROGRAMS
from datapack.oci.filesystem import Filesystem, describe
from datapack.oci.tar import TarError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OURS = ("dataset", *MOUNTS)  # folders of the root
_PRELOADED = "etc/ld.so.preload"  # the loader runs what it names in every program
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that make the loader or a shell run something else, or that the import program reads.
_DANGEROUS = re.compile(
    r"LD_.*|BASH_.*|DATAPACK_.*|BASHOPTS|CDPATH|ENV|GCONV_PATH|GLIBC_TUNABLES|IFS|LOCPATH|OPTIND|PS4|SHELLOPTS"
)


def settings_problems(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings that an image has from its base, given the base's config."""
    runtime = config.get("config") or {}
    environment = [line.partition("=") for line in runtime.get("Env") or ()]
    twice = [name for name, count in Counter(name for name, _, _ in environment).items() if count > 1]
    problems = [f"sets {name!a} twice: engines disagree about which one counts" for name in twice]
    for name, equals, _ in environment:
        if not (equals and _NAME.fullmatch(name)):
            problems.append(f"sets {name!a}, which is not a variable")
        elif _DANGEROUS.fullmatch(name):
            problems.append(f"sets {name}, which changes what the import program runs")
    folder = f"{_working_folder(config)}/"
    if any(folder.startswith(f"{path}/") for path in (*_OURS, *PROGRAMS)):  # an engine makes it where it is missing
        problems.append(f"has the working directory {folder[:-1]!a}")
    return problems


def _working_folder(config: Mapping[str, Any]) -> str:
    """Return the working directory of a config, without slashes around it."""
    runtime = config.get("config") or {}
    return posixpath.normpath(f"/{runtime.get('WorkingDir') or ''}").strip("/")


class BaseFiles:
    """The files of a base, as its layers are unpacked one on top of another."""

    def __init__(self) -> None:
        self._files, self._problem = Filesystem(), ""
        self.layers = 0  # the number of those added

    def add(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Add the next layer, with its entries as `Filesystem.apply` takes them."""
        self.layers += 1
        if not self._problem:
            try:
                self._files.apply(entries)
            except TarError as error:
                self._problem = f"can't be unpacked, or not by every engine: {error}"

    def problems(self, config: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the files, given the base's config."""
        return [*self._misplaced(), *self._working_folder(_working_folder(config))]

    def _working_folder(self, path: str) -> list[str]:
        """Check the working directory: an engine follows links on the way to it, and makes what is missing."""
        try:
            found = self._files.find(path)
        except TarError as error:
            return [f"has the working directory {path!a}, but {error}"]
        return [] if isinstance(found, dict) else [f"has the working directory {path!a}, but that is {describe(found)}"]

    def _misplaced(self) -> list[str]:
        """Return what is where an import container has something, or changes what runs."""
        try:
            found = [(path, self._files.find(path)) for path in (*_OURS, *PROGRAMS, _PRELOADED)]
        except TarError as error:
            return [self._problem or f"leaves no place for the import program: {error}"]
        there = [f"has something at /{path}: {describe(node)}" for path, node in found if node != {}]
        return [self._problem, *there] if self._problem else there
