"""The options of a rehearsal, and the request that results from them and the files that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from datapack.errors import UsageError
from datapack.rehearse.flags import cores, read_opt_file
from datapack.rehearse.folders import check_folders
from datapack.rehearse.settings import parse_bytes, read_env_file, read_words

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = "4g"  # what `ces-run` gives by default

_NOT_WITH_APPTAINER = ("strict", "opt_file", "memory", "cores", "name")  # what only a container engine does


@dataclass(frozen=True)
class Options:
    """Options of a rehearsal."""

    arguments: tuple[str, ...] = ()  # for the program in the container
    launch: Literal["ces", "podman", "apptainer"] = "ces"  # the second mounts only /safe_data, writable
    data: Path | None = None  # the folder that is mounted as /safe_data; by default an empty one
    data_read_only: bool = False  # for the second launch; for the first it always is
    outputs: Path | None = None  # the folder that is mounted as /safe_outputs; by default a new one
    memory: str | None = None  # by default the opt-file's, or 4g
    cores: float | None = None
    name: str | None = None  # of the container
    strict: bool = False  # a read-only root, a user without a name, no capabilities
    gpu: bool = False
    env_file: Path | None = None
    arg_file: Path | None = None
    opt_file: Path | None = None
    base: str | None = None  # what a version's image is based on, if the image must still be built


@dataclass(frozen=True)
class Request:
    """The options, with everything in them read and checked."""

    options: Options
    flags: dict[str, Any]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    memory: int  # bytes

    @classmethod
    def read(cls, options: Options) -> Request:
        """Read everything that the user wrote, before anything is done; raise `UsageError` for what is wrong."""
        if options.launch == "podman" and options.outputs:
            raise UsageError("no folder for outputs is mounted", where="--launch podman", fix="leave --outputs out")
        if options.launch == "apptainer":
            _check_for_apptainer(options)
        check_folders(options.data, options.outputs)
        flags = _flags(options)
        words = (word for _, word in read_words(options.arg_file)) if options.arg_file else ()
        variables = read_env_file(options.env_file) if options.env_file else []
        return cls(
            options=options,
            flags=flags,
            command=(*words, *options.arguments),
            environment=(*variables, *flags.get("environment", ())),
            memory=_memory(options, flags),
        )


def _check_for_apptainer(options: Options) -> None:
    """Raise `UsageError` for an option that apptainer would ignore."""
    for name in _NOT_WITH_APPTAINER:
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                "apptainer can't do this", where=option, fix=f"leave {option} out, or rehearse with --launch ces"
            )


def _flags(options: Options) -> dict[str, Any]:
    """Return what the opt-file asks for; ``--cores`` overrides it."""
    flags = read_opt_file(options.opt_file) if options.opt_file else {}
    if options.cores is None:
        return flags
    try:
        return {**flags, "nano_cpus": cores(options.cores)}
    except ValueError as error:
        raise UsageError("wrong value", where="--cores", expected=error, found=options.cores) from error


def _memory(options: Options, flags: dict[str, Any]) -> int:
    try:
        return parse_bytes(options.memory) if options.memory else flags.get("mem_limit") or parse_bytes(MEMORY)
    except ValueError as error:
        raise UsageError("not an amount of memory", where="--memory", expected=error, found=options.memory) from error
