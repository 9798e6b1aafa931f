"""`datapack convert` gives safetensors with the same numbers, and never runs what is in a file."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from datapack.errors import WeightsError
from datapack.hashing import hash_bytes
from datapack.weights.convert import convert
from datapack.weights.read import read_weights
from tests.weights.pickles import Call, Name, module, state_dict, tensor, torch_zip, zip_file

ONE = np.arange(6, dtype=np.float32).reshape(2, 3)


def write(folder, value, arrays, name="m.pth"):
    path = folder / name
    path.write_bytes(torch_zip(value, arrays))
    return path


def test_a_state_dictionary(tmp_path):
    """Every number is there, and the metadata says from which file it is."""
    value, arrays = state_dict()
    source = write(tmp_path, {**value, "epoch": 1}, arrays)
    done = convert(source, tmp_path / "m.safetensors")
    found = load_file(tmp_path / "m.safetensors")
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        "layer.weight": (np.dtype("float32"), arrays["0"].tolist()),
        "layer.bias": (np.dtype("float64"), arrays["1"].tolist()),
    }
    with safe_open(tmp_path / "m.safetensors", "numpy") as opened:
        about = json.loads(opened.metadata()["converted"])
    digest = hash_bytes(source.read_bytes())
    assert about["source"] == {"name": "m.pth", "sha256": digest}
    assert (about["left_out"], done.left_out) == (["epoch"], ("epoch",))
    assert done.source_digest == f"sha256:{digest}"
    assert done.digest == f"sha256:{hash_bytes((tmp_path / 'm.safetensors').read_bytes())}"
    assert (done.tensors, done.bytes) == (2, (tmp_path / "m.safetensors").stat().st_size)


def test_the_same_bytes(tmp_path):
    """The same file gives the same bytes, on any machine."""
    value, arrays = state_dict()
    source = write(tmp_path, value, arrays)
    digests = {convert(source, tmp_path / f"{number}.safetensors").digest for number in range(3)}
    assert digests == {"sha256:33e312911a516818ad0fba4c19d21078a229ffae60ea8ec1b46e6160ec924533"}


def test_views(tmp_path):
    """Transposed, overlapping, repeated and shared numbers are written whole, in the order of their dimensions."""
    views = {
        "turned": {"shape": (3, 2), "strides": (1, 3)},
        "diagonal": {"shape": (2,), "strides": (4,)},
        "repeated": {"shape": (4, 3), "strides": (0, 1), "offset": 3},
        "windows": {"shape": (4, 3), "strides": (1, 1)},
        "one": {"shape": (), "strides": (), "offset": 5},
        "column": {"shape": (1, 2, 1, 1), "strides": (9, 3, 7, 0), "offset": 2},
        "none": {"shape": (0, 3), "strides": (3, 1)},
        "same": {},
    }
    value = {name: tensor("0", ONE, **changes) for name, changes in views.items()}
    convert(write(tmp_path, value, {"0": ONE}), tmp_path / "m.safetensors")
    found = {name: array.tolist() for name, array in load_file(tmp_path / "m.safetensors").items()}
    assert found == {
        "turned": ONE.T.tolist(),
        "diagonal": [0, 4],
        "repeated": [[3, 4, 5]] * 4,
        "windows": [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]],
        "one": 5,
        "column": [[[[2]], [[5]]]],
        "none": [],
        "same": ONE.tolist(),
    }


def test_large_tensors_are_written_in_parts(tmp_path):
    """A transposed tensor of 25 MB is the same as NumPy's."""
    large = np.arange(2500 * 2500, dtype=np.float32).reshape(2500, 2500)
    value = {"t": tensor("0", large, strides=(1, 2500)), "w": tensor("0", large)}
    convert(write(tmp_path, value, {"0": large}), tmp_path / "m.safetensors")
    found = load_file(tmp_path / "m.safetensors")
    assert np.array_equal(found["t"], large.T)
    assert np.array_equal(found["w"], large)


def test_one_key_of_a_checkpoint(tmp_path):
    """Only its tensors are written, and their names begin after it."""
    value = {"model": {"w": tensor("0", ONE)}, "ema": {"w": tensor("1", ONE * 2)}}
    source = write(tmp_path, value, {"0": ONE, "1": ONE * 2})
    convert(source, tmp_path / "m.safetensors", key="ema")
    assert {name: array.tolist() for name, array in load_file(tmp_path / "m.safetensors").items()} == {
        "w": (ONE * 2).tolist()
    }
    with pytest.raises(WeightsError, match="no tensors below the key 'em': expected one of its keys, found ema, model"):
        convert(source, tmp_path / "x.safetensors", key="em")


