"""`convert` of a model: its pickle becomes safetensors at the fetch, with a record of both digests."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from datapack.bag.model_facts import ModelFacts
from datapack.catalog.model_section import ModelSection
from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError
from datapack.fetch.models.write import ModelFiles
from datapack.hashing import hash_file
from tests.weights.pickles import Call, Name, module, tensor, torch_zip
from tests.workplace import Workplace

ONE, TWO = np.arange(6, dtype=np.float32), np.arange(2, dtype=np.float32)
# A checkpoint as YOLOv5 saves one: objects of classes that only its own code has.
YOLO = {
    "epoch": -1,
    "model": module("models.yolo.DetectionModel", {"weight": tensor("0", ONE)}),
    "ema": module("models.yolo.DetectionModel", {"weight": tensor("1", TWO)}),
}


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    place.write("net/yolo.pt", torch_zip(YOLO, {"0": ONE, "1": TWO}))
    return place


def fetch(place: Workplace, **section) -> ModelFacts:
    said = ModelSection.model_validate({"architecture": "yolov5", **section})
    place.fetch(LocalSource(local="net"), model=ModelFiles(said, "CC-BY-4.0", "net@v1"))
    return ModelFacts.parse((place.bag / "data/model.json").read_bytes(), "model.json")


def refusal(place: Workplace, **section) -> str:
    with pytest.raises(FetchError) as error:
        fetch(place, **section)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_it_the_model_is_refused(place):
    """The pickle makes objects of classes that are not here: that needs code."""
    assert "net@v1: yolo.pt: loading this pickle would run code" in refusal(place)
    assert "models.yolo.DetectionModel" in refusal(place)


def test_the_pickle_leaves_the_payload(place):
    """Its tensors are there as safetensors; the record has both digests, and what was not a tensor."""
    source = hash_file(place.root / "catalog/net/yolo.pt")
    assert fetch(place, convert=True).weights == "yolo.safetensors"
    payload = place.bag / "data"
    assert sorted(path.name for path in payload.iterdir()) == ["conversion.json", "model.json", "yolo.safetensors"]
    found = load_file(payload / "yolo.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == {
        "model.weight": ONE.tolist(),
        "ema.weight": TWO.tolist(),
    }
    assert json.loads((payload / "conversion.json").read_bytes()) == {
        "form": 1,
        "source": {"path": "yolo.pt", "digest": f"sha256:{source}", "format": "PyTorch"},
        "result": {
            "path": "yolo.safetensors",
            "digest": f"sha256:{hash_file(payload / 'yolo.safetensors')}",
            "tensors": 2,
        },
        "key": None,
        "classes": ["models.yolo.DetectionModel"],
        "left_out": ["epoch"],
    }


def test_one_key_of_a_checkpoint(place):
    """Only its tensors are kept; another key replaces what an earlier fetch made."""
    fetch(place, convert=True)
    fetch(place, convert="ema")
    found = load_file(place.bag / "data/yolo.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == {"weight": TWO.tolist()}
    assert json.loads((place.bag / "data/conversion.json").read_bytes())["key"] == "ema"
    assert "yolo.pt: the weights can't be converted: expected one of its keys" in refusal(place, convert="best")


def test_the_same_file_gives_the_same_digest(place, tmp_path):
    """On any machine, and however often."""
    fetch(place, convert=True)
    first = place.hashes()
    other = tmp_path / "other"
    other.mkdir()
    again = Workplace(other)
    again.write("net/yolo.pt", (place.root / "catalog/net/yolo.pt").read_bytes())
    fetch(again, convert=True)
    assert again.hashes() == first
    fetch(again, convert=True)
    assert again.hashes() == first


def test_a_pickle_that_calls_a_function_is_not_converted(place):
    """Classes without their code are harmless, a call is a reason to look."""
    evil = Call(Name("os", "mkdir"), ("/tmp/datapack-was-here",))
    place.write("net/yolo.pt", torch_zip({**YOLO, "hook": evil}, {"0": ONE, "1": TWO}))
    found = refusal(place, convert=True)
    assert "net@v1: yolo.pt: the weights can't be converted: found loading this pickle would run code" in found
    assert not (place.bag / "data/model.json").exists()


@pytest.mark.parametrize("name", ["yolo.safetensors", "conversion.json"])
def test_a_source_s_own_file_is_not_replaced(place, name):
    """The result needs the name."""
    place.write(f"net/{name}", b"theirs")
    assert f"two files would be {name}" in refusal(place, convert=True, weights="yolo.pt")


def test_only_a_pickle_can_be_converted(place):
    """safetensors stay as they are."""
    (place.root / "catalog/net/yolo.pt").unlink()
    place.write("net/net.safetensors", b"x")
    assert "net.safetensors: the weights are not a pickle that could be converted" in refusal(place, convert=True)
