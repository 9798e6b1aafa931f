"""A version of `kind: model`: `model.json` in its payload, and pickles that would run code."""

import json
import os
import pickle
import zlib

import numpy as np
import pytest
from safetensors.numpy import save

from datapack.bag.model_facts import ModelFacts
from datapack.catalog.model_section import ModelSection
from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError
from datapack.fetch.models.write import ModelFiles
from tests.weights.pickles import torch_zip, zip_file
from tests.workplace import Workplace

NET = save({"head.weight": np.ones((2, 3), np.float32)})
COCO = b'{"images": [], "categories": [{"id": 7, "name": "crab"}, {"id": 2.0, "name": "fish"}]}'


class Evil:
    """A value whose pickle calls a function when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("/tmp/datapack-was-here",)


EVIL = pickle.dumps({"head.weight": Evil()}, protocol=2)


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    place.write("net/net.safetensors", NET)
    return place


def fetch(place: Workplace, *sources: LocalSource, **section) -> ModelFacts:
    """Fetch a model; return what its `model.json` says."""
    place.fetch(*(sources or (LocalSource(local="net"),)), model=files(**section))
    return ModelFacts.parse((place.bag / "data/model.json").read_bytes(), "model.json")


def files(**section) -> ModelFiles:
    said = ModelSection.model_validate({"architecture": "fcos_resnet50_fpn", **section})
    return ModelFiles(said, "MIT", "net@v1")


def refusal(place: Workplace, *sources: LocalSource, **section) -> str:
    with pytest.raises(FetchError) as error:
        fetch(place, *sources, **section)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_only_weights_need_no_name(place):
    """A card, a list and the weights: the weights are found by their names; the licence is the dataset's."""
    place.write("net/README.md", b"A card.")
    place.write("net/train.json", COCO)
    assert fetch(place, categories="train.json", card="README.md") == ModelFacts(
        architecture="fcos_resnet50_fpn",
        weights="net.safetensors",
        categories=((2, "fish"), (7, "crab")),
        licence="MIT",
        card="README.md",
    )


def test_the_same_facts_are_written_once(place):
    """A second fetch changes no byte, and does not write the file again; other facts replace it."""
    fetch(place, metrics={"mAP": 0.3})
    path = place.bag / "data/model.json"
    before = path.stat()
    fetch(place, metrics={"mAP": 0.3})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert fetch(place, metrics={"mAP": 0.4}).metrics == {"mAP": 0.4}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"weights": "other.pt"}, "net@v1: weights: other.pt: no such file in the payload; name a file that one of"),
        (
            {"card": "README.md"},
            "net@v1: card: README.md: no such file in the payload; add it to the sources: '- local: REA",
        ),
        ({"categories": "train.json"}, "net@v1: categories: train.json: no such file in the payload; add it"),
        ({"categories": "net.safetensors"}, "not a JSON file"),
    ],
)
def test_a_file_that_is_not_there_is_named(place, section, says):
    """The section may name only files that its sources brought."""
    assert says in refusal(place, **section)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{}", "no usable list of categories: expected a list 'categories' of rows with a whole number 'id' and"),
        (b'{"categories": [{"id": 1}]}', "a category that can't be used: expected a list"),
        (b'{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "found {'id': 1, 'name': 'b'}"),
        (b'{"categories": [{"id": 1.5, "name": "a"}]}', "found {'id': 1.5, 'name': 'a'}"),
        (b'{"categories": [{"id": 1e999, "name": "a"}]}', "a category that can't be used"),
        (b'{"categories": [7]}', "found 7"),
        (b"[]", "not a COCO file"),
    ],
)
def test_categories_that_can_t_be_used_are_refused(place, content, says):
    """A list of another form would give a detector wrong names."""
    place.write("net/train.json", content)
    assert says in refusal(place, categories="train.json")


def test_unclear_weights_are_refused(place):
    """Two files, or none, could be meant: the section must name one."""
    place.write("net/other.onnx", b"x")
    place.write("no/README.md", b"x")
    assert "several files could be the weights: expected one file that ends in .bin" in refusal(place)
    assert "found net.safetensors, other.onnx; name the file with 'weights'" in refusal(place)
    assert "no file in the payload has the name of a weights file" in refusal(place, LocalSource(local="no"))
    assert fetch(place, weights="net.safetensors").weights == "net.safetensors"


