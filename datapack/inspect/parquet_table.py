"""A Parquet file by its footer, which holds its columns and counts. No value is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from datapack.inspect.model import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow.parquet import FileMetaData

UNKNOWN = -1
_MOST_PARTS = 1_000_000  # columns of row groups: counting in more would take too long
_LONGEST_TYPE = 200  # characters: a nested type can be as long as it likes


def read_parquet(file: BinaryIO, path: str) -> Table:
    """Return the table that the footer of a Parquet file describes."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata
    except ImportError:
        return Table(path, 0, (), problem="needs pyarrow: pip install 'datapack[parquet]'")
    try:
        metadata = read_metadata(file)
        return Table(path, metadata.num_rows, tuple(_columns(metadata)))
    except (ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        return Table(path, 0, (), problem=f"not a readable Parquet file: {reason}")


def _columns(metadata: FileMetaData) -> Iterator[Column]:
    missing = _missing(metadata)
    for field in metadata.schema.to_arrow_schema():
        yield Column(field.name, str(field.type)[:_LONGEST_TYPE], missing.get(field.name, UNKNOWN))


def _missing(metadata: FileMetaData) -> dict[str, int]:
    """Count the missing values of each column that is not nested; -1 if a part of the file does not tell."""
    if metadata.num_row_groups * metadata.num_columns > _MOST_PARTS:
        return {}
    found: dict[str, int] = {}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            part = group.column(place)
            counts, before = part.statistics, found.get(part.path_in_schema, 0)
            if counts is None or not counts.has_null_count or before == UNKNOWN:
                found[part.path_in_schema] = UNKNOWN
            else:
                found[part.path_in_schema] = before + counts.null_count
    return found
