"""The container of a rehearsal: created, followed to its end, and removed however datapack itself ends."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.engine import engine_errors
from datapack.rehearse.folders import is_abandoned, remove_abandoned
from datapack.rehearse.log import Ended, Tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import DockerClient
    from docker.models.containers import Container

    from datapack.progress import Reporter
    from datapack.rehearse.log import Log
    from datapack.rehearse.subject import Subject

LABEL = "datapack.rehearsal"  # its value is the rehearsal's folder, which shows whether its process is alive

_GRACE = 10  # seconds between the request to stop and the kill


@contextlib.contextmanager
def created(
    client: DockerClient, subject: Subject, arguments: Mapping[str, Any], reporter: Reporter, fix: str | None = None
) -> Iterator[Container]:
    """Create a container, and remove it with its own volumes at the end."""
    with engine_errors("the engine can't create this container", where=subject.name, fix=fix):
        container = client.containers.create(subject.id, **arguments)
    try:
        yield container
    finally:
        if why := _remove(container):
            reporter.note(f"container {container.name} could not be removed; the next rehearsal will try again: {why}")


def _remove(container: Container) -> str:
    """Remove a container, running or not; return why that failed, or an empty string."""
    from docker.errors import APIError, DockerException

    try:
        container.remove(force=True, v=True)
    except APIError as error:
        gone = error.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}  # the second: somebody else removes it
        return "" if gone else str(error.explanation)
    except (DockerException, OSError) as error:
        return str(error)
    return ""


def follow(container: Container, subject: Subject, log: Log, reporter: Reporter, fix: str | None = None) -> Ended:
    """Start a container and write its output to ``log`` until it ends; stop it if this is interrupted.

    Raises:
        ImageError: the engine can't start it, or stopped answering.
    """
    try:
        return _follow(container, subject, log, fix)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            reporter.note(f"stopping the container: it has {_GRACE} s to shut down; Ctrl-C kills it now")
        with contextlib.suppress(Exception):  # its removal, which follows, kills it
            container.stop(timeout=_GRACE)
        raise


def _follow(container: Container, subject: Subject, log: Log, fix: str | None) -> Ended:
    tails = Tail(log.out), Tail(log.err)
    for parts in _printed(container, subject, fix):
        for tail, part in zip(tails, parts, strict=True):
            if part:
                tail.write(part)
    with engine_errors("the engine can't tell how the container ended", where=subject.name):
        status = container.wait()["StatusCode"]
        container.reload()
    killed = bool(container.attrs["State"].get("OOMKilled"))
    return Ended(status, killed, tuple(tail.last_line for tail in tails))


def _printed(container: Container, subject: Subject, fix: str | None) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Start a container and yield its output, as pairs (standard output, standard error)."""
    with engine_errors("the engine can't run this container", where=subject.name, fix=fix):
        stream = container.attach(stream=True, demux=True)  # before it starts, so that nothing is missed
        container.start()
        yield from stream


def remove_leftovers(client: DockerClient, reporter: Reporter) -> None:
    """Remove the containers of rehearsals whose datapack was killed; name those that may still be in use."""
    with engine_errors("the engine can't list its containers"):
        containers = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    for container in containers:
        root = Path(container.labels[LABEL])
        abandoned = is_abandoned(root)
        if abandoned is None:
            reporter.note(
                f"container {container.name} belongs to a rehearsal whose folder is gone, {root}: "
                "remove it if nobody uses it"
            )
        elif abandoned:
            if why := _remove(container):
                reporter.note(f"container {container.name} of a killed rehearsal could not be removed: {why}")
                continue
            remove_abandoned(root)
            reporter.note(f"removed container {container.name} of a killed rehearsal")
