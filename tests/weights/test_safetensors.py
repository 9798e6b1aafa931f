"""A safetensors file is read from its header alone; each fault of it is one clear line."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from datapack.errors import WeightsError
from datapack.weights.model import TensorInfo
from datapack.weights.read import read_weights
from tests.weights.pickles import safetensors

TWO = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def row(**changes):
    return {**TWO, **changes}


def test_what_the_library_writes(tmp_path):
    """Names, shapes, types and metadata are those that were saved."""
    arrays = {"b": np.zeros((2, 3), np.float32), "a": np.ones(4, np.int64), "none": np.zeros((0, 2), np.float16)}
    save_file(arrays, tmp_path / "m.safetensors", {"trainers": "{}"})
    found = read_weights(tmp_path / "m.safetensors")
    expected = {"a": ("I64", (4,)), "b": ("F32", (2, 3)), "none": ("F16", (0, 2))}
    assert found.tensors == {name: TensorInfo(*info) for name, info in expected.items()}
    assert (found.format, found.metadata, found.calls) == ("safetensors", {"trainers": "{}"}, ())


FAULTS = [
    (b"", "not a safetensors file: expected at least 8 bytes, found 0"),
    (b"<html>", "not a safetensors file: expected at least 8 bytes, found 6"),
    (b"<!DOCTYPE html>", "its header is longer than the file"),
    (safetensors(b"[1]"), "expected a header that begins with {"),
    (safetensors({"a": TWO}, length=1 << 32), "its header is longer than the file, which is cut off"),
    (safetensors({"a": TWO}, bytes(4)), "the file is cut off: its tensors need 4 bytes more"),
    (safetensors({"a": TWO}, bytes(12)), "4 bytes at its end belong to no tensor"),
    (safetensors({"a": TWO, "b": row(data_offsets=[4, 12])}, bytes(12)), "tensors a and b overlap"),
    (safetensors({"a": TWO, "b": TWO}, bytes(8)), "tensors a and b overlap"),
    (safetensors({"a": TWO, "b": row(data_offsets=[12, 20])}, bytes(20)), "4 bytes before tensor b belong to no"),
    (safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(TWO).encode(),) * 2), bytes(8)), "the key 'a' twice"),
    (safetensors({"a": row(dtype="F99")}, bytes(8)), "tensor a has an unknown type: 'F99'"),
    (safetensors({"a": row(dtype=1)}, bytes(8)), "tensor a has an unknown type: '1'"),
    (safetensors(b'{"\xff":1}'), "not valid JSON: expected UTF-8"),
    (safetensors({"a": row(shape=[3])}, bytes(8)), "tensor a has 8 bytes, and 3 of F32 need 12 bytes"),
    (safetensors({"a": row(shape=[1 << 62, 1 << 62])}, bytes(8)), "tensor a has 8 bytes, and"),
    (safetensors({"a": row(shape=[-2])}, bytes(8)), "tensor a has no shape"),
    (safetensors({"a": row(data_offsets=[8, 0])}, bytes(8)), "tensor a has -8 bytes"),
    (safetensors({"a": row(data_offsets=[0])}, bytes(8)), "tensor a has no place"),
    (safetensors({"a": [1]}, bytes(8)), "tensor a lacks its dtype"),
    (safetensors({"__metadata__": {"a": 1}, "a": TWO}, bytes(8)), "metadata with a value that is not text"),
    (safetensors(b'{"a":' * 100_000), "nested too deeply"),
    (safetensors(b"{" + b'"a":{},' * 300_000), "its header names too many tensors"),
]


@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_a_fault(tmp_path, content, message):
    """One line says what is wrong, and where."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_weights(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}:")


def test_a_header_of_4_gb(tmp_path):
    """It is refused before a byte of it is read, in a file that is large enough too."""
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 4 << 30))
        file.truncate(5 << 30)  # a hole, which takes no space
    with pytest.raises(WeightsError, match=r"its header is too long: expected at most 100 MB, found 4.29 GB"):
        read_weights(path)


def test_what_only_the_library_refuses(tmp_path, monkeypatch):
    """Whatever it says is one line as well."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({"a": row(dtype="F99")}, bytes(8)))
    monkeypatch.setattr("datapack.weights.safetensors_file.BITS", {"F99": 32})
    with pytest.raises(WeightsError, match="the safetensors library refuses it: found Error while deserializing"):
        read_weights(path)
