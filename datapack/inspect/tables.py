"""The tables of a bag: CSV, TSV and Parquet files. Their values are counted, never kept."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from datapack.bag.manifest import PAYLOAD
from datapack.errors import BagError
from datapack.executor import run_all
from datapack.files import open_regular
from datapack.inspect.csv_table import read_csv
from datapack.inspect.model import Table
from datapack.inspect.parquet_table import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.executor import Advance
    from datapack.inspect.model import Column
    from datapack.progress import Reporter

_CSV = (".csv", ".tsv", ".tab")
_PARQUET = (".parquet", ".pq")
_LARGEST_RATIO = 200  # of the text to its gzip file: tables reach 50
_LEAST_LIMIT = 10 << 20  # bytes of text from however small a gzip file


def is_table(path: str) -> bool:
    """Whether a file is a table by its name."""
    return path.lower().removesuffix(".gz").endswith(_CSV) or path.lower().endswith(_PARQUET)


def read_tables(bag: Bag, reporter: Reporter, files: Mapping[str, PayloadFile]) -> tuple[Table, ...]:
    """Return every one of these payload files that is a table by its name, sorted by path.

    One that can't be read is returned with its problem; nothing is raised for it.
    """
    items = [(path, files[path].size) for path in sorted(filter(is_table, files))]
    columns: dict[tuple[Column, ...], tuple[Column, ...]] = {}  # thousands of tables can have the same
    with reporter.progress("read tables", sum(size for _, size in items), "B") as advance:
        found = run_all(partial(_read, bag.path / PAYLOAD), items, advance=advance)
        return tuple(replace(table, columns=columns.setdefault(table.columns, table.columns)) for table in found)


def _read(payload: Path, item: tuple[str, int], advance: Advance) -> Table:
    path, size = item
    try:
        with open_regular(payload / path, BagError, follow=False) as file:
            if path.lower().endswith(_PARQUET):
                return read_parquet(file, path)
            return _read_text(file, path, advance)
    except BagError as error:
        return Table(path, 0, (), problem=f"can't be read: {error.found}")
    except OSError as error:
        return Table(path, 0, (), problem=f"can't be read: {error.strerror}")
    finally:
        advance.set(size)


def _read_text(file: BinaryIO, path: str, advance: Advance) -> Table:
    tabs = PurePosixPath(path.lower().removesuffix(".gz")).suffix in {".tsv", ".tab"}
    progress = partial(_follow, file, advance)
    if not path.lower().endswith(".gz"):
        return read_csv(file, path, prefer_tabs=tabs, progress=progress)
    unpacked = _Limited(file)
    with contextlib.closing(unpacked):
        return read_csv(cast("BinaryIO", unpacked), path, prefer_tabs=tabs, progress=progress)


def _follow(file: BinaryIO, advance: Advance) -> None:
    """Advance to where a file is read."""
    advance.set(file.tell())


class _Limited(gzip.GzipFile):
    """A gzip file that unpacks to no more than tables do, and whose damage is a `ValueError`."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        file.seek(0, 2)
        self._rest = max(_LEAST_LIMIT, _LARGEST_RATIO * file.tell())
        file.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        return self._checked(super().read, -1 if size is None else size)

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1, size)

    def _checked(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            content = read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError("a gzip file that is broken or cut off") from error
        self._rest -= len(content)
        if self._rest < 0:
            raise ValueError(f"unpacks to more than {_LARGEST_RATIO} times its size")
        return content
