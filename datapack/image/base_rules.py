"""The rules of a base: what it must not have, since an image has it, and what it must leave alone.

An import container's base must not change what the import program runs. A ready-to-run model is based on a trainer
image, whose own program runs: it must be there, and start as ours do.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.image.kinds import DATASET_VARIABLE, DIGEST_VARIABLE, MODEL_VARIABLE, TRAINER_ENTRYPOINT
from datapack.image.layers import MOUNTS, PROGRAMS
from datapack.oci.filesystem import Filesystem, describe
from datapack.oci.tar import TarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

TRAINER = "opt/trainers/trainers/__main__.py"  # the program in a trainer image
_OURS = ("dataset", *MOUNTS)  # folders of the root
_PRELOADED = "etc/ld.so.preload"  # the loader runs what it names in every program
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that make the loader or a shell run something else, or that the import program reads.
_DANGEROUS = re.compile(
    r"LD_.*|BASH_.*|DATAPACK_.*|BASHOPTS|CDPATH|ENV|GCONV_PATH|GLIBC_TUNABLES|IFS|LOCPATH|OPTIND|PS4|SHELLOPTS"
)
_MODEL_VARIABLES = {DATASET_VARIABLE, DIGEST_VARIABLE, MODEL_VARIABLE}


@dataclass(frozen=True)
class BaseRules:
    """What the base of one kind of image must be like."""

    runnable: bool  # of a ready-to-run image, not of an import container

    @property
    def problem(self) -> str:
        """What a base is that breaks the rules; the first thing that is wrong follows."""
        if self.runnable:
            return "not a trainer image that a model can be added to: it"
        return "not usable as the base of an import container: it"

    @property
    def fix(self) -> str:
        if self.runnable:
            return "name one that a Dockerfile of docker/ built, by oci:DIR or NAME:TAG@sha256:..."
        return "use another base, such as Alpine's"

    def how_to_pin(self, name: str) -> str:
        """Say how to get the digest of a base: a trainer image must not become the base of the catalog."""
        if self.runnable:
            return f"skopeo inspect --format '{{{{.Digest}}}}' docker://{name} prints the digest"
        return f"'datapack base {name}' looks up the digest and writes it into the catalog"

    def settings(self, config: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the settings that an image has from its base, given the base's config."""
        problems = [*self._start(config), *_variable_problems(config, self._refused)]
        folder = f"{_working_folder(config)}/"
        if any(folder.startswith(f"{path}/") for path in (*_OURS, *self._programs)):  # an engine makes what is missing
            problems.append(f"has the working directory {folder[:-1]!a}")
        return problems

    def files(self, files: BaseFiles, config: Mapping[str, Any], layers: int) -> list[str]:
        """Return what is wrong with the base's files, given its config, and how many of its layers there should be."""
        missing = self._missing(files) if files.layers == layers else ()
        return [*files.misplaced(self._ours), *missing, *files.working_folder(_working_folder(config))]

    def _start(self, config: Mapping[str, Any]) -> Iterator[str]:
        found = (config.get("config") or {}).get("Entrypoint")
        if self.runnable and found != TRAINER_ENTRYPOINT:
            starts = f"starts with {found!a}" if found else "has no entrypoint"
            yield f"{starts}, and a trainer image starts with {TRAINER_ENTRYPOINT!a}"

    def _missing(self, files: BaseFiles) -> Iterator[str]:
        if self.runnable and not files.has(TRAINER):
            yield f"has no /{TRAINER}"

    def _refused(self, name: str) -> str:
        """Say why a base must not set a variable; an empty string if it may."""
        if self.runnable:
            return "so it has a model already" if name in _MODEL_VARIABLES else ""
        return "which changes what the import program runs" if _DANGEROUS.fullmatch(name) else ""

    @property
    def _programs(self) -> Iterable[str]:
        return () if self.runnable else PROGRAMS

    @property
    def _ours(self) -> tuple[str, ...]:
        return _OURS if self.runnable else (*_OURS, *PROGRAMS, _PRELOADED)


IMPORT_RULES, TRAINER_RULES = BaseRules(runnable=False), BaseRules(runnable=True)


def rules_of(*, runnable: bool) -> BaseRules:
    """Return the rules for the base of one kind of image."""
    return TRAINER_RULES if runnable else IMPORT_RULES


def _variable_problems(config: Mapping[str, Any], refused: Callable[[str], str]) -> Iterator[str]:
    """Yield what is wrong with a base's environment; ``refused`` says why it must not set a variable."""
    environment = [line.partition("=") for line in (config.get("config") or {}).get("Env") or ()]
    for name, count in Counter(name for name, _, _ in environment).items():
        if count > 1:
            yield f"sets {name!a} twice: engines disagree about which one counts"
    for name, equals, _ in environment:
        if not (equals and _NAME.fullmatch(name)):
            yield f"sets {name!a}, which is not a variable"
        elif why := refused(name):
            yield f"sets {name}, {why}"


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

    def has(self, path: str) -> bool:
        """Whether there is a file, or a link, at a path."""
        try:
            return not isinstance(self._files.find(path), dict)
        except TarError:
            return False

    def working_folder(self, path: str) -> list[str]:
        """Check the working directory: an engine follows links on the way to it, and makes what is missing."""
        try:
            found = self._files.find(path)
        except TarError as error:
            return [f"has the working directory {path!a}, but {error}"]
        return [] if isinstance(found, dict) else [f"has the working directory {path!a}, but that is {describe(found)}"]

    def misplaced(self, paths: Iterable[str]) -> list[str]:
        """Return what is where an image of ours has something, or changes what runs: at one of these paths."""
        try:
            found = [(path, self._files.find(path)) for path in paths]
        except TarError as error:
            return [self._problem or f"leaves no place for the import program: {error}"]
        there = [f"has something at /{path}: {describe(node)}" for path, node in found if node != {}]
        return [self._problem, *there] if self._problem else there
