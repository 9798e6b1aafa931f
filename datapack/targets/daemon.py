"""``docker-daemon:NAME:TAG``: an image in Docker's or Podman's store, through the Docker API, with no copy on disk.

datapack sends a ``docker save`` archive. Docker and Podman unpack all of it before they read it, so the layers can have
names without a digest, and the list of layers can come last. Docker's containerd store finds blobs by their content, so
the same holds there; but it would write a manifest of its own, with another digest. It gets an OCI layout instead.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import threading
from typing import TYPE_CHECKING, BinaryIO

from datapack.engine import Engine, engine_errors, open_engine
from datapack.errors import ImageError, UsageError
from datapack.registry import ImageName
from datapack.targets.archive import END, docker_entries, entry, header, layout_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from docker import DockerClient

    from datapack.image.config import Image
    from datapack.oci.blob import Blob, Observer
    from datapack.oci.spec import Descriptor
    from datapack.progress import Reporter
    from datapack.registry.referrers import Artifact

_BLOCK = 1 << 20


@contextlib.contextmanager
def open_daemon(name: str, reporter: Reporter) -> Iterator[DaemonTarget]:
    """Open the engine for one image; it keeps nothing of an incomplete image.

    Raises:
        UsageError: an engine would refuse the name, after all layers were sent.
        ImageError: no engine answers.
    """
    check_name(name)
    with open_engine(reporter) as client:
        engine = Engine.ask(client)
        load = _Load(client)
        try:
            yield DaemonTarget(name, client, engine, load)
        finally:
            load.abandon()


def check_name(name: str) -> None:
    """Raise `UsageError` if an engine would refuse a name."""
    parsed = None
    for text in (name, f"localhost/{name}"):  # an engine's name may lack the registry
        with contextlib.suppress(UsageError):
            parsed = parsed or ImageName.parse(text)
    if parsed is None or not parsed.tag or parsed.digest or parsed.path == "localhost/sha256":
        raise UsageError(
            "not the name of an image in an engine", where=repr(name), expected="NAME:TAG in small letters"
        )


class DaemonTarget:
    """An image that is sent to an engine."""

    doing = "sending layers to the engine"
    checks = False
    streams = 1

    def __init__(self, name: str, client: DockerClient, engine: Engine, load: _Load) -> None:
        self._name, self._client, self._engine, self._load = name, client, engine, load
        self._out: BinaryIO = load.out
        self._layers: list[str] = []

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        path = f"{len(self._layers)}.tar"
        self._layers.append(path)
        self._put(header(path, blob.size))
        try:
            digest = blob.write(self._out, observer)
        except BrokenPipeError as error:
            raise self._load.error() from error
        self._put(bytes(-blob.size % tarfile.BLOCKSIZE))
        return blob.descriptor(digest)

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        containerd = self._engine.uses_containerd
        entries = layout_entries(image, {}) if containerd else docker_entries(image, self._name, self._layers)
        for name, content in entries:
            self._put(entry(name, content))
        self._put(END)
        self._load.finish()
        self._check(self._engine.image_id(image.digest, image.id))
        return f"docker-daemon:{self._name}"

    def _check(self, expected: str) -> None:
        """Raise `ImageError` unless the engine has this image under its name, which a containerd store gets here."""
        from docker.utils import parse_repository_tag

        with engine_errors("the engine does not have the image that was loaded", where=self._name):
            if self._engine.uses_containerd:
                self._client.images.get(expected).tag(*parse_repository_tag(self._name))
            loaded = self._client.images.get(self._name).id
        if loaded != expected:
            raise ImageError("the engine stored another image", where=self._name, expected=expected, found=loaded)

    def _put(self, content: bytes) -> None:
        try:
            self._out.write(content)
        except BrokenPipeError as error:
            raise self._load.error() from error


class _Load:
    """The request that sends an archive to the engine, in its own thread that reads from a pipe."""

    def __init__(self, client: DockerClient) -> None:
        self._client = client
        self._answers: list[str] = []
        reading, writing = os.pipe()
        self._source = os.fdopen(reading, "rb")
        self.out = os.fdopen(writing, "wb")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._source:
                archive = iter(lambda: self._source.read(_BLOCK), b"")
                for answer in self._client.api.load_image(archive):  # type: ignore[no-untyped-call] # no stub has it
                    if "error" in answer:
                        self._answers.append(str(answer["error"]))
        except Exception as error:  # the thread that waits for the request reports why it ended
            self._answers.append(str(error))

    def finish(self) -> None:
        """End the archive and wait until the engine has loaded it."""
        self.out.close()
        self._thread.join()
        if self._answers:
            raise self.error()

    def error(self) -> ImageError:
        self._thread.join()
        return ImageError(
            "the engine refused the image", found=self._answers[0] if self._answers else "it closed the connection"
        )

    def abandon(self) -> None:
        """Close the archive without its end: the engine keeps nothing of it."""
        with contextlib.suppress(BrokenPipeError):
            self.out.close()
        self._thread.join()
