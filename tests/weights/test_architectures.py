"""The table of architectures is what torchvision has, and tells weights of one from those of another."""

import importlib.util
import json

import pytest

from datapack.weights.architectures import architectures
from datapack.weights.model import TensorInfo
from tests.conftest import PROJECT


def tensors(name, labels):
    """Return the tensors of an architecture for a number of labels."""
    rows = architectures()[name].tensors.items()
    sides = {path: [int(one.strip("c") or 1) * (labels if "c" in one else 1) for one in row] for path, row in rows}
    return {path: TensorInfo("F32", tuple(shape)) for path, shape in sides.items()}


@pytest.mark.torch
def test_the_table_is_current():
    """The script makes the same table with the torchvision of today."""
    path = PROJECT / "scripts/architectures.py"
    spec = importlib.util.spec_from_file_location("script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert json.loads(script.TABLE.read_text()) == script.table()
    assert script.TABLE.read_text() == script.content()


@pytest.mark.parametrize("name", architectures())
@pytest.mark.parametrize("labels", [2, 3, 91, 1000])
def test_the_number_of_categories(name, labels):
    """It is found in the shapes, and is no difference."""
    known = architectures()[name]
    assert known.differences(tensors(name, labels)) == []
    assert known.categories(tensors(name, labels)) == labels - (name != "resnet50")


def test_every_other_architecture_differs():
    """No two of them have the same tensors."""
    for name in architectures():
        for other in architectures():
            assert bool(architectures()[name].differences(tensors(other, 5))) == (name != other)


def test_a_head_whose_parts_differ():
    """Scores for three labels and boxes for four are a difference, not another number of categories."""
    found = tensors("fasterrcnn_resnet50_fpn", 3)
    found["roi_heads.box_predictor.bbox_pred.bias"] = TensorInfo("F32", (16,))
    (line,) = architectures()["fasterrcnn_resnet50_fpn"].differences(found)
    assert line == "roi_heads.box_predictor.bbox_pred.bias has the shape 16, not 12"


def test_counters_of_normalisation_do_not_count():
    """Frozen layers have none; every other additional tensor is a difference."""
    found = tensors("resnet50", 10) | {"bn1.num_batches_tracked": TensorInfo("I64", ())}
    assert architectures()["resnet50"].differences(found) == []
    assert architectures()["resnet50"].differences(found | {"x": TensorInfo("F32", ())}) == ["x is not part of it"]
