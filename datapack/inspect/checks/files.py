"""Checks of all files: what should not be in a dataset, and names that some computers can't keep."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

from datapack.bag.names import folded
from datapack.inspect.contents import ARCHIVE, PICKLE, PROGRAM
from datapack.inspect.findings import EXAMPLES, Finding, Rule, drop_lines, few, some
from datapack.inspect.suspects import LEFTOVERS, SECRETS, suspect_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datapack.inspect.model import Content, Survey

_LONGEST = 200  # characters of a path: Windows allows 260, and the folder around the dataset takes some
_LONGEST_NAME = 143  # bytes of a name: encrypted home folders (eCryptfs) allow no more
_FOR_WINDOWS = re.compile(
    r'[<>:"|?*]|[ .](?=/|\Z)|(?:\A|/)(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.[^/]*)?(?=/|\Z)', re.IGNORECASE
)
_MOST_PATTERNS = 12  # in a line of the catalog

SECRET_NAMES = Rule(
    "DP101",
    "warning",
    "files whose names suggest passwords or keys",
    "Anyone who gets the dataset could use them. The registry and every copy of the image keep them.",
    "Leave them out with 'exclude'. If they were ever published, replace the password or key.",
)
JUNK = Rule(
    "DP102",
    "warning",
    "leftovers of other programs",
    "Nobody needs them in a dataset, and some reveal names of people or of other files.",
    "Leave them out with 'exclude'.",
)
SECRET_CONTENT = Rule(
    "DP103",
    "error",
    "files that contain keys or tokens",
    "Anyone who gets the dataset could use them. The registry and every copy of the image keep them.",
    "Revoke the key or token. Then remove it from the file, or leave the file out with 'exclude'.",
)
ALIKE = Rule(
    "DP104",
    "warning",
    "names that differ only in case or in Unicode form",
    "macOS and Windows keep only one of these files, and people confuse them.",
    "Rename them, and remove 'similar_names' from the catalog.",
)
COPIES = Rule(
    "DP105",
    "note",
    "duplicate files",
    "They have the same bytes under different names. DVC stores them once; image layers store every copy.",
    "Leave out copies that nobody needs.",
)
EMPTY = Rule(
    "DP106",
    "note",
    "empty files",
    "A failed copy or download often leaves an empty file. In some formats, an empty file means 'nothing to label'.",
    "Look at the examples. If the files should not be empty, restore them or leave them out.",
)
ARCHIVES = Rule(
    "DP107",
    "warning",
    "archives",
    "Programs can't read the files inside, and datapack did not check them.",
    "Add an 'unpack' source, so that the dataset contains the files.",
)
OTHER_CONTENT = Rule(
    "DP108",
    "error",
    "files whose content does not match their name",
    "A failed download often saves a 'not found' or 'log in' page under the name of the file.",
    "Fetch the files again, or correct their names.",
)
PROGRAMS = Rule(
    "DP109",
    "warning",
    "executable programs",
    "Datasets seldom need programs, and a Safe Haven may refuse them.",
    "Leave them out with 'exclude', or say in the title or the documentation why they are needed.",
)
PICKLES = Rule(
    "DP110",
    "warning",
    "files that can run code when they are loaded",
    "Loading a pickle runs the code that its author put in. A Safe Haven may refuse such files.",
    "Store arrays as .npy or Parquet and weights as .safetensors.",
)
LONG = Rule(
    "DP111",
    "note",
    f"paths of more than {_LONGEST} characters",
    "Windows and some encrypted folders can't store them.",
    "If the data must be used there, shorten names or use fewer folders.",
)
WINDOWS = Rule(
    "DP112",
    "note",
    "names that Windows does not allow",
    "They contain a character that Windows forbids, end in a dot or a space, or are reserved for a device (such "
    "as CON).",
    "If the data must be used there, rename the files.",
)


def check_names(survey: Survey) -> Iterator[Finding]:
    """Look for names of secrets and leftovers, for names that collide, and for names that not every system keeps."""
    found: dict[str, dict[str, str]] = {SECRETS.what: {}, LEFTOVERS.what: {}}
    first: dict[str, str] = {}
    alike: dict[str, set[str]] = defaultdict(set)
    for path in survey.files:
        if suspect := suspect_of(path):
            found[suspect[0].what][path] = suspect[1]
        form = folded(path)
        if (other := first.setdefault(path if form == path else form, path)) != path:
            alike[form] |= {other, path}
    for rule, kind in ((SECRET_NAMES, SECRETS), (JUNK, LEFTOVERS)):
        paths = found[kind.what]
        yield from some(rule, paths, _exclude(paths.values()), paths)
    groups = [sorted(paths) for paths in alike.values()]
    yield from some(ALIKE, [" and ".join(paths) for paths in groups])
    long = [path for path in survey.files if _is_long(path)]
    yield from some(LONG, [f"{len(path)} characters: {path}" for path in long], files=long)
    unfit = [path for path in survey.files if _FOR_WINDOWS.search(path)]
    yield from some(WINDOWS, unfit, files=unfit)


def _is_long(path: str) -> bool:
    if len(path) > _LONGEST:
        return True
    return len(path) * 4 > _LONGEST_NAME and any(len(part.encode()) > _LONGEST_NAME for part in path.split("/"))


def _exclude(names: Iterable[str]) -> str:
    """Return the line of a source that leaves out what has these names."""
    patterns = sorted({_pattern(name) for name in names})
    if not patterns or len(patterns) > _MOST_PATTERNS:
        return ""
    return f"exclude: [{', '.join(patterns)}]  # of the source that brings them"


def _pattern(name: str) -> str:
    """Return a pattern that matches just this name, as YAML writes it."""
    pattern = re.sub(r"([*?\[])", r"[\1]", name)
    is_plain = re.fullmatch(r"[A-Za-z_.][A-Za-z0-9_.-]*", pattern) and pattern.strip(".").lower() not in _WORDS
    return pattern if is_plain else json.dumps(pattern)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf", ""}  # of YAML


def check_contents(survey: Survey) -> Iterator[Finding]:
    """Look for keys, archives, programs, pickles, and files of other formats."""
    with_secrets = [content for content in survey.contents if content.secrets]
    paths = [content.path for content in with_secrets]
    lines = [f"{content.path}: {', '.join(content.secrets)}" for content in with_secrets]
    yield from some(SECRET_CONTENT, lines, _exclude(_names(paths)), paths)
    weights = {one.path for one in survey.weights}  # whose own checks say more: what a pickle would run, if anything
    for rule, form in ((ARCHIVES, ARCHIVE), (PROGRAMS, PROGRAM), (PICKLES, PICKLE)):
        paths = [content.path for content in survey.contents if content.form == form and content.path not in weights]
        catalog = _unpack(paths) if form == ARCHIVE else _exclude(_names(paths))
        yield from some(rule, paths, catalog, paths)
    yield from _other_content(survey)


def _unpack(paths: Iterable[str]) -> str:
    """Return the lines that add sources which unpack archives."""
    lines = (f"  - unpack: {json.dumps(path, ensure_ascii=False)}" for path in islice(paths, EXAMPLES))
    return "\n".join(("sources:", "  # after those that are there", *lines))


def _other_content(survey: Survey) -> Iterator[Finding]:
    known = {coco.path for coco in survey.cocos} | {table.path for table in survey.tables}  # whose own checks say it
    other: list[Content] = [one for one in survey.contents if one.problem and one.path not in known]
    lines = [f"{content.path}: {content.problem}" for content in other]
    paths = [content.path for content in other]
    yield from some(OTHER_CONTENT, lines, drop_lines(survey.reference, OTHER_CONTENT.code), paths)


def _names(paths: Iterable[str]) -> Iterator[str]:
    return (path.rpartition("/")[2] for path in paths)


def check_copies(survey: Survey) -> Iterator[Finding]:
    """Look for empty files and for copies."""
    empty = [path for path, file in survey.files.items() if not file.size]
    yield from some(EMPTY, empty, drop_lines(survey.reference, EMPTY.code), empty)
    first: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for path, file in survey.files.items():
        if file.size and (other := first.setdefault(file.sha256, path)) != path:
            copies.append((path, other))
    if copies:
        files = frozenset(path for path, _ in copies)
        lines = few(f"{path} is {other}" for path, other in copies)
        yield Finding(COPIES, len(copies), lines, drop_lines(survey.reference, COPIES.code), files)


RULES = (
    *(SECRET_NAMES, JUNK, SECRET_CONTENT, ALIKE, COPIES, EMPTY, ARCHIVES, OTHER_CONTENT, PROGRAMS, PICKLES, LONG),
    WINDOWS,
)
CHECKS = (check_names, check_contents, check_copies)
