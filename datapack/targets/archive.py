"""``oci-archive:FILE``: an OCI layout in one tar file, with Docker's ``manifest.json`` for ``docker load``.

The size of every blob is known before it is written, and so is its place in the file: blobs are written side by side,
and each blob's header, which contains its digest, after its content. In a pipe the digest must come first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tarfile
import threading
from typing import TYPE_CHECKING, BinaryIO

from datapack.errors import ImageError, UsageError
from datapack.files import (
    WriteBehind,
    check_space,
    open_regular,
    remove_temporaries,
    sync,
    sync_folder,
    temporary_file,
)
from datapack.oci.archive import Archive, blob_name
from datapack.oci.index import annotation, entries_of
from datapack.oci.spec import INDEX, LAYOUT_FILE, REF_NAME, Descriptor, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from datapack.image.config import Image
    from datapack.oci.blob import Blob, Observer
    from datapack.registry.referrers import Artifact

_CONTAINERD_NAME = "io.containerd.image.name"  # the annotation that names an image for Docker's containerd store
END = b"\0" * (2 * tarfile.BLOCKSIZE)


@contextlib.contextmanager
def open_archive(path: Path, title: str, tagged: str) -> Iterator[ArchiveTarget]:
    """Open a file for an archive of one image; it gets its name when it is complete.

    It replaces an empty file or an archive of the same image, and nothing else.
    """
    if os.path.lexists(path):
        _check_replaceable(path, title, tagged)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_temporaries(path.parent)
    with temporary_file(path.parent) as (file, temporary):
        yield ArchiveTarget(file, temporary, path)


def _check_replaceable(path: Path, title: str, tagged: str) -> None:
    expected, found = f"an archive of {title}", "something else"
    with open_regular(path, ImageError) as file:
        if not os.fstat(file.fileno()).st_size:
            return
    with contextlib.suppress(ImageError):
        names = [annotation(entry, REF_NAME) for entry in entries_of(Archive.find(path).read_index())]
        if names and set(names) == {tagged}:
            return
        found = f"an archive of {', '.join(map(str, names)) or 'nothing'}"
    fix = "move it away, or name another target with --to"
    raise ImageError("this file would be replaced", where=path, expected=expected, found=found, fix=fix)


class ArchiveTarget:
    """An archive in a file that is written under a temporary name."""

    doing = "writing layers"
    checks = False

    def __init__(self, file: BinaryIO, temporary: Path, path: Path) -> None:
        self._file, self._temporary, self._path = file, temporary, path
        self._end = self._file.write(_FOLDERS)
        self._lock = threading.Lock()
        self.streams = len(os.sched_getaffinity(0))

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        check_space(self._path.parent, blob.size, ImageError)
        start = self._reserve(blob.size)
        with self._temporary.open("r+b") as file:
            file.seek(start + tarfile.BLOCKSIZE)
            digest = blob.write(WriteBehind(file), observer)
            file.flush()
            file.seek(start)
            file.write(header(blob_name(digest), blob.size))
        return blob.descriptor(digest)

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        for name, content in closing_entries(image):
            self._file.seek(self._reserve(len(content)))
            self._file.write(entry(name, content))
        self._file.seek(self._end)
        self._file.write(END)
        sync(self._file)
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return f"oci-archive:{self._path}"

    def _reserve(self, size: int) -> int:
        """Reserve the space of the next entry; return where it starts."""
        with self._lock:
            start, self._end = self._end, self._end + entry_size(size)
            return start


def check_pipe() -> None:
    """Raise `UsageError` if standard output can't take an archive."""
    if sys.stdout is None:  # closed by the program that started datapack
        raise UsageError("there is no standard output", where="oci-archive:-", fix="redirect it to a file or a program")
    if sys.stdout.isatty():
        raise UsageError(
            "will not write an image to a terminal", where="oci-archive:-", fix="redirect it to a file or a program"
        )


@contextlib.contextmanager
def open_pipe() -> Iterator[PipeTarget]:
    """Open standard output for an archive."""
    check_pipe()
    yield PipeTarget(sys.stdout.buffer)


class PipeTarget:
    """An archive that is written to a pipe, blob by blob."""

    doing = "writing layers"
    checks = False
    streams = 1

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._out.write(_FOLDERS)

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        digest = blob.digest
        if not digest:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
                digest = blob.write(nowhere, observer)
        self._out.write(header(blob_name(digest), blob.size))
        blob.write(self._out, observer)
        self._out.write(bytes(-blob.size % tarfile.BLOCKSIZE))
        return blob.descriptor(digest)

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        for name, content in closing_entries(image):
            self._out.write(entry(name, content))
        self._out.write(END)
        self._out.flush()
        return "oci-archive:-"


def _folder(name: str) -> bytes:
    """Return the tar header of a folder. Without one, skopeo creates the folder as root's, which only root may do."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.GNU_FORMAT)


_FOLDERS = _folder("blobs") + _folder("blobs/sha256")


def header(name: str, size: int) -> bytes:
    """Return the tar header of a regular file; the same input always gives the same header."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)  # even a layer over 8 GiB has a header of one block


def entry(name: str, content: bytes) -> bytes:
    """Return a whole tar entry: header, content and padding."""
    return header(name, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def entry_size(size: int) -> int:
    """Return the size in bytes of an entry whose content has ``size`` bytes."""
    return tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE


def closing_entries(image: Image) -> Iterator[tuple[str, bytes]]:
    """Yield the entries of an archive besides its layers. Only the last one makes it an OCI archive."""
    yield from docker_entries(image, image.tag, [blob_name(layer.digest) for layer in image.layers])
    _, *others = layout_entries(image, {REF_NAME: image.tag, _CONTAINERD_NAME: f"docker.io/library/{image.tag}"})
    yield from others


def docker_entries(image: Image, tag: str, layers: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the configuration, and the list of layers that ``docker load`` reads: their paths in the archive."""
    yield blob_name(image.id), image.config
    yield "manifest.json", canonical_json([{"Config": blob_name(image.id), "RepoTags": [tag], "Layers": layers}])


def layout_entries(image: Image, names: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the configuration, and the rest of an OCI layout; ``names`` are the annotations that name the image."""
    yield blob_name(image.id), image.config
    yield blob_name(image.digest), image.manifest
    yield "oci-layout", canonical_json(LAYOUT_FILE)
    described = {**image.descriptor.to_json(), **({"annotations": names} if names else {})}
    yield "index.json", canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]})
