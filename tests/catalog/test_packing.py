"""The packing: it reads back what it wrote, and refuses what does not fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.bag.bagit import PayloadFile
from datapack.build.plan import plan
from datapack.catalog.packing import decode, encode
from datapack.errors import CatalogError

paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@st.composite
def groups(draw):
    """Layers with any files, each layer sorted and not empty."""
    numbers = draw(st.dictionaries(paths, st.integers(0, 5), min_size=1))
    found = [sorted(path for path in numbers if numbers[path] == number) for number in range(6)]
    return [[PayloadFile(path, len(path), "0" * 64) for path in group] for group in found if group]


def test_packing_format():
    """The format is part of the lock."""
    files = [PayloadFile(f"data/{letter}", 1, "") for letter in "abcdef"]
    a, b, c, d, e, f = files
    assert encode([[a, b, f], [d], [c, e]]) == "0*2 2*1 1*1 2*1 0*1"
    assert decode("0*2 2*1 1*1 2*1 0*1", files, "x") == [[a, b, f], [d], [c, e]]


def test_packing_of_a_plan():
    """Files at the top level are in the last layer, wherever the manifest lists them."""
    names = ("data/eval.json", "data/images/1.png", "data/images/2.png", "data/train.json")
    files = [PayloadFile(name, 1, "") for name in names]
    assert encode(plan(files)) == "1*1 0*2 1*1"
    assert decode("1*1 0*2 1*1", files, "x") == plan(files)


@given(groups())
def test_layers_survive_encoding_and_decoding(groups):
    """Any layers survive encoding and decoding, with the files in the manifest's order."""
    files = sorted((file for group in groups for file in group), key=lambda file: file.path.encode())
    assert decode(encode(groups), files, "x") == groups


@given(st.lists(st.integers(0, 3), min_size=1))
@settings(deadline=None)
def test_packing_survives_decoding_and_encoding(numbers):
    """A valid packing is the one that its layers encode to."""
    numbers = [sorted(set(numbers)).index(number) for number in numbers]
    files = [PayloadFile(f"data/{n:04}", 0, "") for n in range(len(numbers))]
    layers = decode(" ".join(f"{number}*1" for number in numbers), files, "x")
    assert [next(n for n, layer in enumerate(layers) if file in layer) for file in files] == numbers
    assert decode(encode(layers), files, "x") == layers


@pytest.mark.parametrize(
    ("packing", "says"),
    [
        ("", "expected LAYER*FILES LAYER*FILES ..., found ''"),
        ("0*3\n", "expected LAYER*FILES"),
        ("0*03", "expected LAYER*FILES"),
        ("0*3  1*1", "expected LAYER*FILES"),
        ("-1*3", "expected LAYER*FILES"),
        ("0*2", "expected 3 files, as in the manifest, found 2"),
        ("0*99999999999999", "expected 3 files, as in the manifest, found 99,999,999,999,999"),
        ("0*2 2*1", "expected layers from 0 to 1, found layer 2"),
        ("99999999999*3", "expected layers from 0 to 0, found layer 99999999999"),
    ],
)
def test_packing_that_does_not_fit_is_refused(packing, says):
    """The error is one line with the place, and no large object is made before it."""
    with pytest.raises(CatalogError) as error:
        decode(packing, ["a", "b", "c"], "reef@v2")
    assert str(error.value).startswith("reef@v2: the packing does not fit the files: ")
    assert says in str(error.value)
    assert "--update-lock" in str(error.value)
