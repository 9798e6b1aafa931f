"""State dictionaries and checkpoints of PyTorch, made by it. It is imported late: not every test has it."""

import random

from datapack.weights.model import TensorInfo

NAMES = {  # PyTorch's names of types, and those of safetensors
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
DTYPES = tuple(NAMES)


def info(tensor) -> TensorInfo:
    return TensorInfo(NAMES[str(tensor.dtype).removeprefix("torch.")], tuple(tensor.shape))


def raw(count: int, dtype: str, numbers: random.Random):
    """Return a tensor of random bits; booleans are 0 or 1."""
    import torch

    kind = getattr(torch, dtype)
    if dtype == "bool":
        return torch.tensor([numbers.random() < 0.5 for _ in range(count)])
    content = numbers.randbytes(count * torch.empty((), dtype=kind).element_size()) or b""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(kind) if content else torch.empty(0, dtype=kind)


def random_state(seed: int, dtypes: tuple[str, ...]) -> dict[str, object]:
    """Return a state dictionary: for each type a tensor, and views of it that share its storage."""
    import torch

    numbers = random.Random(seed)
    state: dict[str, object] = {}
    for dtype in dtypes:
        rows, columns = numbers.randint(1, 7), numbers.randint(2, 7)
        whole = raw(rows * columns, dtype, numbers).reshape(rows, columns)
        state[f"{dtype}.whole"] = whole
        state[f"{dtype}.turned"] = whole.t()
        state[f"{dtype}.column"] = whole[:, 1:]
        state[f"{dtype}.every_other"] = whole.reshape(-1)[1::2]
        state[f"{dtype}.same"] = whole
        state[f"{dtype}.wide"] = whole[:1].expand(3, columns)
        state[f"{dtype}.one"] = whole[0, 0]
        state[f"{dtype}.none"] = whole[:0]
    state["float32.parameter"] = torch.nn.Parameter(raw(4, "float32", numbers))
    return state


def checkpoint() -> dict[str, object]:
    """Return a checkpoint of the kind that YOLOv5 writes: whole modules, an optimizer, and more."""
    import copy

    import numpy as np
    import torch

    torch.manual_seed(1)
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.SiLU(), torch.nn.Conv2d(4, 2, 1))
    model = torch.nn.Sequential(*layers)
    model.register_buffer("anchors", torch.arange(6.0).reshape(2, 3))
    model.register_buffer("grid", torch.zeros(1), persistent=False)
    model.stride = torch.tensor([8.0])
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "best_fitness": np.float64(0.5),
        "model": copy.deepcopy(model).half(),
        "ema": copy.deepcopy(model),
        "optimizer": optimizer.state_dict(),
        "date": "2026-11-28",
    }


def flat(value: object, name: str = "") -> dict[str, object]:
    """Return the tensors of a loaded checkpoint by name; a module is its state dictionary."""
    import torch

    if isinstance(value, torch.Tensor):
        return {name: value}
    value = value.state_dict() if isinstance(value, torch.nn.Module) else value
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    found = {}
    for key, one in value.items() if isinstance(value, dict) else ():
        found |= flat(one, f"{name}.{key}" if name else str(key))
    return found
