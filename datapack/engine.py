"""The container engine: Docker or Podman, whichever answers the Docker API at ``DOCKER_HOST``."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

_TIMEOUT = 3600  # seconds: loading an image of 22 GB takes long
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]  # in the status of such a store's driver


@contextlib.contextmanager
def open_engine() -> Iterator[DockerClient]:
    """Open the engine that ``DOCKER_HOST`` names, or the one at the usual socket.

    Raises:
        ImageError: no engine answers.
    """
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=_TIMEOUT)
        client.ping()
    except (DockerException, OSError) as error:
        raise ImageError(
            "no container engine answers",
            where=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
            fix="start Docker, or 'podman system service', and name its socket in DOCKER_HOST",
        ) from error
    with contextlib.closing(client):
        yield client


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