def test_a_module(tmp_path):
    """Its tensors are read from an object that was never made; the class is named."""
    value = {"model": module("models.yolo.Model", {"w": tensor("0", ONE)})}
    done = convert(write(tmp_path, value, {"0": ONE}), tmp_path / "m.safetensors")
    assert done.classes == ("models.yolo.Model",)
    assert load_file(tmp_path / "m.safetensors")["model.w"].tolist() == ONE.tolist()


def refuse(folder, content, key=""):
    """Return the error of a conversion; nothing is left of it."""
    (folder / "m.pth").write_bytes(content)
    with pytest.raises(WeightsError) as error:
        convert(folder / "m.pth", folder / "m.safetensors", key=key)
    assert [path.name for path in folder.iterdir()] == ["m.pth"]
    return error.value


def test_a_pickle_that_would_run_code(tmp_path):
    """It is refused with what it would call, and is not run."""
    marker = tmp_path.parent / f"{tmp_path.name}-marker"
    evil = Call(Name("os", "system"), (f"touch {marker}",))
    error = refuse(tmp_path, torch_zip({"w": tensor("0", ONE), "x": evil}, {"0": ONE}))
    assert "loading this pickle would run code: it is not converted, and nothing was run: found 1 call" in str(error)
    assert error.details == (f"os.system('touch {marker}')",)
    assert not marker.exists()


def test_what_can_not_be_converted(tmp_path):
    """One line says why."""
    sparse = Call(Name("torch._utils", "_rebuild_sparse_tensor"), ())
    double = np.zeros(2, np.float64)
    wide = tensor("0", double, kind="ComplexDoubleStorage", count=1, shape=(1,), strides=(1,))
    assert refuse(tmp_path, torch_zip({"s": sparse, "w": tensor("0", ONE)}, {"0": ONE})).details == ("s: sparse",)
    assert refuse(tmp_path, torch_zip({"c": wide}, {"0": double})).details == ("c: of the type C128",)
    assert "no tensors in it" in str(refuse(tmp_path, torch_zip({"a": 1}, {})))
    assert "not a PyTorch file" in str(refuse(tmp_path, b"<html>"))
    assert "0 files data.pkl" in str(refuse(tmp_path, zip_file({"x": b""})))
    huge = {str(number): tensor("0", ONE, shape=(1000, 1000, 2, 3), strides=(0, 0, 3, 1)) for number in range(9)}
    assert "would be huge" in str(refuse(tmp_path, torch_zip(huge, {"0": ONE})))
    with pytest.raises(WeightsError, match="can't read the file"):
        convert(tmp_path / "none.pth", tmp_path / "x.safetensors")


def test_damaged_numbers(tmp_path):
    """A storage whose checksum differs is refused, although all names and shapes are right."""
    value, arrays = state_dict()
    content = bytearray(torch_zip(value, arrays))
    content[content.index(arrays["0"].tobytes()) + 20] ^= 1
    assert "the numbers of layer.weight are damaged: their CRC-32 differs" in str(refuse(tmp_path, bytes(content)))
    assert read_weights(tmp_path / "m.pth").tensors


def test_an_existing_file_is_not_replaced(tmp_path):
    """Unless it is the same already."""
    value, arrays = state_dict()
    source, target = write(tmp_path, value, arrays), tmp_path / "m.safetensors"
    assert convert(source, target).digest == convert(source, target).digest
    target.write_bytes(b"mine")
    with pytest.raises(WeightsError, match=r"m\.safetensors: already exists, with other content; remove it"):
        convert(source, target)
    assert target.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth", "m.safetensors"]


def test_the_command(catalog):
    """It prints both digests, what was left out and which objects were not made."""
    value = {"model": module("models.yolo.Model", {"w": tensor("0", ONE)}), "epoch": 1}
    source = write(catalog.root, value, {"0": ONE}, "last.pt")
    said = catalog.ok("convert", "last.pt")
    assert said.startswith("converted last.pt: 1 tensor, ")
    assert f"source sha256:{hash_bytes(source.read_bytes())}" in said
    assert f"result sha256:{hash_bytes((catalog.root / 'last.safetensors').read_bytes())}" in said
    assert "  models.yolo.Model\n" in said
    assert said.endswith("  epoch\n")
    assert json.loads(catalog.ok("convert", "last.pt", "--json"))["left_out"] == ["epoch"]
    assert "a name that ends in .safetensors" in catalog.fails("convert", "last.pt", "x.pt", status=2)
    assert "no such folder" in catalog.fails("convert", "last.pt", "x/y.safetensors", status=2)
    (catalog.root / "evil.pt").write_bytes(torch_zip(Call(Name("os", "system"), ("ls",)), {}))
    assert catalog.fails("convert", "evil.pt").endswith("  os.system('ls')\n")
