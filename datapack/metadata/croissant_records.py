"""The RecordSets of Croissant: each list of a COCO file, each table, and the parts of a split."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datapack.bag.manifest import PAYLOAD
from datapack.metadata.content import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datapack.inspect.model import Column
    from datapack.metadata.content import CocoFile, Content, Key, TableFile

SPLITS = "splits"
_TEXT, _INTEGER, _NUMBER, _TRUTH = "sc:Text", "sc:Integer", "cr:Float64", "sc:Boolean"
_KINDS: dict[str, dict[str, Any]] = {  # of keys in COCO files
    "whole number": {"dataType": _INTEGER},
    "number": {"dataType": _NUMBER},
    "text": {"dataType": _TEXT},
    "truth": {"dataType": _TRUTH},
    "box": {"dataType": "cr:BoundingBox", "description": "x, y, width and height in pixels"},
    "numbers": {"dataType": _NUMBER, "isArray": True, "arrayShape": "-1"},
}
_COLUMNS = {  # of columns in CSV files
    "whole number": _INTEGER,
    "number": _NUMBER,
    "date": _TEXT,  # of many forms
    "true or false": _TRUTH,
    "text": _TEXT,
    "empty": _TEXT,
}
_ARROW = {  # of columns in Parquet files, by Arrow's names of types
    **{f"{sign}int{bits}": f"cr:{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "halffloat": "cr:Float16",
    "float": "cr:Float32",
    "double": _NUMBER,
    "bool": _TRUTH,
    "string": _TEXT,
    "large_string": _TEXT,
    "string_view": _TEXT,
    "date32[day]": "sc:Date",
    "date64[ms]": "sc:Date",
    "timestamp": "sc:DateTime",  # with a unit, and maybe a time zone
}
_USES = {  # what Croissant calls the usual parts of a split
    "train": "cr:TrainingSplit",
    "training": "cr:TrainingSplit",
    "val": "cr:ValidationSplit",
    "valid": "cr:ValidationSplit",
    "validation": "cr:ValidationSplit",
    "dev": "cr:ValidationSplit",
    "test": "cr:TestSplit",
    "eval": "cr:TestSplit",
}
_IDS = {"whole number", "number"}  # some files have ids as floats
_REFERENCES = {"image_id": "images", "category_id": "categories"}  # of annotations, to other lists' ids
_NAMES = {"images": "The images that {} lists", "annotations": "The labels in {}", "categories": "The categories of {}"}


def record_sets(content: Content) -> Iterator[dict[str, Any]]:
    """Yield the RecordSets: those of COCO files, those of tables, and the parts of a split."""
    for coco in content.cocos:
        for name in LISTS:
            if name in coco.lists:
                yield _list(coco, name)
    for table in content.tables:
        if fields := list(_columns(table)):
            yield {
                "@type": "cr:RecordSet",
                "@id": _id(table.table.path, "rows"),
                "name": f"rows of {table.table.path}",
                "description": f"{table.table.rows} rows",
                "field": fields,
            }
    if parts := [coco for coco in content.cocos if coco.split]:
        yield _splits(parts)


def _id(path: str, *parts: str) -> str:
    """Return an id of something in a payload file: the payload's folder belongs to the file's own id."""
    return quote("/".join((path, *parts)), safe="/")


def file_id(path: str, *parts: str) -> str:
    """Return the id of a payload file, or of a part of it: quoted, as ids become parts of IRIs."""
    return _id(f"{PAYLOAD}/{path}", *parts)


def _list(coco: CocoFile, name: str) -> dict[str, Any]:
    keys = coco.lists[name]
    found: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": _id(coco.path, name),
        "name": f"{name} of {coco.path}",
        "description": f"{_NAMES[name].format(coco.path)}.",
        "field": [_key(coco, name, key) for key in keys],
    }
    if name in coco.identified:
        found["key"] = {"@id": _id(coco.path, name, "id")}
    return found


def _key(coco: CocoFile, name: str, key: Key) -> dict[str, Any]:
    other = _REFERENCES.get(key.name, "") if name == "annotations" and key.kind in _IDS else ""
    reference = {"references": {"field": {"@id": _id(coco.path, other, "id")}}} if other in coco.identified else {}
    return {
        "@type": "cr:Field",
        "@id": _id(coco.path, name, key.name),
        "name": key.name,
        **_KINDS[key.kind],
        "source": {"fileObject": {"@id": file_id(coco.path, name)}, "extract": {"jsonPath": f"$.{name}[*].{key.name}"}},
        **reference,
    }


def _columns(table: TableFile) -> Iterator[dict[str, Any]]:
    """Yield a field for each column that its name identifies and whose type Croissant has."""
    path, columns = table.table.path, table.columns
    counts = Counter(column.name for column in columns)
    # pandas calls the second column of a name 'name.1': a column that has this name itself becomes another.
    unclear = {f"{name}.{number}" for name, count in counts.items() for number in range(1, count)}
    for column in columns:
        kind = _column_type(column)
        if column.name and counts[column.name] == 1 and column.name not in unclear and kind:
            yield {
                "@type": "cr:Field",
                "@id": _id(path, "rows", quote(column.name, safe="")),
                "name": column.name,
                "dataType": kind,
                "source": {"fileObject": {"@id": file_id(path)}, "extract": {"column": column.name}},
            }


def _column_type(column: Column) -> str:
    """Return Croissant's type of a column; nothing for one whose values are lists or of another kind."""
    arrow = "timestamp" if column.type.startswith("timestamp[") else column.type
    return _COLUMNS.get(column.type) or _ARROW.get(arrow, "")


def _splits(parts: Sequence[CocoFile]) -> dict[str, Any]:
    """Return the parts of a split: their names, what they are for, and the RecordSets of their images."""
    fields = {"name": _TEXT, "use": "sc:URL", "images": _TEXT}
    return {
        "@type": "cr:RecordSet",
        "@id": SPLITS,
        "name": SPLITS,
        "description": "The parts of the dataset, and for each the RecordSet of its images.",
        "dataType": "cr:Split",
        "key": {"@id": f"{SPLITS}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{SPLITS}/{name}", "name": name, "dataType": kind}
            for name, kind in fields.items()
        ],
        "data": [
            {
                f"{SPLITS}/name": coco.split,
                f"{SPLITS}/use": _USES.get(coco.split, "cr:Split").replace("cr:", "http://mlcommons.org/croissant/"),
                f"{SPLITS}/images": _id(coco.path, "images"),
            }
            for coco in parts
        ],
    }
