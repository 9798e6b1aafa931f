"""A whole job in a ready-to-run model of TensorFlow: `predict` on a folder of images, without a train.yml."""

import json
from dataclasses import replace

import numpy as np
import safetensors.numpy

from datapack.bag.model_facts import ModelFacts
from tests.bags import write_bag
from tests.trainers.havens import png
from tests.trainers.keras.tiny import NAME, tiny_config, tiny_info
from tests.trainers.test_prediction import Shore
from trainers.keras.model import build_model, tensors

FACTS = ModelFacts(NAME, "model.safetensors")


def sure_weights() -> bytes:
    """Return weights of a detector that is sure to see the first of two categories everywhere."""
    model = build_model(tiny_config(), 2, "float32", pretrained=False)
    arrays = {name: np.array(variable.numpy()) for name, variable in tensors(model).items()}
    bias = "classification_head/logits_layer/bias"
    arrays[bias].reshape(-1, 2)[:, 0] = 3
    info = replace(tiny_info(tiny_config()), name=NAME)
    return bytes(safetensors.numpy.save(arrays, info.to_metadata()))


def test_a_model_of_tensorflow_runs_on_a_folder_of_images(tmp_path):
    """The weights are verified and say themselves what they are; detections are in the upright images' pixels."""
    bag = tmp_path / "crabs"
    digest = write_bag(bag, {"model.json": FACTS.to_json(), FACTS.weights: sure_weights()})
    shore = Shore(tmp_path, bag, digest)
    for place, size in enumerate(((80, 60), (60, 90), (64, 64))):
        (shore.data / f"{place}.png").write_bytes(png(*size, place))
    (shore.data / "broken.jpg").write_bytes(b"no image")
    status, lines = shore.run()
    assert status == 0, lines
    results = json.loads(shore.read("predictions.json"))
    count = len(results["annotations"])
    assert count > 0
    assert f"{count:,} detections in 3 images; 1 broken image left out" in lines[-1]
    assert {row["category_id"] for row in results["annotations"]} == {results["categories"][0]["id"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in results["images"]}
    for row in results["annotations"]:
        x, y, width, height = row["bbox"]
        assert min(x, y) >= -0.01
        assert x + width <= sizes[row["image_id"]][0] + 0.02
        assert y + height <= sizes[row["image_id"]][1] + 0.02
    assert json.loads(shore.read("run.json"))["versions"]["tensorflow"]
