"""The container engine: Docker or Podman, whichever answers the Docker API at ``DOCKER_HOST``."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import ImageError
from datapack.podman import find_podman, serve_podman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from datapack.progress import Reporter

_TIMEOUT = 3600  # seconds: loading an image of 22 GB takes long
_HOST, _USUAL = "DOCKER_HOST", "unix:///var/run/docker.sock"
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]  # in the status of such a store's driver


@contextlib.contextmanager
def open_engine(reporter: Reporter | None = None) -> Iterator[DockerClient]:
    """Open the engine that ``DOCKER_HOST`` names, or the one at the usual socket, or start Podman's API service.

    Args:
        reporter: told that Podman's service is started; without one, none is started. It ends when the engine is
            closed. Until then ``DOCKER_HOST`` names it, so that another call finds it.

    Raises:
        ImageError: no engine answers.
    """
    with contextlib.ExitStack() as stack:
        client = _connect()
        if isinstance(client, Exception):
            podman = find_podman() if reporter and _HOST not in os.environ else None
            if reporter is None or podman is None:
                raise _no_engine() from client
            reporter.note(f"no engine answers at {_USUAL}: {podman} serves its API until this is done")
            stack.enter_context(_named_host(stack.enter_context(serve_podman(podman))))
            client = _connect()
        if isinstance(client, Exception):
            raise _no_engine() from client
        yield stack.enter_context(contextlib.closing(client))


def _connect() -> DockerClient | Exception:
    """Return a client of the engine, or why none answers."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=_TIMEOUT)
        client.ping()
    except (DockerException, OSError) as error:
        return error
    return client


def _no_engine() -> ImageError:
    named = os.environ.get(_HOST)
    fix = "start Docker, or 'podman system service', and name its socket in DOCKER_HOST"
    return ImageError(
        "no container engine answers",
        where=named or _USUAL,
        fix=fix if named else "start Docker, or install Podman",
    )


@contextlib.contextmanager
def _named_host(url: str) -> Iterator[None]:
    os.environ[_HOST] = url
    try:
        yield
    finally:
        del os.environ[_HOST]


@contextlib.contextmanager
def engine_errors(what: str, where: object = None, fix: str | None = None) -> Iterator[None]:
    """Turn an engine's errors, and a lost connection, into an `ImageError` with the engine's own words."""
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        raise ImageError(what, where=where, found=error.explanation or error, fix=fix) from error
    except (DockerException, OSError) as error:  # the second: the connection broke
        raise ImageError(what, where=where, found=error, fix=fix) from error


@dataclass(frozen=True)
class Engine:
    """An engine, and what it can do here."""

    name: str  # Docker or Podman
    version: str
    limits_memory: bool
    limits_swap: bool
    uses_containerd: bool = False  # keeps images in containerd's store, as new installations of Docker do

    @classmethod
    def ask(cls, client: DockerClient) -> Engine:
        """Ask an engine; raise `ImageError` if it does not answer."""
        with engine_errors("the engine does not report its version"):
            version, info = client.version(), client.info()
        podman = any("Podman" in component["Name"] for component in version.get("Components", ()))
        return cls(
            name="Podman" if podman else "Docker",
            version=str(version["Version"]),
            limits_memory=bool(info.get("MemoryLimit")),
            limits_swap=bool(info.get("SwapLimit")),
            uses_containerd=_CONTAINERD in (info.get("DriverStatus") or ()),
        )

    @property
    def is_podman(self) -> bool:
        return self.name == "Podman"

    def image_id(self, manifest: str, config: str) -> str:
        """Return the id that this engine gives an image: the digest of its manifest, or of its configuration."""
        return manifest if self.uses_containerd else config

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