@pytest.mark.parametrize("name", ["model.json", "Model.json", "pickle-scan.txt"])
def test_a_source_s_own_file_is_never_replaced(place, name):
    """The name is claimed before any source: the source is refused, and its file stays as it is."""
    place.write(f"net/{name}", b"theirs")
    found = refusal(place, allow_pickle="no choice")
    assert "net" in found
    assert "datapack, which writes" in found or "the same name on macOS" in found
    excluded = LocalSource(local="net", exclude=(name,))
    assert fetch(place, excluded).weights == "net.safetensors"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.pt", EVIL),
        ("optimizer.pkl", EVIL),
        ("net.bin", pickle.dumps(Evil(), protocol=0)),  # nothing at its beginning says that it is a pickle
        ("innocent", pickle.dumps(Evil(), protocol=1)),
        ("innocent.txt", EVIL),  # Python's pickle doesn't look at names
    ],
)
def test_a_pickle_that_would_run_code_is_refused(place, name, content):
    """Anywhere in the payload, whatever it is called."""
    place.write(f"net/{name}", content)
    found = refusal(place, weights="net.safetensors")
    assert f"net@v1: {name}: loading this pickle would run code: found " in found
    assert "posix.mkdir('/tmp/datapack-was-here')" in found
    assert "'convert: true' or 'allow_pickle: <reason>'" in found
    assert not (place.bag / "data/model.json").exists()
    assert not os.path.lexists("/tmp/datapack-was-here")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.pt", b"\x80\x02X"),
        ("old.pth", pickle.dumps({"w": 1}, protocol=0)),  # it says nowhere that it is a pickle
        ("packed.joblib", zlib.compress(EVIL)),
        ("in.keras", zip_file({"archive/data.pkl": EVIL})),  # what reads it by that name opens no pickle
        ("cut.pth", torch_zip({}, {})[:-9]),
    ],
)
def test_what_nobody_can_tell_is_refused_too(place, name, content):
    """A file that datapack can't read may still be one that Python's pickle can."""
    place.write(f"net/{name}", content)
    found = refusal(place, weights="net.safetensors")
    assert f"net@v1: {name}: nobody can tell what loading this file would run: found unknown: " in found
    fetch(place, weights="net.safetensors", allow_pickle="known to its authors")
    scan = (place.bag / "data/pickle-scan.txt").read_text()
    assert "  would run  unknown: " in scan
    assert str(place.root) not in scan  # the same bytes on any machine


def test_a_pickle_that_is_allowed_comes_with_a_scan(place):
    """What it would run, by two readers, and the reason; the same files give the same bytes."""
    place.write("net/net.pt", EVIL)
    fetch(place, weights="net.safetensors", allow_pickle="the authors publish\nnothing else \u202e.")
    scan = place.bag / "data/pickle-scan.txt"
    lines = scan.read_text().splitlines()
    assert r"reason to pack them anyway: the authors publish\nnothing else \u202e." in lines
    assert "  would run  posix.mkdir('/tmp/datapack-was-here')" in lines
    assert "  picklescan dangerous: posix.mkdir" in lines or "  picklescan suspicious: posix.mkdir" in lines
    assert not os.path.lexists("/tmp/datapack-was-here")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_header_s_length_can_look_like_a_pickle(place, name):
    """safetensors begin with the length of the header; 128 + 2 * 256 reads as the beginning of a pickle."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).ljust(0x0280).encode()
    place.write(f"other/{name}", len(header).to_bytes(8, "little") + header + b"x")
    if name.endswith(".safetensors"):
        assert fetch(place, LocalSource(local="other")).weights == name
    else:  # by this name, PyTorch would unpickle it
        assert "net@v1: net.pt: nobody can tell what loading" in refusal(place, LocalSource(local="other"))


def test_safetensors_by_the_name_of_a_pickle_are_none(place):
    """What PyTorch can't load runs no code."""
    place.write("other/net.pt", NET)
    assert fetch(place, LocalSource(local="other")).weights == "net.pt"


def test_weights_that_run_no_code_need_no_reason(place):
    """Plain values are not code, whatever format they have; a reason for nothing leaves no file."""
    place.write("net/plain.pkl", pickle.dumps({"epoch": 3, "names": ["crab"]}))
    fetch(place, allow_pickle="no choice")
    assert not (place.bag / "data/pickle-scan.txt").exists()
