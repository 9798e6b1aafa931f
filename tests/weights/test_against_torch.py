"""What is read without PyTorch is what PyTorch loads: names, shapes and types."""

import collections

import numpy as np
import pytest

from datapack.errors import WeightsError
from datapack.weights.convert import convert
from datapack.weights.read import read_weights
from tests.weights.pickles import Call, Name, Stored, torch_tar, two_faces
from tests.weights.saved import DTYPES, checkpoint, flat, info, random_state

OLD = tuple(name for name in DTYPES if not name.startswith(("float8", "uint16", "uint32", "uint64")))
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dictionaries(tmp_path, zipped):
    """Every type, views that share a storage, transposed and empty tensors, scalars and parameters."""
    import torch

    for seed in range(5):
        state = random_state(seed, DTYPES if zipped else OLD)
        path = tmp_path / f"{seed}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        found = read_weights(path)
        loaded = torch.load(path, weights_only=True)
        assert found.tensors == {name: info(tensor) for name, tensor in loaded.items() if name not in found.unusual}
        assert set(found.unusual) <= {name for name in loaded if loaded[name].is_sparse or loaded[name].is_quantized}
        assert (found.calls, found.left_out) == ((), ())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_modules(tmp_path, zipped):
    """Modules that are pickled whole, as YOLOv5 does, give what their state_dict has, in its order."""
    import torch

    path = tmp_path / "last.pt"
    torch.save(checkpoint(), path, _use_new_zipfile_serialization=zipped)
    found = read_weights(path)
    loaded = torch.load(path, weights_only=False)
    expected = {name: info(tensor) for name, tensor in flat(loaded).items()}
    assert list(found.tensors.items()) == list(expected.items())
    assert "torch.nn.modules.conv.Conv2d" in found.classes
    assert found.functions == ()
    assert {"epoch", "best_fitness", "date"} <= set(found.left_out)


def test_sparse_and_quantised_tensors(tmp_path):
    """They are named, with the reason."""
    import torch

    state = {"s": torch.eye(3).to_sparse(), "w": torch.ones(2), "m": torch.empty(2, device="meta")}
    state["conjugate"] = torch.ones(2, dtype=torch.complex64).conj()
    torch.save(state, tmp_path / "m.pth")
    found = read_weights(tmp_path / "m.pth")
    assert list(found.tensors) == ["w"]
    assert {name: why.split()[0] for name, why in found.unusual.items()} == {
        "s": "sparse",
        "m": "without",
        "conjugate": "with",
    }


def test_a_subclass_of_tensor(tmp_path):
    """A parameter with attributes is a tensor; a class of somebody else is not."""
    import torch

    weight = torch.nn.Parameter(torch.ones(2))
    weight.tag = "x"
    torch.save(collections.OrderedDict(w=weight), tmp_path / "m.pth")
    assert list(read_weights(tmp_path / "m.pth").tensors) == ["w"]


@pytest.mark.parametrize("zipped", [True, False])
def test_conversion_is_bit_for_bit(tmp_path, zipped):
    """Every number of every tensor has the bits that PyTorch loads, and safetensors gives them back."""
    import torch
    from safetensors.torch import load_file

    names = DTYPES if zipped else OLD
    for seed in range(5):
        state = random_state(seed, tuple(name for name in names if name != "complex128"))
        path = tmp_path / f"{seed}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        convert(path, tmp_path / f"{seed}.safetensors")
        same(load_file(tmp_path / f"{seed}.safetensors"), torch.load(path, weights_only=True))


def test_what_pytorch_would_read_otherwise(tmp_path):
    """Files that look harmless to Python's own readers run code in PyTorch: the reason to refuse them is real."""
    import torch

    for number, (message, content) in enumerate(two_faces(Call(Name("os", "mkdir"), (str(tmp_path / "ran"),))).items()):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_weights(path)
        torch.load(path, weights_only=False)
        (tmp_path / "ran").rmdir()


def test_the_oldest_format(tmp_path):
    """An archive of PyTorch 0.1, made here as nothing writes it today: the numbers are those that PyTorch loads."""
    import torch
    from safetensors.torch import load_file

    numbers = np.arange(12, dtype=np.float32)
    rows = [(0, (3, 4), (4, 1), 0), (0, (4, 3), (1, 4), 0), (1, (2,), (1,), 1), (7, (3,), (1,), 1)]
    value = {name: Stored(str(key)) for key, name in enumerate(("w", "turned", "double", "view"), start=100)}
    path = tmp_path / "old.pth"
    path.write_bytes(torch_tar(value, [numbers, np.arange(3.0)], rows, [(7, 0, 4, 5)]))
    assert read_weights(path).format == "PyTorch before 0.2"
    convert(path, tmp_path / "old.safetensors")
    same(load_file(tmp_path / "old.safetensors"), torch.load(path, weights_only=False))


@pytest.mark.parametrize("zipped", [True, False])
def test_conversion_of_a_checkpoint(tmp_path, zipped):
    """Whole modules give their state dictionaries, and a key those below it."""
    import torch
    from safetensors.torch import load_file

    path = tmp_path / "last.pt"
    torch.save(checkpoint(), path, _use_new_zipfile_serialization=zipped)
    loaded = torch.load(path, weights_only=False)
    convert(path, tmp_path / "all.safetensors")
    convert(path, tmp_path / "ema.safetensors", key="ema")
    same(load_file(tmp_path / "all.safetensors"), flat(loaded))
    same(load_file(tmp_path / "ema.safetensors"), loaded["ema"].state_dict())
    loaded["ema"].load_state_dict(load_file(tmp_path / "ema.safetensors"))


def same(found: dict, expected: dict) -> None:
    """Check that tensors are equal bit by bit, NaNs too."""
    import torch

    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert info(found[name]) == info(tensor), name
        assert found[name].is_contiguous()
        bits = [torch.empty_like(found[name]).copy_(one).reshape(-1).view(torch.uint8) for one in (found[name], tensor)]
        assert torch.equal(*bits), name
