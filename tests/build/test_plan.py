"""The plan: every file once, the parent's layers that are still whole, and no withdrawn file."""

import hashlib
import os
from contextlib import contextmanager
from itertools import pairwise
from pathlib import PurePosixPath
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.bag.bagit import PayloadFile
from datapack.build import plan as planning
from datapack.build.plan import MAX_DATA_LAYERS, NEW_LAYERS, Group, check_one_image, images, plan
from datapack.errors import ImageError

# Files at the top level, whose names sort before, between and after those of the folders, and files inside folders.
FOLDERS = ("", "", "0/", "b/", "b/c/", "p/", "ü/")
NAMES = [f"data/{FOLDERS[n % 7]}{letter}{n:03}" for n in range(60) for letter in ("a", "ö", "\U0001f41f")]

sizes = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3000), min_size=1)
# What a version does with each of its parent's files, and what it adds.
fates = st.lists(st.sampled_from(["same", "same", "same", "same", "changed", "withdrawn"]), min_size=180, max_size=180)


def file(path: str, size: int, content: object = "") -> PayloadFile:
    return PayloadFile(path, size, hashlib.sha256(f"{path} {size} {content}".encode()).hexdigest())


def lines(groups: list[Group]) -> list[list[tuple[str, str]]]:
    """Return the groups in the form in which `plan` takes a parent's layers."""
    return [[(file.path, file.sha256) for file in group] for group in groups]


def flat(groups: list[Group]) -> list[PayloadFile]:
    return [file for group in groups for file in group]


def is_beside(file: PayloadFile) -> bool:
    """Whether a file is at the payload's top level."""
    return PurePosixPath(file.path).parent == PurePosixPath("data")


def in_order(files) -> list[PayloadFile]:
    """Files in the order of new layers: those inside folders, then those at the top level, each sorted by bytes."""
    return sorted(files, key=lambda file: (is_beside(file), os.fsencode(file.path)))


def mixed(groups: list[Group]) -> list[Group]:
    """Layers with files of both kinds."""
    return [group for group in groups if len({is_beside(file) for file in group}) > 1]


def total(files) -> int:
    return sum(file.size for file in files)


@contextmanager
def limits(layer: int = 1000, largest: int = 10**10):
    """Make layers small, so that a few files need many."""
    with mock.patch.multiple(planning, LAYER_BYTES=layer, LAYER_LIMIT=largest):
        yield


@st.composite
def versions(draw):
    """A version's layers, and the files of the next version."""
    before = [file(path, size) for path, size in draw(sizes).items()]
    kept = [
        file(one.path, one.size, "changed" if fate == "changed" else "")
        for one, fate in zip(before, draw(fates), strict=False)
        if fate != "withdrawn"
    ]
    added = [file(f"{path}.new", size) for path, size in draw(sizes).items()]
    with limits():
        return plan(before), kept + added


@given(sizes, st.randoms())
@settings(deadline=None)
def test_without_a_parent(sizes, random):
    """Every file is in exactly one layer, in order; no layer is too large; the order of the input does not matter.

    No layer has both files inside folders and files beside them.
    """
    files = [file(path, size) for path, size in sizes.items()]
    with limits():
        groups = plan(files)
        assert plan(random.sample(files, len(files))) == groups
    assert flat(groups) == in_order(files)
    assert not mixed(groups)
    assert len(groups) <= NEW_LAYERS
    if total(files) <= NEW_LAYERS * 1000 // 4:
        assert all(total(group) <= 1000 or len(group) == 1 for group in groups)


@given(versions(), st.randoms())
@settings(deadline=None)
def test_with_a_parent(versions, random):
    """A parent's layer is kept in its place exactly if all its files are unchanged; every file is in one layer.

    After the kept layers come new ones with files inside folders, then those with files beside them.
    """
    parent, files = versions
    with limits():
        groups = plan(files, lines(parent))
        assert plan(random.sample(files, len(files)), lines(parent)) == groups
    whole = [group for group in parent if set(group) <= set(files)]
    assert groups[: len(whole)] == whole
    assert not [group for group in groups[len(whole) :] if group in parent]
    assert sorted(flat(groups)) == sorted(files)
    assert flat(groups[len(whole) :]) == in_order(flat(groups[len(whole) :]))
    assert not mixed(groups[len(whole) :])


@given(versions())
@settings(deadline=None)
def test_what_a_new_version_costs(versions):
    """New layers hold only new and changed files, and the rest of each layer that lost a file."""
    parent, files = versions
    with limits():
        groups = plan(files, lines(parent))
    new = [group for group in groups if group not in parent]
    broken = [group for group in parent if not set(group) <= set(files)]
    assert total(flat(new)) <= total(set(files) - set(flat(parent))) + total(flat(broken))


@given(sizes)
@settings(deadline=None)
def test_a_version_that_is_its_parent_keeps_everything(sizes):
    """A version planned with itself as the parent has the same layers."""
    files = [file(path, size) for path, size in sizes.items()]
    with limits():
        assert plan(files, lines(plan(files))) == plan(files)


