"""Survey a bag: read everything that the checks and the report need to know about its content."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from datapack.bag.bagit import IDENTIFIER, PayloadFile
from datapack.bag.manifest import PAYLOAD
from datapack.bag.missing import MISSING, Missing, parse_missing
from datapack.errors import BagError
from datapack.files import disk_errors, read_limited
from datapack.inspect.coco import may_be_coco, read_coco, unread_coco
from datapack.inspect.deep import read_deep
from datapack.inspect.images import read_files
from datapack.inspect.locate import locate
from datapack.inspect.model import Coco, Survey
from datapack.inspect.tables import read_tables
from datapack.inspect.weights import read_all_weights, read_facts
from datapack.text import size as readable_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter

_LARGEST_LIST = 64 << 20  # bytes of missing.csv
_LARGEST_COCO = 4 << 30  # bytes: 20 million boxes, which need 2 GB of memory
_NO_FOLDERS: Mapping[str, str] = MappingProxyType({})


def survey(bag: Bag, reporter: Reporter, *, folders: Mapping[str, str] = _NO_FOLDERS, deep: bool = False) -> Survey:
    """Survey a bag.

    Args:
        bag: the bag; its names and sizes are those of its manifest.
        reporter: shows progress.
        folders: by the path of a COCO file, the payload folder of its images, if the catalog names one.
        deep: whether to decode every image.
    """
    files = payload_files(bag)
    cocos = tuple(_read_cocos(bag, files, folders, reporter))
    images, contents = read_files(bag, reporter, files)
    facts = read_facts(bag)
    return Survey(
        digest=bag.manifest.digest,
        files=files,
        images=images,
        cocos=cocos,
        tables=read_tables(bag, reporter, files),
        missing=read_missing(bag),
        deep=read_deep(bag, images, reporter) if deep else (),
        reference=bag.info.get(IDENTIFIER, ""),
        contents=contents,
        weights=read_all_weights(bag, reporter, files, facts),
        facts=facts,
    )


def payload_files(bag: Bag) -> dict[str, PayloadFile]:
    """Return a bag's files by their paths in the payload; each path is one text, which everything else shares."""
    files = {}
    for path, size, sha256 in bag.payload():
        inside = path.removeprefix(f"{PAYLOAD}/")
        files[inside] = PayloadFile(inside, size, sha256)
    return files


def read_cocos(bag: Bag, reporter: Reporter, *, folders: Mapping[str, str] = _NO_FOLDERS) -> tuple[Coco, ...]:
    """Read the COCO files of a bag, sorted by path; the arguments are those of `survey`."""
    return tuple(_read_cocos(bag, payload_files(bag), folders, reporter))


def _read_cocos(
    bag: Bag, paths: Mapping[str, PayloadFile], folders: Mapping[str, str], reporter: Reporter
) -> Iterator[Coco]:
    candidates = sorted(path for path in paths if path in folders or path.lower().endswith(".json"))
    with reporter.progress("reading COCO files", sum(paths[path].size for path in candidates), "B") as advance:
        for path in candidates:
            found = _read_one(bag, path, paths[path].size, is_named=path in folders)
            if found is not None:
                yield replace(found, images=locate(path, found.names, paths, folders.get(path)))
            advance(paths[path].size)


def _read_one(bag: Bag, path: str, size: int, *, is_named: bool) -> Coco | None:
    place = bag.path / PAYLOAD / path
    with disk_errors(place, BagError):
        if not is_named and not may_be_coco(place):
            return None
        if size > _LARGEST_COCO:
            return unread_coco(path, f"{readable_size(size)}, and at most {readable_size(_LARGEST_COCO)} are read")
        return read_coco(place, path, is_named=is_named)


def read_missing(bag: Bag) -> dict[str, Missing]:
    """Read ``missing.csv``; none without it. A file of that name that a source brought may be anything."""
    name = f"{PAYLOAD}/{MISSING}"
    if name not in bag.listing.files or bag.listing.files[name].size > _LARGEST_LIST:
        return {}
    try:
        return parse_missing(read_limited(bag.path / name, _LARGEST_LIST, BagError))
    except ValueError:
        return {}
