"""Write the table of the tensors of known architectures: ``python scripts/architectures.py``. It needs torchvision.

The result, ``datapack/weights/architectures.json``, lets `datapack check` compare weights without PyTorch. For each
architecture it has the labels of a model that are not categories, and a tree of names whose leaves are shapes. In a
shape, ``4c`` is four times the number of labels. Counters of BatchNorm are left out: not every file has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "datapack/weights/architectures.json"
DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)
_ONE, _OTHER = 7, 11  # numbers of labels whose multiples are no other side of a tensor


def table() -> dict[str, Any]:
    """Return the content of the table."""
    import torch
    from torchvision.models import detection, resnet50

    with torch.device("meta"):  # tensors without data
        found = {name: _architecture(getattr(detection, name), background=1) for name in DETECTORS}
        return found | {"resnet50": _architecture(resnet50, background=0)}


def _architecture(build: Any, background: int) -> dict[str, Any]:
    options = {"weights": None, "weights_backbone": None} if background else {"weights": None}
    one, other = (build(num_classes=labels, **options).state_dict() for labels in (_ONE, _OTHER))
    tensors: dict[str, Any] = {}
    for name, tensor in one.items():
        if not name.endswith(".num_batches_tracked"):
            sides = zip(tensor.shape, other[name].shape, strict=True)
            _put(tensors, name.split("."), " ".join(_side(*pair) for pair in sides))
    return {"background": background, "tensors": tensors}


def _side(one: int, other: int) -> str:
    if one == other:
        return str(one)
    factor, rest = divmod(one, _ONE)
    if rest or other != factor * _OTHER:
        raise ValueError(f"sides {one} and {other} are no multiples of the number of labels")
    return f"{factor}c"


def _put(tree: dict[str, Any], parts: list[str], shape: str) -> None:
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
    tree[parts[-1]] = shape


def content() -> str:
    """Return the table as text: an architecture per line."""
    rows = (f"{json.dumps(name)}:{json.dumps(one, separators=(',', ':'))}" for name, one in table().items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(content(), encoding="utf-8")