@pytest.mark.parametrize("seed", range(3))
def test_a_chain_of_versions(seed):
    """In a chain of 300 random versions, each is complete and has at most 100 layers."""
    random = Random(seed)
    files = {path: file(path, random.randrange(2000)) for path in NAMES}
    groups: list[Group] = []
    kept, layers = [], []
    with limits():
        for number in range(300):
            former, groups = groups, plan(files.values(), lines(groups))
            kept.append(len([group for group in groups if group in former]))
            layers.append(len(groups))
            assert sorted(flat(groups)) == sorted(files.values())
            assert not mixed(groups)
            assert len(groups) <= MAX_DATA_LAYERS
            for path in random.sample(sorted(files), random.randrange(3)):
                del files[path]
            for _ in range(random.randrange(1, 4)):
                path = f"data/{random.choice(FOLDERS)}{random.randrange(500)}"
                files[path] = file(path, random.randrange(2000), number)
    assert sum(kept) > 200 * 20  # most versions keep most of their parent's layers
    assert any(after < before - 20 for before, after in pairwise(layers))  # and sometimes everything is packed again


def test_new_labels_are_a_small_push():
    """If only files at the top level change or are added, every layer with files inside folders is kept."""
    images = [file(f"data/images/{n:03}.png", 100) for n in range(95)]
    labels = [file("data/eval.json", 20), file("data/train.json", 30)]
    with limits():
        first = plan([*images, *labels])
        corrected = plan([*images, labels[0], file("data/train.json", 31, "corrected")], lines(first))
        more = plan([*images, *labels, file("data/test.json", 40)], lines(first))
    assert (len(first), first[-1]) == (11, labels)
    assert corrected == [*first[:-1], [labels[0], file("data/train.json", 31, "corrected")]]
    assert more == [*first, [file("data/test.json", 40)]]


def test_new_images_leave_the_labels_alone():
    """A layer with files of the top level is kept while folders change, and is below the new layers."""
    images, label = [file(f"data/images/{n:03}.png", 100) for n in range(15)], file("data/train.json", 30)
    with limits():
        first = plan([*images, label])
        second = plan([*images[:-1], label], lines(first))
    assert first == [images[:10], images[10:], [label]]
    assert second == [images[:10], [label], images[10:-1]]


def test_a_layer_of_the_parent_with_both_kinds_is_kept():
    """Layers of a parent that was packed differently are kept too, if they are whole."""
    both, label = [file("data/images/a", 10), file("data/train.json", 10)], file("data/eval.json", 10)
    assert plan([*both, label], lines([both])) == [both, [label]]


@pytest.mark.parametrize("inside", [0, 1, 2425, 2500, 4999, 5000])
def test_a_version_packed_from_scratch_leaves_room(inside):
    """Whatever a version's size and its share of files in folders, half of the layers are left for later versions."""
    with limits(layer=10):
        groups = plan(file(f"data/{'images/' if n < inside else ''}{n:05}", 1) for n in range(5000))
        assert NEW_LAYERS - 2 < len(groups) <= NEW_LAYERS
        more = plan([*flat(groups), file("data/more", 1)], lines(groups))
    assert more[:-1] == groups
    assert more[-1] == [file("data/more", 1)]


def test_files_of_any_size_leave_room():
    """With files of different sizes too, a version has nearly as many layers as it may have, and never more."""
    for inside in range(0, 5001, 500):
        with limits():
            groups = plan(file(f"data/{'images/' if n < inside else ''}{n:05}", 700 + n % 400) for n in range(5000))
        assert NEW_LAYERS - 2 < len(groups) <= NEW_LAYERS


def test_everything_is_packed_again_if_one_image_is_not_enough():
    """If kept and new layers together exceed 100, the layers are those of a version without a parent."""
    parent = [[file(f"data/{n:03}", 10)] for n in range(100)]
    more = [*flat(parent), file("data/more", 10)]
    with limits():
        assert plan(more[:-1], lines(parent)) == parent
        assert plan(more, lines(parent)) == plan(more)
        assert len(plan(more)) == 2


def test_no_layer_is_larger_than_a_registry_accepts():
    """Headers and padding count too, so ten million empty files are not one layer."""
    with limits(layer=512 << 20, largest=100 * 5000):
        groups = plan(file(f"data/{n:05}", 0) for n in range(1000))
        assert max(map(len, groups)) == 122  # of 4096 bytes each
        assert [len(image) for image in images(groups)] == [9]


def test_images_hold_a_hundred_layers_each():
    """A version with more than 100 layers needs several images; no layer is lost and the order is kept."""
    groups = [[file(f"data/{n:03}", 1)] for n in range(250)]
    spread = images(groups)
    assert [len(image) for image in spread] == [100, 100, 50]
    assert [group for image in spread for group in image] == groups


def test_more_images_than_one_keep_layers_too():
    """A version that needs several images keeps its parent's layers if that does not need more images."""
    with limits(layer=10, largest=5000 + 4096):
        parent = plan(file(f"data/{n:04}", 5000) for n in range(250))
        assert len(parent) == 250
        assert plan([*flat(parent), file("data/more", 1)], lines(parent))[:250] == parent


def test_what_one_image_cannot_carry():
    """The error says how many images the version would need, or which file is too large for a layer."""
    needs = r"^x@v1: the version needs 3 images: expected .* 100 layers of 10 GB in one image, found 250 layers; split"
    with pytest.raises(ImageError, match=needs):
        check_one_image([[file(f"data/{n:03}", 1)] for n in range(250)], "x@v1")
    with pytest.raises(ImageError, match=r"^x@v1: data/b is too large for a layer: expected .*, found 11 GB"):
        check_one_image([[file("data/a", 1)], [file("data/b", 11 * 10**9)]], "x@v1")
    check_one_image([[file("data/a", 1)]], "x@v1")
