"""``oci:DIR``: an OCI image layout, a folder that skopeo, podman and buildah read."""

from __future__ import annotations

import contextlib
import os
import reprlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import ImageError
from datapack.files import (
    TEMPORARY_PREFIX,
    WriteBehind,
    atomic_writer,
    check_space,
    remove_temporaries,
    sync,
    sync_folder,
    temporary_file,
)
from datapack.hashing import hash_file
from datapack.oci.index import annotation, entries_of
from datapack.oci.layout import Layout
from datapack.oci.spec import INDEX, LAYOUT_FILE, REF_NAME, Descriptor, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from datapack.image.config import Image
    from datapack.oci.blob import Blob, Observer
    from datapack.registry.referrers import Artifact


@contextlib.contextmanager
def open_layout(
    folder: Path, title: str, others: Sequence[Layout] = (), *, verify: bool = False
) -> Iterator[LayoutTarget]:
    """Open a layout for one image.

    A new layout is written to ``DIR.partial`` and renamed when it is complete; what a killed run left there is reused.
    In an existing layout, the new image replaces the old one when ``index.json`` is renamed.

    Args:
        folder: the layout.
        title: what the image is: only one of the same title is replaced.
        others: layouts on this disk: a blob that one of them has is linked, and takes no room of its own.
        verify: read the blobs that are there already, and replace those that are damaged. Without it, only the small
            ones are read, and the size of a layer is enough.
    """
    final = Layout(folder)
    if final.index.exists():
        _check_replaceable(final, title)
        layout = final
    elif folder.exists() and any(folder.iterdir()):
        raise ImageError(
            "this folder contains something else",
            where=folder,
            expected="an OCI layout or an empty folder",
            fix="name another target with --to",
        )
    else:
        layout = Layout(folder.with_name(f"{folder.name}.partial"))
    _check_own_folders(layout)
    layout.blobs.mkdir(parents=True, exist_ok=True)
    remove_temporaries(layout.blobs)
    yield LayoutTarget(layout, final, verify, tuple(others))


def _check_replaceable(layout: Layout, expected: str) -> None:
    for image in entries_of(layout.read_index()) or (None,):  # None: an index of something else, or a shared layout
        title = annotation(image, _TITLE)
        if title != expected:
            raise ImageError(
                "this layout contains another image",
                where=layout.root,
                expected=expected,
                found=title or ("no image" if image is None else reprlib.repr(image)),
                fix="name another target with --to",
            )


def _check_own_folders(layout: Layout) -> None:
    """Refuse a layout that shares its blobs with others: here, blobs that the new image does not name are removed."""
    for folder in (layout.blobs.parent, layout.blobs):
        if folder.is_symlink():
            raise ImageError(
                "this layout keeps its blobs elsewhere",
                where=folder,
                expected="a folder",
                found="a link",
                fix="name another target with --to",
            )


_SMALL = 1 << 20  # bytes: the import program, most tag files, the configuration, the manifest
_TITLE = "io.github.datapack.reference"


@dataclass(frozen=True)
class LayoutTarget:
    """A layout that is being written in ``layout`` and will be moved to ``final``."""

    layout: Layout
    final: Layout
    verify: bool
    others: tuple[Layout, ...] = ()

    doing = "writing layers"
    checks = False

    @property
    def streams(self) -> int:
        return len(os.sched_getaffinity(0))

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        if blob.digest and self._holds(blob.digest, blob.size):
            return blob.descriptor(blob.digest)
        if blob.digest and any(self._link(other, blob, observer) for other in self.others):
            return blob.descriptor(blob.digest)
        check_space(self.layout.blobs, blob.size, ImageError)
        with temporary_file(self.layout.blobs) as (file, temporary):
            digest = blob.write(WriteBehind(file), observer)
            sync(file)
            temporary.replace(self.layout.blob(digest))
        return blob.descriptor(digest)

    def _holds(self, digest: str, size: int) -> bool:
        """Whether a sound blob is there; one that is damaged will be replaced."""
        if not self.layout.holds(digest, size):
            return False
        return not (self.verify or size <= _SMALL) or f"sha256:{hash_file(self.layout.blob(digest))}" == digest

    def _link(self, other: Layout, blob: Blob, observer: Observer) -> bool:
        """Make a blob of another layout one of this one too, if it is there and sound, and the disk can do that."""
        if blob.size <= _SMALL or not other.holds(blob.digest, blob.size):
            return False
        temporary = self.layout.blobs / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        observer.start()
        try:
            os.link(other.blob(blob.digest), temporary, follow_symlinks=False)
            if f"sha256:{hash_file(temporary, advance=observer.advance)}" == blob.digest:
                temporary.replace(self.layout.blob(blob.digest))
                return True
        except OSError:  # another disk, or one without links
            pass
        finally:
            temporary.unlink(missing_ok=True)
        return False

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        self._write_blob(image.config_descriptor, image.config)
        self._write_blob(image.descriptor, image.manifest)
        index = self._index(image)
        if not (self.layout.index.exists() and self.layout.index.read_bytes() == index):
            sync_folder(self.layout.blobs)
            _write(self.layout.root / "oci-layout", canonical_json(LAYOUT_FILE))
            _write(self.layout.index, index)
        self._remove_unused(image)  # always: an earlier run may have been killed before this step
        if self.layout != self.final:
            if self.final.root.exists():
                self.final.root.rmdir()
            self.layout.root.rename(self.final.root)
            sync_folder(self.final.root.parent)
        return f"oci:{self.final.root}"

    def _index(self, image: Image) -> bytes:
        annotations = {REF_NAME: image.tag, _TITLE: image.title}
        entry = {**image.descriptor.to_json(), "annotations": annotations}
        return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})

    def _write_blob(self, descriptor: Descriptor, content: bytes) -> None:
        if not self._holds(descriptor.digest, descriptor.size):
            _write(self.layout.blob(descriptor.digest), content)

    def _remove_unused(self, image: Image) -> None:
        """Remove blobs that the image does not name: a file that was withdrawn must be in no blob."""
        parts = (image.descriptor, image.config_descriptor, *image.layers)
        kept = {self.layout.blob(part.digest) for part in parts}
        for blob in self.layout.blobs.iterdir():
            if blob not in kept:
                blob.unlink()


def _write(path: Path, content: bytes) -> None:
    with atomic_writer(path) as file:
        file.write(content)
