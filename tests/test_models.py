"""The models in the project's own catalog, with local servers in place of PyTorch's and the Hugging Face Hub."""

import hashlib
import json
import pickle
import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save

from datapack.bag.model_facts import ModelFacts
from datapack.catalog.model import Catalog as CatalogFile
from datapack.reference import Reference
from tests.conftest import PROJECT, Catalog, make_base
from tests.fakeweb import as_json
from tests.servers import NOT_FOUND, Reply, Server
from tests.weights.pickles import module, tensor, torch_zip

OURS = CatalogFile.read(PROJECT / "datasets.yml")
TORCHVISION = ("fasterrcnn", "fasterrcnn-v2", "retinanet-v2", "fcos")
HUB = ("dfine-large", "rf-detr-medium")
PLAIN = pickle.dumps({"epoch": 26})  # what a file of PyTorch's can be without code
NET = save({"head.weight": np.ones((2, 3), np.float32)})


def entry(name: str):
    return next(one for one in OURS.entries() if one.reference.name == name)


class ModelHub(Server):
    """The parts of the Hub that list a model's files and give them."""

    def __init__(self, repository: str, commit: str, files: dict[str, bytes]) -> None:
        super().__init__()
        self.repository, self.commit, self.files = repository, commit, files

    def answer(self, handler, path):
        asked = urlsplit(path).path
        if asked == f"/api/models/{self.repository}/tree/{self.commit}":
            return as_json([self.row(name) for name in self.files])
        name = asked.removeprefix(f"/{self.repository}/resolve/{self.commit}/")
        return Reply(self.files[name]) if name in self.files else NOT_FOUND

    def row(self, name: str) -> dict[str, object]:
        content = self.files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"type": "file", "oid": oid, "size": len(content), "path": name}


@pytest.fixture
def catalog(tmp_path):
    """A copy of the project's catalog, and of the files beside it that models need."""
    root = tmp_path / "catalog"
    root.mkdir()
    shutil.copy(PROJECT / "datasets.yml", root)
    shutil.copytree(PROJECT / "examples/models", root / "examples/models")
    make_base(root / "base")
    return Catalog(root)


def replace(catalog: Catalog, old: str, new: str) -> None:
    path = catalog.root / "datasets.yml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def facts(catalog: Catalog, reference: Reference) -> ModelFacts:
    path = catalog.root / "data" / reference.name / reference.version / "data/model.json"
    return ModelFacts.parse(path.read_bytes(), path)


def test_a_detector_of_torchvision_becomes_an_import_container(catalog):
    """The weights are checked by the digits in their name; the labels come from the file beside the catalog."""
    (source, _) = entry("fasterrcnn").sources
    with Server({urlsplit(source.url).path: Reply(PLAIN)}) as server:
        replace(catalog, "https://download.pytorch.org", server.url)
        assert "wrong sha256 (expected 258fb6c6, found " in catalog.fails("fetch", "fasterrcnn@coco-v1")
        replace(catalog, "sha256: 258fb6c6", f"sha256: '{hashlib.sha256(PLAIN).hexdigest()}'")
        base = catalog.root / "base"
        replace(catalog, OURS.defaults.base, f"oci:{base.name}")
        catalog.ok("build", "fasterrcnn@coco-v1")
    catalog.ok("verify", "oci:dist/fasterrcnn-coco-v1")
    found = facts(catalog, Reference("fasterrcnn", "coco-v1"))
    assert (found.architecture, found.weights) == ("fasterrcnn_resnet50_fpn", source.file_name)
    assert (found.categories[0], found.categories[11], found.categories[-1]) == (
        (1, "person"),
        (12, "N/A"),
        (90, "toothbrush"),
    )
    assert (found.min_size, found.max_size, found.metrics) == (800, 1333, {"mAP": 0.37})


@pytest.mark.parametrize("name", HUB)
def test_a_model_of_the_hub_comes_by_its_commit(catalog, name):
    """Its files are those of one commit, with its card."""
    (source,) = entry(name).sources
    files = dict.fromkeys(source.files, b"{}") | {"model.safetensors": NET, "README.md": b"# A card\n"}
    with ModelHub(source.huggingface, source.revision, {**files, "other.bin": b"x"}) as hub:
        catalog.env["HF_ENDPOINT"] = hub.url
        catalog.ok("fetch", f"{name}@coco-v1")
    found = facts(catalog, Reference(name, "coco-v1"))
    assert (found.weights, found.card) == ("model.safetensors", "README.md")
    payload = catalog.root / "data" / name / "coco-v1/data"
    assert sorted(path.name for path in payload.iterdir()) == sorted([*source.files, "model.json"])


def test_mbari_s_detector_loses_its_code(catalog):
    """The pickle of YOLOv5 never gets into the bag; its tensors do."""
    (source,) = entry("mbari-315k-yolov5").sources
    weights = np.ones(4, np.float32)
    value = {"model": module("models.yolo.Model", {"weight": tensor("0", weights)}), "ema": None}
    files = {"README.md": b"# A card\n", "mbari_315k_yolov5.pt": torch_zip(value, {"0": weights})}
    with ModelHub(source.huggingface, source.revision, files) as hub:
        catalog.env["HF_ENDPOINT"] = hub.url
        catalog.ok("fetch", "mbari-315k-yolov5@v1")
    assert facts(catalog, Reference("mbari-315k-yolov5", "v1")).weights == "mbari_315k_yolov5.safetensors"
    assert not list(catalog.root.glob("data/**/*.pt"))
    catalog.ok("check", "mbari-315k-yolov5@v1")


@pytest.mark.parametrize("name", [*TORCHVISION, *HUB, "mbari-315k-yolov5"])
def test_every_model_can_be_right(name):
    """Each names all that a fetch needs: one source of weights, pinned, and no fact that can't hold."""
    one = entry(name)
    assert one.is_model
    assert one.version.model.architecture
    assert one.version.model.trained_on
    weights = one.sources[0]
    assert len(getattr(weights, "revision", "") or "0" * 40) == len("0" * 40)


@pytest.mark.torch
@pytest.mark.parametrize("name", TORCHVISION)
def test_facts_are_torchvision_s_own(name):
    """torchvision itself would fetch the same file; labels and mAP are those that it publishes."""
    from torchvision.models import get_model_weights

    one = entry(name)
    section, source = one.version.model, one.sources[0]
    weights = get_model_weights(section.architecture).COCO_V1
    assert source.url == weights.url
    assert source.url.endswith(f"-{source.sha256}.pth")
    assert section.metrics == {"mAP": pytest.approx(weights.meta["_metrics"]["COCO-val2017"]["box_map"] / 100)}
    rows = json.loads((PROJECT / "examples/models/coco-91.json").read_text())["categories"]
    assert [row["name"] for row in rows] == weights.meta["categories"][1:]
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.torch
@pytest.mark.parametrize("name", TORCHVISION)
def test_sizes_are_torchvision_s_own(name):
    """A detector that is made without other sizes scales images to these."""
    from torchvision.models import get_model

    section = entry(name).version.model
    model = get_model(section.architecture, weights=None, weights_backbone=None)
    assert (model.transform.min_size, model.transform.max_size) == ((section.input.min_size,), section.input.max_size)
