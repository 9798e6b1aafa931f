"""The compression of a base's layers: gzip, and zstd where Python or a package has it."""

from __future__ import annotations

import gzip
import importlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from datapack.errors import ImageError
from datapack.oci.spec import LAYER

if TYPE_CHECKING:
    from datapack.oci.tar import Readable

GZIP, ZSTD = f"{LAYER}+gzip", f"{LAYER}+zstd"
UNPACKED_LIMIT = 16 << 30  # bytes of one layer: a few MB of gzip could otherwise become terabytes


def unpacked(media_type: str, stream: Readable, where: object) -> Readable:
    """Return the bytes of a layer's tar archive.

    Raises:
        ImageError: the layer's type is unknown, or no installed package can unpack it.
    """
    if media_type == LAYER:
        return stream
    if media_type == GZIP:
        return _Limited(gzip.GzipFile(fileobj=cast("BinaryIO", stream), mode="rb"))
    if media_type == ZSTD:
        return _zstd(stream, where)
    raise ImageError("a layer of an unknown type", where=where, expected=f"{LAYER}, +gzip or +zstd", found=media_type)


def can_unpack(media_type: str) -> bool:
    """Whether `unpacked` knows a layer's type and has what it needs for it."""
    return media_type in {LAYER, GZIP} or (media_type == ZSTD and zstd_module() is not None)


def zstd_module() -> Any:
    """Return the module that unpacks zstd, or None."""
    for name in ("compression.zstd", "zstandard"):  # the first is in Python from 3.14 on
        try:
            return importlib.import_module(name)
        except ImportError:
            pass
    return None


def _zstd(stream: Readable, where: object) -> Readable:
    module = zstd_module()
    if module is None:
        fix = "install the package zstandard beside datapack"
        raise ImageError("a layer that is compressed with zstd can't be read here", where=where, fix=fix)
    if hasattr(module, "ZstdFile"):
        return _Limited(module.ZstdFile(stream), module.ZstdError)
    return _Limited(module.ZstdDecompressor().stream_reader(stream, read_across_frames=True), module.ZstdError)


class _Limited:
    """A stream that raises an error when it yields more than the limit."""

    def __init__(self, stream: Readable, error: type[Exception] = EOFError) -> None:
        self._stream, self._error, self._count = stream, error, 0

    def read(self, count: int, /) -> bytes:
        try:
            block = self._stream.read(count)
        except self._error as error:
            raise ValueError(str(error)) from error
        self._count += len(block)
        if self._count > UNPACKED_LIMIT:
            raise ValueError(f"more than {UNPACKED_LIMIT:,} bytes when unpacked")
        return block
