"""Rehearse: run an image here as the Safe Haven will run it, and check what it leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.errors import RehearsalError
from datapack.image.stand_in import STAND_IN_MEANS
from datapack.rehearse.apptainer import open_apptainer
from datapack.rehearse.arrival import Arrived, imports_nothing, list_files, verify_arrival
from datapack.rehearse.engine import open_containers
from datapack.rehearse.folders import Folders, open_folders
from datapack.rehearse.options import Options, Request

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from datapack.progress import Reporter
    from datapack.rehearse.log import Ended, Log
    from datapack.rehearse.runtime import Mounts, Runtime
    from datapack.rehearse.subject import Dataset, Subject
    from datapack.workspace.folder import Workspace

#: How a program's last line begins if it failed, whatever its status.
FAILED = ("IMPORT FAILED", "CHECK FAILED", "TRAINING FAILED", "EVALUATION FAILED", "PREDICTION FAILED")

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
        what: ``name@version``, or the name or id of an image that the engine has, or an image on disk for apptainer.
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
    runtime: AbstractContextManager[Runtime]
    if options.launch == "apptainer":
        runtime = open_apptainer(what, folder, workspace, request, log, reporter)
    else:
        runtime = open_containers(what, workspace, request, log, reporter)
    parent = (workspace.root if workspace else folder) / "dist" / "rehearsals" / _folder_name(what)
    with (
        runtime as opened,
        open_folders(parent, options.data, options.outputs, anyone=options.strict) as folders,
    ):
        return _Rehearsal(opened, request, folders, reporter).run()


def _folder_name(what: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", what).strip("-.") or "image"


@dataclass(frozen=True)
class _Rehearsal:
    """One rehearsal: its image and what runs it, its folders, and where it reports."""

    runtime: Runtime
    request: Request
    folders: Folders
    reporter: Reporter

    def run(self) -> Rehearsed:
        self._announce()
        ended = self.runtime.run(self._mounts, self.folders)
        self.folders.clear()
        self._note_leftovers(ended)
        self._raise_if_failed(ended)
        return self._result()

    @property
    def _options(self) -> Options:
        return self.request.options

    @property
    def _subject(self) -> Subject:
        return self.runtime.subject

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
        how = self.runtime.conditions
        inside, outside = ("/safe_outputs", self.folders.outputs)
        if options.launch == "podman":
            how = [*how, f"only /safe_data, {'read-only' if options.data_read_only else 'writable'}"]
            inside, outside = ("/safe_data", self.folders.data)
        if self._subject.stand_in:
            self.reporter.note(f"this image is not for a Safe Haven: it is based on {STAND_IN_MEANS}")
        self.reporter.note(f"running {self._subject.name} on {self.runtime.name}: {', '.join(how)}")
        self.reporter.note(f"what it writes to {inside} is in {outside}")

    def _note_leftovers(self, ended: Ended) -> None:
        if scratch := self.folders.leftover():
            self.reporter.note(f"scratch could not be deleted, its files belong to another user: {scratch}")
        if ended.out_of_memory and not ended.status:
            self.reporter.note(f"a process in it was killed: it used more than its {self.runtime.memory} of memory")

    def _raise_if_failed(self, ended: Ended) -> None:
        memory = self.runtime.memory
        if ended.status:
            found = f"status {ended.status}"
            if ended.out_of_memory:
                found += f", it used more than its {memory} of memory"
            elif ended.status == _KILLED:  # not every engine gives the reason
                found += ", it was killed: by hand, or because it used more than "
                found += f"its {memory} of memory" if memory else "this machine's memory"
            fix = "its log is above"
            raise RehearsalError(
                "the container failed", status=ended.status, where=self._subject.name, found=found, fix=fix
            )
        for line in ended.last:
            if line.startswith(FAILED):
                what = "the container ended with status 0, but its last line reports a failure"
                raise RehearsalError(what, status=1, where=self._subject.name, found=repr(line))

    def _result(self) -> Rehearsed:
        """Check what a successful container left."""
        name, folders = self._subject.name, self.folders
        if dataset := self._expected():
            mounted = {inside: folder for inside, (folder, _) in self._mounts.items()}
            mounts = {**mounted, **self.runtime.mounted()}
            arrived = verify_arrival(dataset, self.request.command, mounts, self.reporter)
            return Rehearsed(name, arrived, Path(arrived.verified.where), ())
        if self._options.launch != "podman":
            return Rehearsed(name, None, folders.outputs, tuple(list_files(folders.outputs)))
        written = list_files(folders.data) if folders.own_data else ()  # in the user's own folder, which files are new?
        return Rehearsed(name, None, folders.data, tuple(written))

    def _expected(self) -> Dataset | None:
        """Return the dataset that the container was to import, if any."""
        replaced = "entrypoint" in self.request.flags
        return None if replaced or imports_nothing(self.request.command) else self._subject.dataset
