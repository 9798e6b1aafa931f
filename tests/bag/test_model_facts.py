"""``model.json``: what is written is read back, and anything else is one error."""

import json

import pytest

from datapack.bag.model_facts import ModelFacts, TrainedOn
from datapack.errors import BagError

FACTS = ModelFacts(
    architecture="fasterrcnn_resnet50_fpn_v2",
    weights="model.safetensors",
    categories=((1, "crab"), (7, "Qualle \u2603")),
    min_size=128,
    max_size=160,
    trained_on=TrainedOn("reef@v1", "sha256:" + "0" * 64),
    metrics={"mAP": 0.458},
    licence="CC0-1.0",
    card="README.md",
)


@pytest.mark.parametrize("facts", [FACTS, ModelFacts("resnet50", "weights.pth")])
def test_what_is_written_is_read_back(facts):
    """Every field comes back, and the bytes depend on the facts alone."""
    assert ModelFacts.parse(facts.to_json(), "model.json") == facts
    assert facts.to_json() == ModelFacts.parse(facts.to_json(), "model.json").to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"form": 2},
        {"architecture": 3},
        {"weights": ""},
        {"categories": [[1]]},
        {"categories": [["1", "crab"]]},
        {"min_size": "800"},
        {"metrics": {"mAP": "good"}},
        {"trained_on": {"dataset": "reef@v1"}},
        {"trained_on": {"reference": "reef@v1"}},
        {"trained_on": {"reference": "reef@v1", "digest": "sha256:0", "text": "COCO"}},
        {"trained_on": {"text": 7}},
        {"weights": "../weights.pt"},
        {"card": "/etc/passwd"},
        {"extra": 1},
    ],
)
def test_anything_else_is_an_error(change):
    """A file of another form is refused in one line that names it."""
    content = json.dumps({**json.loads(FACTS.to_json()), **change}).encode()
    with pytest.raises(BagError, match=r"^bag/model.json: not a model.json"):
        ModelFacts.parse(content, "bag/model.json")


@pytest.mark.parametrize("content", [b"[]", b"null", b"{}", b"{", b"\xff"])
def test_no_such_object(content):
    """What isn't an object of that form is the same kind of error."""
    with pytest.raises(BagError, match=r"^bag/model.json"):
        ModelFacts.parse(content, "bag/model.json")
