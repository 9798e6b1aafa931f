"""A rehearsal in a container of Docker or Podman."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.engine import Engine, open_engine
from datapack.rehearse.arguments import GPU_FIX, copy_accounts, limited, strict, with_gpu, with_mounts
from datapack.rehearse.container import LABEL, created, follow, remove_leftovers
from datapack.rehearse.flags import volumes
from datapack.rehearse.settings import show_bytes
from datapack.rehearse.subject import Subject, find_subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import DockerClient

    from datapack.progress import Reporter
    from datapack.rehearse.folders import Folders
    from datapack.rehearse.log import Ended, Log
    from datapack.rehearse.options import Options, Request
    from datapack.rehearse.runtime import Mounts
    from datapack.workspace.folder import Workspace


@contextlib.contextmanager
def open_containers(
    what: str, workspace: Workspace | None, request: Request, log: Log, reporter: Reporter
) -> Iterator[Containers]:
    """Open the engine, clear what killed rehearsals left there, and find or load the image."""
    with open_engine(reporter) as client:
        remove_leftovers(client, reporter)
        subject = find_subject(client, what, workspace, request.options.base, reporter)
        yield Containers(client, Engine.ask(client), subject, request, log, reporter)


@dataclass(frozen=True)
class Containers:
    """An image in an engine, and how its container is to run."""

    client: DockerClient
    engine: Engine
    subject: Subject
    request: Request
    log: Log
    reporter: Reporter

    @property
    def name(self) -> str:
        return str(self.engine)

    @property
    def memory(self) -> str:
        return show_bytes(self.request.memory)

    @property
    def conditions(self) -> list[str]:
        how = [f"{self.memory} of memory", "no network"]
        if self._options.strict:
            how.append("strict: a read-only root, a user without a name, no capabilities")
        return how

    def mounted(self) -> dict[str, Path]:
        return volumes(self.request.flags)

    def run(self, mounts: Mounts, folders: Folders) -> Ended:
        label = {LABEL: str(folders.root)}
        arguments = self._arguments({**mounts, **self._account_files(folders, label)}, label)
        fix = GPU_FIX if self._options.gpu else None
        with created(self.client, self.subject, arguments, self.reporter, fix) as container:
            container.reload()
            if container.attrs["HostConfig"].get("Memory") != self.request.memory:
                self.reporter.note("this engine can't limit memory here: the container may use all memory")
            return follow(container, self.subject, self.log, self.reporter, fix)

    @property
    def _options(self) -> Options:
        return self.request.options

    def _account_files(self, folders: Folders, label: dict[str, str]) -> Mounts:
        """Return how to mount the image's own account files where the engine would change them."""
        if not (self._options.strict and self.engine.is_podman):
            return {}
        arguments = {"labels": label, "network_mode": "none"}
        with created(self.client, self.subject, arguments, self.reporter) as container:
            return copy_accounts(container, folders.aside)

    def _arguments(self, mounts: Mounts, label: dict[str, str]) -> dict[str, Any]:
        """Return the arguments for the Docker API: those of the flags, overridden by those of the options."""
        options, request = self._options, self.request
        arguments = limited(with_mounts(request.flags, mounts, options.opt_file), request.memory, self.engine)
        if options.strict:
            arguments = strict(arguments, self.engine)
        if options.gpu:
            arguments = with_gpu(arguments, self.engine)
        return {
            **arguments,
            "command": list(request.command) or None,
            "environment": list(request.environment),
            "labels": {**request.flags.get("labels", {}), **label},
            "name": options.name,
            "network_mode": "none",
        }
