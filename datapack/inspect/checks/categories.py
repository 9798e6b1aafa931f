"""Checks of the categories of COCO files, within one list and between lists."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from datapack.inspect.findings import Rule, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.inspect.findings import Finding
    from datapack.inspect.model import Coco, Survey

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
_MOST_LISTS = 50  # that are compared with each other


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
    lists = [coco for coco in survey.cocos if coco.categories][:_MOST_LISTS]
    conflicts: dict[str, None] = {}
    elsewhere: dict[tuple[str, str], str] = {}
    for one, other in combinations(lists, 2):
        for line in _conflicts(one, other):
            conflicts[line] = None
        for here, there in ((one, other), (other, one)):
            names = {category.name for category in there.categories}
            for category in here.categories:
                if category.name not in names:
                    line = f"{here.path} has {category.name!r}, {there.path} does not"
                    elsewhere.setdefault((here.path, category.name), line)
    yield from some(OTHER_MEANING, conflicts)
    yield from some(ELSEWHERE, elsewhere.values())


def _conflicts(one: Coco, other: Coco) -> Iterator[str]:
    """Compare two lists; a list that uses a name or an id twice means each of them."""
    names: dict[int, list[str]] = defaultdict(list)
    ids: dict[str, list[int]] = defaultdict(list)
    for category in other.categories:
        names[category.id].append(category.name)
        ids[category.name].append(category.id)
    for category in one.categories:
        there = names.get(category.id, [category.name])
        if category.name not in there:
            yield f"id {category.id} is {category.name!r} in {one.path}, {there[0]!r} in {other.path}"
        elif category.id not in ids.get(category.name, [category.id]):
            yield f"{category.name!r} has id {category.id} in {one.path}, {ids[category.name][0]} in {other.path}"


RULES = (UNUSED, SAME_NAME, OTHER_MEANING, ELSEWHERE)
CHECKS = (check_categories, check_meanings)
