"""Rehearse: run an image as the Safe Haven will, here and now, and look at what came out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datapack.engine import Engine, open_engine
from datapack.errors import RehearsalError, UsageError
from datapack.image.base import STAND_IN_MEANS
from datapack.rehearse.arguments import GPU_FIX, copy_accounts, limited, strict, with_gpu, with_mounts
from datapack.rehearse.arrival import Arrived, brings_nothing, list_files, verify_arrival
from datapack.rehearse.container import LABEL, Ended, Log, created, follow, remove_leftovers
from datapack.rehearse.flags import cores, read_opt_file, volumes
from datapack.rehearse.folders import Folders, check_folders, open_folders
from datapack.rehearse.settings import parse_bytes, read_env_file, read_words, show_bytes
from datapack.rehearse.subject import Subject, find_subject

if TYPE_CHECKING:
    from docker import DockerClient

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

MEMORY = "4g"  # what `ces-run` gives where nothing else is asked for
FAILED = ("IMPORT FAILED", "TRAINING FAILED")  # how a program's last line says so, whatever its status

Mounts = dict[str, tuple[Path, bool]]  # folders here and whether they are read-only, by where a container sees them

_KILLED = 128 + 9  # the status of a container whose program was killed


@dataclass(frozen=True)
class Options:
    """How a rehearsal may differ from the usual one."""

    arguments: tuple[str, ...] = ()  # for the program in the container
    launch: Literal["ces", "podman"] = "ces"  # the second shows it /safe_data alone, to write to
    data: Path | None = None  # what is shown as /safe_data; by default an empty folder
    data_read_only: bool = False  # with the second launch; with the first it always is
    outputs: Path | None = None  # what is shown as /safe_outputs; by default a fresh folder
    memory: str | None = None  # by default the opt-file's, or 4g
    cores: float | None = None
    name: str | None = None  # of the container
    strict: bool = False  # a read-only root, a user without a name, no capabilities
    gpu: bool = False
    env_file: Path | None = None
    arg_file: Path | None = None
    opt_file: Path | None = None
    base: str | None = None  # what a version stands on, if the engine must still be given its image


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal that went well: the dataset that arrived, or the files that were written, and where they are."""

    name: str
    arrived: Arrived | None
    folder: Path  # where it wrote
    files: tuple[tuple[str, int], ...]  # each by its path there, with its size in bytes


@dataclass(frozen=True)
class _Request:
    """What the options ask for, once everything in them was read."""

    options: Options
    flags: dict[str, Any]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    memory: int  # bytes


def rehearse(
    what: str, folder: Path, workspace: Workspace | None, options: Options, log: Log, reporter: Reporter
) -> Rehearsed:
    """Run an image as the Safe Haven will, to its end, and verify what it brought or list what it wrote.

    Args:
        what: ``name@version``, or the name or id of an image that the engine has.
        folder: where rehearsals are kept, in ``dist/rehearsals``, if there is no workspace.
        workspace: where a version's lock and bag are; None outside any.
        options: how it may differ from the usual way.
        log: where goes what the container prints.
        reporter: told what is done.

    Raises:
        RehearsalError: the container failed, by its status or by its last line.
        MismatchError: it ended well, but what arrived is not the dataset that the image names.
        DatapackError: it could not be run.
    """
    request = _read(options)
    with open_engine() as client:
        remove_leftovers(client, reporter)
        subject = find_subject(client, what, workspace, options.base, reporter)
        parent = (workspace.root if workspace else folder) / "dist" / "rehearsals" / _folder_name(what)
        with open_folders(parent, options.data, options.outputs, anyone=options.strict) as folders:
            mounts = _mounts(options, folders)
            ended = _run(client, subject, request, folders, mounts, log, reporter)
            _raise_if_failed(ended, subject, request)
            return _look(subject, request, folders, {point: place for point, (place, _) in mounts.items()}, reporter)


def _read(options: Options) -> _Request:
    """Read all that people wrote before anything is done."""
    if options.launch == "podman" and options.outputs:
        raise UsageError("nothing is mounted for outputs", where="--launch podman", fix="leave --outputs out")
    check_folders(options.data, options.outputs)
    flags = read_opt_file(options.opt_file) if options.opt_file else {}
    try:
        memory = parse_bytes(options.memory) if options.memory else flags.get("mem_limit") or parse_bytes(MEMORY)
    except ValueError as error:
        raise UsageError("not an amount of memory", where="--memory", expected=error, found=options.memory) from error
    if options.cores is not None:
        try:
            flags["nano_cpus"] = cores(options.cores)
        except ValueError as error:
            raise UsageError("can't be had", where="--cores", expected=error, found=options.cores) from error
    words = (word for _, word in read_words(options.arg_file)) if options.arg_file else ()
    variables = read_env_file(options.env_file) if options.env_file else []
    return _Request(
        options=options,
        flags=flags,
        command=(*words, *options.arguments),
        environment=(*variables, *flags.get("environment", ())),
        memory=memory,
    )


