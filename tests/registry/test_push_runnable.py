"""Pushing a ready-to-run model: its own name, and nothing that the registry has already."""

import json

import pytest

from tests.conftest import Catalog, make_base
from tests.models import make_trainer, safetensors

CATALOG = """\
defaults: {{base: "oci:base", registry: "{registry}/models"}}
datasets:
  crabs:
    kind: model
    title: A crab detector
    licence: CC0-1.0
    versions:
      v1:
        model: {{architecture: own_detector, categories: [crab, fish]}}
        sources: [{{local: model}}]
"""


@pytest.fixture
def models(proxy, tmp_path):
    root = tmp_path / "models"
    (root / "model").mkdir(parents=True)
    (root / "model" / "detector.safetensors").write_bytes(safetensors(3_000_000))
    (root / "datasets.yml").write_text(CATALOG.format(registry=proxy.name))
    make_base(root / "base")
    make_trainer(root / "trainer")
    return Catalog(root)


def test_the_weights_are_sent_once(models, proxy):
    """After the import container, a push of the ready-to-run image sends the layers of the trainer, not the weights."""
    models.ok("push", "crabs@v1")
    proxy.sent = 0
    done = models.run("push", "crabs@v1", "--runnable", "oci:trainer")
    assert done.returncode == 0, done.stderr
    assert "mounted from another repository" in done.stderr
    assert proxy.sent < 500_000
    tagged = f"{proxy.name}/models/crabs-run:v1"
    assert f"\n  ces-pull GITHUB_USER TOKEN {tagged}\n  ces-gpu-run {tagged}\n" in done.stdout
    assert done.stdout.endswith("The log must end with: PREDICTION OK RUN ...\n")


def test_what_was_pushed_is_verified_and_has_its_provenance(models, proxy):
    """The image in the registry is the one that a build makes, is called ready to run, and has a statement attached."""
    models.ok("push", "crabs@v1", "--runnable", "oci:trainer")
    verified = models.ok("verify", f"docker://{proxy.name}/models/crabs-run:v1")
    assert "verified, every byte" in verified
    assert "a ready-to-run model" in verified
    assert "provenance: 1 attached, of this image" in verified
    built = json.loads(models.ok("build", "crabs@v1", "--runnable", "oci:trainer", "--json"))
    there = json.loads(models.ok("verify", f"docker://{proxy.name}/models/crabs-run:v1", "--json"))
    assert there["image"] == built["image"]


def test_neither_image_replaces_the_other(models, proxy):
    """Under one name and tag, the second image is refused."""
    name = f"docker://{proxy.name}/models/both:v1"
    models.ok("push", "crabs@v1", name)
    error = models.fails("push", "crabs@v1", name, "--runnable", "oci:trainer", status=3)
    assert "the registry has another image of this name" in error


def test_a_stand_in_stays_on_this_machine(models):
    """A model on a stand-in for a trainer image is only for a registry on this machine."""
    labels = {"datapack.stand-in": "true"}
    make_trainer(models.root / "stand-in", Labels=labels)
    error = models.fails("push", "crabs@v1", "docker://registry.invalid/crabs", "--runnable", "oci:stand-in", status=2)
    assert "this image is based on a stand-in base" in error
