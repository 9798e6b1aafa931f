"""The ModelPack manifest of a model: valid by the specification's rules, true, and made of the image's own layers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from datapack.hashing import digest_of
from datapack.metadata.modelpack import param_size
from datapack.oci.spec import INDEX, MANIFEST
from datapack.registry import ImageName, RegistryClient, Repository
from tests import registries
from tests.conftest import Catalog, fact, make_base
from tests.models import FACTS, make_trainer
from tests.registry.clients import clients

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELPACK = "application/vnd.cncf.model.manifest.v1+json"
#: The keys that the specification's schema allows, which has no others.
DESCRIPTOR = {"createdAt", "authors", "family", "name", "docURL", "sourceURL", "datasetsURL", "version", "revision"}
DESCRIPTOR |= {"vendor", "licenses", "title", "description"}
CONFIG = {"architecture", "format", "paramSize", "precision", "quantization", "capabilities"}
LAYERS = {f"application/vnd.cncf.model.{kind}.v1.tar" for kind in ("weight", "weight.config", "doc")}
WEIGHTS = save({"backbone.body.weight": np.zeros((1000, 300), np.float32), "seen": np.zeros((), np.int64)})
FILES = {"weights/detector.safetensors": WEIGHTS, "README.md": b"# Crabs", "LICENSE": b"CC0"}
TRAINED_ON = f"reef@v1 sha256:{'3' * 64}"
CATALOG = f"""\
defaults: {{base: "oci:base", registry: ghcr.io/example}}
datasets:
  crabs:
    kind: model
    title: A crab detector
    licence: CC0-1.0
    homepage: https://example.org/crabs
    contact: me@example.org
    publisher: The Crab Institute
    versions:
      v1:
        model: {{architecture: fcos_resnet50_fpn, categories: [crab, fish], input: {{min_size: 64, max_size: 96}},
                card: README.md, trained_on: "{TRAINED_ON}"}}
        sources: [{{local: model}}]
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registries.serve(tmp_path) as name:
        yield name


@pytest.fixture
def models(tmp_path: Path) -> Catalog:
    """A catalog with a model that is not fetched yet."""
    root = tmp_path / "catalog"
    root.mkdir()
    for name, content in FILES.items():
        path = root / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "datasets.yml").write_text(CATALOG)
    make_base(root / "base")
    make_trainer(root / "trainer")
    return Catalog(root)


def attached(image: str, kind: str) -> list[dict]:
    """Return the manifests of one kind that are attached to an image in a registry without a list of its own."""
    there = Repository(RegistryClient(ImageName.parse(image)))
    digest = there.name.digest
    entries = json.loads(there.manifest(digest.replace(":", "-")))["manifests"]
    return [json.loads(there.manifest(entry["digest"])) for entry in entries if entry["artifactType"] == kind]


def blob(image: str, descriptor: dict) -> bytes:
    from datapack.oci.spec import Descriptor

    there = Repository(RegistryClient(ImageName.parse(image)))
    return b"".join(map(bytes, there.blob(Descriptor.parse(descriptor, image))))


def check(image: str, pack: dict) -> dict:
    """Check a manifest by the rules of the specification; return its config."""
    there = Repository(RegistryClient(ImageName.parse(image)))
    assert (pack["schemaVersion"], pack["mediaType"], pack["artifactType"]) == (2, MANIFEST, MODELPACK)
    assert pack["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert pack["subject"]["digest"] == there.name.digest
    assert {layer["mediaType"] for layer in pack["layers"]} <= LAYERS
    assert all(layer["annotations"]["org.cncf.model.filepath"] for layer in pack["layers"])
    content = blob(image, pack["config"])
    assert digest_of(content) == pack["config"]["digest"]
    config = json.loads(content)
    assert config.keys() == {"descriptor", "config", "modelfs"}
    assert config["descriptor"].keys() <= DESCRIPTOR
    assert config["config"].keys() <= CONFIG
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in pack["layers"]]}
    image_layers = {layer["digest"]: layer["size"] for layer in json.loads(there.manifest(there.name.digest))["layers"]}
    assert {layer["digest"]: layer["size"] for layer in pack["layers"]}.items() <= image_layers.items()
    return config


