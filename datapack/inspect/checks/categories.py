"""Checks of the categories of COCO files, within one list and between lists."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from datapack.inspect.findings import Rule, some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from datapack.inspect.findings import Finding
    from datapack.inspect.model import Survey

Meaning = TypeVar("Meaning", int, str)

UNUSED = Rule(
    "DP320",
    "note",
    "categories without boxes",
    "A detector can't learn them, and they have no scores. Roboflow writes its project's name as such a category.",
    "Remove them from the COCO file, or keep them if other COCO files use them.",
)
SAME_NAME = Rule(
    "DP321",
    "warning",
    "categories with the same name",
    "Objects of one category have two ids, and a detector is wrong whichever it chooses.",
    "Merge the categories. Names that differ only in case or spaces count as the same.",
)
OTHER_MEANING = Rule(
    "DP404",
    "error",
    "categories whose id differs between COCO files",
    "A detector that was trained with one file gets wrong names and scores with the other.",
    "Use the same id for the same name in all COCO files.",
)
ELSEWHERE = Rule(
    "DP405",
    "note",
    "categories that only some COCO files have",
    "What is not in the training file can't be detected. What is not in the evaluation file isn't scored.",
    "Use the same categories in all COCO files, even those without boxes.",
)
_NAMED = 3  # lists in a line


def check_categories(survey: Survey) -> Iterator[Finding]:
    """Check the categories of each list."""
    unused: list[str] = []
    same: list[str] = []
    for coco in survey.cocos:
        if len(coco.boxes):
            used = set(np.unique(coco.labels).tolist())
            unused += [f"{coco.path}: {one.name}" for place, one in enumerate(coco.categories) if place not in used]
        names = defaultdict(list)
        for category in coco.categories:
            names[" ".join(category.name.split()).casefold()].append(category)
        groups = (group for group in names.values() if len(group) > 1)
        same += [f"{coco.path}: " + " and ".join(f"{one.name!r} (id {one.id})" for one in group) for group in groups]
    yield from some(UNUSED, unused)
    yield from some(SAME_NAME, same)


def check_meanings(survey: Survey) -> Iterator[Finding]:
    """Compare the categories of lists with each other."""
    lists = [coco for coco in survey.cocos if coco.categories]
    names: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    ids: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for coco in lists:
        for category in dict.fromkeys(coco.categories):
            names[category.id][category.name].append(coco.path)
            ids[category.name][category.id].append(coco.path)
    of_ids = [f"id {one} is {_where(names[one], repr)}" for one in sorted(names) if _differ(names[one])]
    of_names = [
        f"{one!r} has {_where(ids[one], 'id {}'.format)}"
        for one in sorted(ids)
        if _differ(ids[one]) and not any(_differ(names[id_]) for id_ in ids[one])
    ]
    yield from some(OTHER_MEANING, of_ids + of_names)
    elsewhere = []
    for name in sorted(ids):
        paths = {path for each in ids[name].values() for path in each}
        without = [coco.path for coco in lists if coco.path not in paths]
        if without:
            elsewhere.append(f"{name!r} is in {_paths(sorted(paths))}, not in {_paths(without)}")
    yield from some(ELSEWHERE, elsewhere)


def _differ(meanings: Mapping[Meaning, Sequence[str]]) -> bool:
    """Whether two lists have no meaning in common; a list that uses a name or an id twice means each of them."""
    of: dict[str, set[Meaning]] = defaultdict(set)
    for meaning, paths in meanings.items():
        for path in paths:
            of[path].add(meaning)
    kinds = {frozenset(each) for each in of.values()}
    return any(one.isdisjoint(other) for one, other in combinations(kinds, 2))


def _where(meanings: Mapping[Meaning, Sequence[str]], show: Callable[[Meaning], str]) -> str:
    return ", ".join(f"{show(meaning)} in {_paths(paths)}" for meaning, paths in meanings.items())


def _paths(paths: Sequence[str]) -> str:
    """Name the first lists of several."""
    named = paths if len(paths) <= _NAMED else [*paths[: _NAMED - 1], f"{len(paths) - _NAMED + 1:,} more"]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


RULES = (UNUSED, SAME_NAME, OTHER_MEANING, ELSEWHERE)
CHECKS = (check_categories, check_meanings)
