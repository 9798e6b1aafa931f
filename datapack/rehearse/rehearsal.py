"""Rehearse: run an image here as the Safe Haven will run it, and check what it leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.engine import Engine, open_engine
from datapack.errors import RehearsalError
from datapack.image.stand_in import STAND_IN_MEANS
from datapack.rehearse.arguments import GPU_FIX, copy_accounts, limited, strict, with_gpu, with_mounts
from datapack.rehearse.arrival import Arrived, imports_nothing, list_files, verify_arrival
from datapack.rehearse.container import LABEL, Ended, Log, created, follow, remove_leftovers
from datapack.rehearse.flags import volumes
from datapack.rehearse.folders import Folders, open_folders
from datapack.rehearse.options import Options, Request
from datapack.rehearse.settings import show_bytes
from datapack.rehearse.subject import Subject, find_subject

if TYPE_CHECKING:
    from docker import DockerClient

    from datapack.progress import Reporter
    from datapack.rehearse.subject import Dataset
    from datapack.workspace.folder import Workspace

FAILED = ("IMPORT FAILED", "TRAINING FAILED")  # the start of a program's last line if it failed, whatever its status

Mounts = dict[str, tuple[Path, bool]]  # folders here and whether they are read-only, by their path in the container

_KILLED = 128 + 9  # the status of a container whose program was killed


@dataclass(frozen=True)
class Rehearsed:
    """A successful rehearsal: the dataset that arrived, or the files that were written, and where they are."""

    name: str
    arrived: Arrived | None
    folder: Path  # where it wrote
    files: tuple[tuple[str, int], ...]  # each by its path there, with its size in bytes


def rehearse(
    what: str, folder: Path, workspace: Workspace | None, options: Options, log: Log, reporter: Reporter
) -> Rehearsed:
    """Run an image to its end as the Safe Haven will, and verify what it imported or list what it wrote.

    Args:
        what: ``name@version``, or the name or id of an image that the engine has.
        folder: rehearsals are kept in its ``dist/rehearsals`` if there is no workspace.
        workspace: where a version's lock and bag are; None outside any.
        options: how it may differ from the usual way.
        log: where the container's output goes.
        reporter: receives each step.

    Raises:
        RehearsalError: the container failed, by its status or by its last line.
        MismatchError: the container succeeded, but what arrived is not the dataset that the image names.
        DatapackError: the container could not run.
    """
    request = Request.read(options)
    with open_engine() as client:
        remove_leftovers(client, reporter)
        subject = find_subject(client, what, workspace, options.base, reporter)
        parent = (workspace.root if workspace else folder) / "dist" / "rehearsals" / _folder_name(what)
        with open_folders(parent, options.data, options.outputs, anyone=options.strict) as folders:
            return _Rehearsal(client, Engine.ask(client), subject, request, folders, log, reporter).run()


def _folder_name(what: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", what).strip("-.") or "image"


@dataclass(frozen=True)
class _Rehearsal:
    """One rehearsal: its engine, its image, its folders, and where it reports."""

    client: DockerClient
    engine: Engine
    subject: Subject
    request: Request
    folders: Folders
    log: Log
    reporter: Reporter

    def run(self) -> Rehearsed:
        arguments = self._arguments(self._account_files())
        self._announce()
        ended = self._run_container(arguments)
        self._note_leftovers(ended)
        self._raise_if_failed(ended)
        return self._result()

    @property
    def _options(self) -> Options:
        return self.request.options

    @property
    def _mounts(self) -> Mounts:
        """The folders that the Safe Haven mounts."""
        if self._options.launch == "podman":
            return {"/safe_data": (self.folders.data, self._options.data_read_only)}
        return {
            "/safe_data": (self.folders.data, True),
            "/safe_outputs": (self.folders.outputs, False),
            "/scratch": (self.folders.scratch, False),
        }

    def _announce(self) -> None:
        """Tell the user what is run, how, and where its outputs will be."""
        options = self._options
        how = [f"{show_bytes(self.request.memory)} of memory", "no network"]
        if options.launch == "podman":
            how.append(f"only /safe_data, {'read-only' if options.data_read_only else 'writable'}")
        if options.strict:
            how.append("strict: a read-only root, a user without a name, no capabilities")
        if self.subject.stand_in:
            self.reporter.note(f"this image is not for a Safe Haven: it is based on {STAND_IN_MEANS}")
        self.reporter.note(f"running {self.subject.name} on {self.engine}: {', '.join(how)}")
        inside, outside = ("/safe_data", self.folders.data)
        if options.launch == "ces":
            inside, outside = ("/safe_outputs", self.folders.outputs)
        self.reporter.note(f"what it writes to {inside} is in {outside}")

    def _run_container(self, arguments: dict[str, Any]) -> Ended:
        """Run the container to its end and remove it."""
        fix = GPU_FIX if self._options.gpu else None
        with created(self.client, self.subject, arguments, self.reporter, fix) as container:
            container.reload()
            if container.attrs["HostConfig"].get("Memory") != self.request.memory:
                self.reporter.note("this engine can't limit memory here: the container may use all memory")
            ended = follow(container, self.subject, self.log, self.reporter, fix)
            self.folders.clear()
        return ended

    def _account_files(self) -> Mounts:
        """Return how to mount the image's own account files where the engine would change them."""
        if not (self._options.strict and self.engine.is_podman):
            return {}
        arguments = {"labels": self._label, "network_mode": "none"}
        with created(self.client, self.subject, arguments, self.reporter) as container:
            return copy_accounts(container, self.folders.etc)

    def _arguments(self, further: Mounts) -> dict[str, Any]:
        """Return the arguments for the Docker API: those of the flags, overridden by those of the options."""
        options, request = self._options, self.request
        mounted = with_mounts(request.flags, {**self._mounts, **further}, options.opt_file)
        arguments = limited(mounted, request.memory, self.engine)
        if options.strict:
            arguments = strict(arguments, self.engine)
        if options.gpu:
            arguments = with_gpu(arguments, self.engine)
        return {
            **arguments,
            "command": list(request.command) or None,
            "environment": list(request.environment),
            "labels": {**request.flags.get("labels", {}), **self._label},
            "name": options.name,
            "network_mode": "none",
        }

    @property
    def _label(self) -> dict[str, str]:
        return {LABEL: str(self.folders.root)}

    def _note_leftovers(self, ended: Ended) -> None:
        if scratch := self.folders.leftover():
            self.reporter.note(f"scratch could not be deleted, its files belong to another user: {scratch}")
        if ended.out_of_memory and not ended.status:
            self.reporter.note(f"a process in it was killed: it used more than its {self._memory} of memory")

    @property
    def _memory(self) -> str:
        return show_bytes(self.request.memory)

    def _raise_if_failed(self, ended: Ended) -> None:
        if ended.status:
            found = f"status {ended.status}"
            if ended.out_of_memory:
                found += f", it used more than its {self._memory} of memory"
            elif ended.status == _KILLED:  # not every engine gives the reason
                found += f", it was killed: by hand, or because it used more than its {self._memory} of memory"
            fix = "its log is above"
            raise RehearsalError(
                "the container failed", status=ended.status, where=self.subject.name, found=found, fix=fix
            )
        for line in ended.last:
            if line.startswith(FAILED):
                what = "the container ended with status 0, but its last line reports a failure"
                raise RehearsalError(what, status=1, where=self.subject.name, found=repr(line))

    def _result(self) -> Rehearsed:
        """Check what a successful container left."""
        name, folders = self.subject.name, self.folders
        if dataset := self._expected():
            mounted = {inside: folder for inside, (folder, _) in self._mounts.items()}
            mounts = {**mounted, **volumes(self.request.flags)}
            arrived = verify_arrival(dataset, self.request.command, mounts, self.reporter)
            return Rehearsed(name, arrived, Path(arrived.verified.where), ())
        if self._options.launch == "ces":
            return Rehearsed(name, None, folders.outputs, tuple(list_files(folders.outputs)))
        written = list_files(folders.data) if folders.own_data else ()  # in the user's own folder, which files are new?
        return Rehearsed(name, None, folders.data, tuple(written))

    def _expected(self) -> Dataset | None:
        """Return the dataset that the container was to import, if any."""
        replaced = "entrypoint" in self.request.flags
        return None if replaced or imports_nothing(self.request.command) else self.subject.dataset