def test_a_model_that_is_pushed(models, registry, tmp_path):
    """Its facts are those of the catalog, of model.json and of the weights; its layers are in the image already."""
    image = fact(models.ok("push", "crabs@v1", f"docker://{registry}/crabs"), "image")
    (pack,) = attached(image, MODELPACK)
    config = check(image, pack)
    assert config["descriptor"] == {
        "name": "crabs",
        "version": "v1",
        "title": "A crab detector",
        "family": "fcos_resnet50_fpn",
        "vendor": "The Crab Institute",
        "docURL": "https://example.org/crabs",
        "authors": ["me@example.org"],
        "licenses": ["CC0-1.0"],
    }
    assert config["config"] == {
        "architecture": "fcos_resnet50_fpn",
        "format": "safetensors",
        "precision": "fp32",
        "paramSize": "300K",
        "capabilities": {"inputTypes": ["image"], "outputTypes": ["other"]},
    }
    kinds = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in pack["layers"]}
    assert kinds == {
        "dataset/crabs/data/weights/detector.safetensors": "application/vnd.cncf.model.weight.v1.tar",
        "dataset/crabs/data": "application/vnd.cncf.model.weight.config.v1.tar",
        "dataset/crabs": "application/vnd.cncf.model.doc.v1.tar",
    }
    assert pack["annotations"]["io.github.datapack.model.trained-on"] == TRAINED_ON
    tag = image.partition("@")[2].replace(":", "-")
    there = Repository(RegistryClient(ImageName.parse(image)))
    before = there.manifest(tag)
    assert models.ok("verify", f"docker://{registry}/crabs:v1").startswith("verified, every byte")
    models.ok("push", "crabs@v1", f"docker://{registry}/crabs")
    assert there.manifest(tag) == before  # the same bytes, attached once


def test_other_clients_see_it(models, registry, tmp_path):
    """`oras discover` lists the manifest, and a copy with everything attached is still verified, as a layout too."""
    (tmp_path / "home").mkdir()
    others = clients(tmp_path / "home")
    models.ok("push", "crabs@v1", f"docker://{registry}/crabs")
    name = f"{registry}/crabs:v1"
    found = json.loads(others.run("oras", "discover", "--plain-http", "--format", "json", name))
    assert MODELPACK in [entry["artifactType"] for entry in found["referrers"]]
    others.run("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", name, f"{tmp_path}/copy:v1")
    assert json.loads((tmp_path / "copy/index.json").read_bytes())["mediaType"] == INDEX
    for what in (f"oci:{tmp_path}/copy", f"oci:{tmp_path}/copy:v1"):
        assert models.ok("verify", what).startswith("verified, every byte")


def test_a_ready_to_run_image(models, registry):
    """It has the same layers of the model, so it gets a manifest too: of the same config, for another image."""
    first = fact(models.ok("push", "crabs@v1", f"docker://{registry}/crabs"), "image")
    second = fact(models.ok("push", "crabs@v1", f"docker://{registry}/crabs-run", "--runnable", "oci:trainer"), "image")
    packs = [attached(image, MODELPACK)[0] for image in (first, second)]
    check(second, packs[1])
    assert packs[0]["config"] == packs[1]["config"]
    assert packs[0]["layers"] == packs[1]["layers"]


def test_weights_that_datapack_does_not_open(models, registry):
    """What they do not show is left out, and so is what the catalog does not say; the manifest is valid."""
    (models.root / "model/weights/detector.safetensors").unlink()
    (models.root / "model/weights/detector.keras").write_bytes(b"whatever Keras writes")
    catalog = models.root / "datasets.yml"
    catalog.write_text(re.sub("input: .*,", "", catalog.read_text()))
    image = fact(models.ok("push", "crabs@v1", f"docker://{registry}/crabs"), "image")
    config = check(image, attached(image, MODELPACK)[0])
    assert config["config"] == {"architecture": "fcos_resnet50_fpn", "format": "keras"}


def test_a_dataset_has_none(models, registry):
    """A file named model.json makes no model of a dataset."""
    (models.root / "model" / "model.json").write_bytes(FACTS.to_json())
    catalog = models.root / "datasets.yml"
    catalog.write_text(re.sub("    kind: model\n|        model:.*\n.*\n", "", catalog.read_text()))
    image = fact(models.ok("push", "crabs@v1", f"docker://{registry}/crabs"), "image")
    assert attached(image, MODELPACK) == []
    assert len(attached(image, "application/vnd.in-toto+json")) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, ""),
        (12, ""),
        (120, "0.1K"),
        (1000, "1K"),
        (41_800_000, "41.8M"),
        (999_960, "1000K"),
        (6_738_415_616, "6.7B"),
        (2 * 10**12, "2T"),
    ],
)
def test_the_number_of_parameters(count, text):
    """It has at most one digit after the point, and a letter."""
    assert param_size(count) == text
    assert re.fullmatch(r"|[0-9]+(\.[0-9])?[KMBTQ]", text)
