"""What the metadata says of the records in a bag: the lists of COCO files and the columns of tables, with their types.

Each file that is read for it is checked against the bag's manifest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datapack.bag.manifest import PAYLOAD
from datapack.catalog.sources import SplitSource
from datapack.coco.rows import START, read_rows
from datapack.errors import BagError, FetchError, MismatchError
from datapack.files import disk_errors
from datapack.hashing import hash_file
from datapack.inspect.coco import may_be_coco
from datapack.inspect.survey import payload_files
from datapack.inspect.tables import is_table, read_tables
from datapack.metadata.plain_table import readable_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.catalog.model import Entry
    from datapack.inspect.model import Column, Table
    from datapack.progress import Reporter

MOST_FILES = 100  # of either kind that are described: a page of thousands helps nobody
LISTS = ("images", "annotations", "categories")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # what a JSONPath can name without quotes
_RESERVED = {"parent", "where", "wherenot"}  # words of JSONPath
_SIDES = 4
_MOST_IDS = 5_000_000  # that are compared with each other: they take 500 MB

Kind = Literal["whole number", "number", "text", "truth", "box", "numbers", "other"]


_PLAIN: dict[type, Kind] = {bool: "truth", int: "whole number", float: "number", str: "text"}
_NUMBERS = frozenset({int, float})


class Key(NamedTuple):
    """A key that every row of a list has."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class CocoFile:
    """A COCO file: the keys of each of its lists that has rows."""

    path: str  # below the payload
    sha256: str
    size: int
    lists: Mapping[str, tuple[Key, ...]]
    identified: frozenset[str] = frozenset()  # the lists whose rows have ids of their own
    split: str = ""  # the part of a split that it lists


@dataclass(frozen=True)
class TableFile:
    """A table, and what is said of it."""

    table: Table
    columns: tuple[Column, ...]  # that readers of Croissant can read; none if they can't read the table
    sha256: str
    size: int


@dataclass(frozen=True)
class Content:
    """The files of a bag whose records are described."""

    cocos: tuple[CocoFile, ...]
    tables: tuple[TableFile, ...]
    left_out: int = 0  # further files of these kinds, which are not described


def read_content(entry: Entry, bag: Bag, reporter: Reporter) -> Content:
    """Read what the COCO files and tables of a bag contain.

    Raises:
        MismatchError: a file differs from the manifest.
        BagError: a file can't be read.
    """
    files = payload_files(bag)
    lists = [path for path in sorted(files) if path in entry.image_folders or path.lower().endswith(".json")]
    with disk_errors(bag.path, BagError):
        lists = [path for path in lists if may_be_coco(bag.path / PAYLOAD / path)]
    tables = list(filter(is_table, sorted(files)))
    left_out = sum(max(0, len(paths) - MOST_FILES) for paths in (lists, tables))
    lists, tables = lists[:MOST_FILES], tables[:MOST_FILES]
    _check(bag, [files[path] for path in {**dict.fromkeys(lists), **dict.fromkeys(tables)}], reporter)
    parts = [part for source in entry.sources if isinstance(source, SplitSource) for part in source.ratios]
    described = read_tables(bag, reporter, {path: files[path] for path in tables})
    return Content(
        cocos=tuple(_cocos(bag, [files[path] for path in lists], parts)),
        tables=tuple(_table(bag, each, files[each.path]) for each in described),
        left_out=left_out,
    )


def _table(bag: Bag, table: Table, file: PayloadFile) -> TableFile:
    return TableFile(table, readable_columns(bag.path / PAYLOAD / table.path, table), file.sha256, file.size)


def _check(bag: Bag, files: Iterable[PayloadFile], reporter: Reporter) -> None:
    """Refuse a file that differs from the manifest: nothing is said of bytes that are not the dataset's."""
    files = list(files)
    with reporter.progress("checking what is described", sum(file.size for file in files), "B") as advance:
        for file in files:
            path = bag.path / PAYLOAD / file.path
            with disk_errors(path, BagError):
                found = hash_file(path, advance=advance)
            if found != file.sha256:
                raise differs(path, file.sha256, found)


def differs(path: object, expected: str, found: str) -> MismatchError:
    """Return the error for a file that is not the one in the manifest."""
    fix = "run 'datapack verify' to list every file that differs, 'datapack fetch' to restore them"
    return MismatchError(
        "the file differs from the bag's manifest", where=path, expected=expected, found=found, fix=fix
    )


def _cocos(bag: Bag, files: Iterable[PayloadFile], parts: Iterable[str]) -> Iterator[CocoFile]:
    lists_of_parts = {f"{part}.json": part for part in parts}
    for file in files:
        found = _lists(bag, file.path)
        lists = {name: keys for name in LISTS if name in found and (keys := found[name].shared())}
        if "images" in lists:
            identified = frozenset(name for name in lists if found[name].has_ids)
            split = lists_of_parts.get(file.path.rpartition("/")[2], "")
            yield CocoFile(file.path, file.sha256, file.size, lists, identified, split)


def _lists(bag: Bag, path: str) -> dict[str, _Keys]:
    """Return what is known of the lists of a COCO file; nothing if it is no JSON file."""
    found: dict[str, _Keys] = {}
    try:
        for name, position, value in read_rows(bag.path / PAYLOAD / path):
            if name in LISTS and position == START:
                found[name] = _Keys(is_list=isinstance(value, list))
            elif name in LISTS:
                found[name].add(value)
    except FetchError:  # 'datapack check' says what is wrong with it
        return {}
    return found


class _Keys:
    """The keys that all rows of a list share, and what their values are."""

    def __init__(self, *, is_list: bool) -> None:
        self._is_sound = is_list
        self._kinds: dict[str, set[Kind]] | None = None
        self._ids: set[object] = set()
        self._rows = 0

    def add(self, row: object) -> None:
        if not isinstance(row, dict):
            self._is_sound = False
            return
        self._rows += 1
        if self._rows <= _MOST_IDS and type(row.get("id")) is int:
            self._ids.add(row["id"])
        if self._kinds is None:
            self._kinds = {key: {_kind(value)} for key, value in row.items() if _is_plain(key)}
        else:
            for key in [key for key in self._kinds if key not in row]:
                del self._kinds[key]
            for key, kinds in self._kinds.items():
                kinds.add(_kind(row[key]))

    @property
    def has_ids(self) -> bool:
        """Whether each row has an id, a whole number, that no other row has."""
        return len(self._ids) == self._rows

    def shared(self) -> tuple[Key, ...]:
        """Return the keys whose values are all of one kind; a whole number is a number too."""
        if not self._is_sound or self._kinds is None:
            return ()
        keys = ((key, _common(key, kinds)) for key, kinds in self._kinds.items())
        return tuple(Key(key, kind) for key, kind in keys if kind != "other")


def _is_plain(key: str) -> bool:
    return bool(_KEY.fullmatch(key)) and key not in _RESERVED


def _kind(value: Any) -> Kind:
    plain = _PLAIN.get(type(value))
    if plain or not isinstance(value, list) or not _NUMBERS.issuperset(map(type, value)):
        return plain or "other"
    return "box" if len(value) == _SIDES else "numbers"


def _common(key: str, kinds: set[Kind]) -> Kind:
    """Return what the values of a key all are, if they are of these kinds; four numbers are a box only as ``bbox``."""
    if kinds == {"whole number", "number"}:
        return "number"
    if kinds <= {"box", "numbers"}:
        return "box" if key == "bbox" and kinds == {"box"} else "numbers"
    return next(iter(kinds)) if len(kinds) == 1 else "other"