def _folder_name(what: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", what).strip("-.") or "image"


def _mounts(options: Options, folders: Folders) -> Mounts:
    """Give the folders of this machine and whether they are read-only, by where the Safe Haven shows them."""
    if options.launch == "podman":
        return {"/safe_data": (folders.data, options.data_read_only)}
    return {
        "/safe_data": (folders.data, True),
        "/safe_outputs": (folders.outputs, False),
        "/scratch": (folders.scratch, False),
    }


def _run(
    client: DockerClient,
    subject: Subject,
    request: _Request,
    folders: Folders,
    mounts: Mounts,
    log: Log,
    reporter: Reporter,
) -> Ended:
    """Run the container to its end and remove it."""
    engine = Engine.ask(client)
    if request.options.strict and engine.is_podman:
        unused = {"labels": {LABEL: str(folders.root)}, "network_mode": "none"}
        with created(client, subject, unused, reporter) as container:
            mounts = {**mounts, **copy_accounts(container, folders.etc)}
    arguments = _arguments(request, folders, mounts, engine)
    _say(subject, request, folders, engine, reporter)
    fix = GPU_FIX if request.options.gpu else None
    with created(client, subject, arguments, reporter, fix) as container:
        container.reload()
        if container.attrs["HostConfig"].get("Memory") != request.memory:
            reporter.note("this engine can't limit memory here: the container may use all that there is")
        ended = follow(container, subject, log, reporter, fix)
        folders.clear()
    if scratch := folders.leftover():
        reporter.note(f"scratch could not be deleted, its files are another user's: {scratch}")
    if ended.out_of_memory and not ended.status:
        reporter.note(f"a process in it was killed: it used more than the {show_bytes(request.memory)} of memory")
    return ended


def _arguments(request: _Request, folders: Folders, mounts: Mounts, engine: Engine) -> dict[str, Any]:
    """Say what the Docker API is asked for: the flags first, and over them what the options ask for."""
    options = request.options
    arguments = limited(with_mounts(request.flags, mounts, options.opt_file), request.memory, engine)
    if options.strict:
        arguments = strict(arguments, engine)
    if options.gpu:
        arguments = with_gpu(arguments, engine)
    return {
        **arguments,
        "command": list(request.command) or None,
        "environment": list(request.environment),
        "labels": {**request.flags.get("labels", {}), LABEL: str(folders.root)},
        "name": options.name,
        "network_mode": "none",
    }


def _say(subject: Subject, request: _Request, folders: Folders, engine: Engine, reporter: Reporter) -> None:
    """Tell people what is run, how, and where its outputs will be."""
    options = request.options
    how = [f"{show_bytes(request.memory)} of memory", "no network"]
    if options.launch == "podman":
        how.append(f"only /safe_data, to {'read' if options.data_read_only else 'write'}")
    if options.strict:
        how.append("strict: a read-only root, a user without a name, no capabilities")
    if subject.stand_in:
        reporter.note(f"this image is not for a Safe Haven: it stands on {STAND_IN_MEANS}")
    reporter.note(f"running {subject.name} on {engine}: {', '.join(how)}")
    where = folders.outputs if options.launch == "ces" else folders.data
    reporter.note(f"what it writes to {'/safe_outputs' if options.launch == 'ces' else '/safe_data'} is in {where}")


def _raise_if_failed(ended: Ended, subject: Subject, request: _Request) -> None:
    if ended.status:
        given = f"the {show_bytes(request.memory)} of memory that it was given"
        found = f"status {ended.status}"
        if ended.out_of_memory:
            found += f", it used more than {given}"
        elif ended.status == _KILLED:  # not every engine says why
            found += f", it was killed: by hand, or as it used more than {given}"
        raise RehearsalError(
            "the container failed", status=ended.status, where=subject.name, found=found, fix="its log is above"
        )
    for line in ended.last:
        if line.startswith(FAILED):
            raise RehearsalError(
                "the container ended with status 0, but its last line says that it failed",
                status=1,
                where=subject.name,
                found=repr(line),
            )


def _look(
    subject: Subject, request: _Request, folders: Folders, mounts: dict[str, Path], reporter: Reporter
) -> Rehearsed:
    """Look at what a container left that ended well."""
    imports = subject.dataset is not None and "entrypoint" not in request.flags
    if subject.dataset and imports and not brings_nothing(request.command):
        arrived = verify_arrival(subject.dataset, request.command, {**mounts, **volumes(request.flags)}, reporter)
        return Rehearsed(subject.name, arrived, Path(arrived.verified.where), ())
    if request.options.launch == "ces":
        return Rehearsed(subject.name, None, folders.outputs, tuple(list_files(folders.outputs)))
    written = (
        list_files(folders.data) if folders.own_data else ()
    )  # in a folder that was named nobody knows what is new
    return Rehearsed(subject.name, None, folders.data, tuple(written))
