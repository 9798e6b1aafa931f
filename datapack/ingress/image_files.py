"""The files of an image whose parts can be read without all bytes between them: names, modes and owners, no content."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import ImageError
from datapack.oci.boundary import FAILURES
from datapack.oci.compression import UNPACKED_LIMIT, unpacked
from datapack.oci.filesystem import remove_lower
from datapack.oci.spec import LAYER
from datapack.oci.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.oci.image import StoredImage
    from datapack.oci.spec import Descriptor
    from datapack.oci.tar import Entry

_BLOCK = 512  # bytes: the last block of an entry's header is its own


class FileFacts(NamedTuple):
    """What a layer says of a file or folder."""

    kind: str
    mode: int
    uid: int


def image_files(image: StoredImage) -> dict[str, FileFacts] | None:
    """Return the files of an image by their paths, without a leading slash; None if they can't be read here.

    A layer in a registry can only be read whole, so its files are not.
    """
    if not image.storage.seekable:
        return None
    found: dict[str, FileFacts] = {}
    try:
        for layer in image.layers:
            for entry in _entries(image, layer):
                _apply(found, entry)
    except (ImageError, *FAILURES):
        return None
    return found


def _entries(image: StoredImage, layer: Descriptor) -> Iterator[Entry]:
    with image.storage.open(layer) as blob:
        if layer.media_type == LAYER:
            yield from TarReader(blob, layer.size, blob.seek)
        else:
            yield from TarReader(unpacked(layer.media_type, blob, layer.digest), UNPACKED_LIMIT)


def _apply(found: dict[str, FileFacts], entry: Entry) -> None:
    path = entry.name.removeprefix("./").strip("/")
    if path and not remove_lower(found, path):
        info = tarfile.TarInfo.frombuf(entry.header[-_BLOCK:], "utf-8", "surrogateescape")
        found[path] = FileFacts(entry.kind, info.mode, info.uid)
