"""`docker/model/Dockerfile` and `datapack build --runnable` make the same image."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from datapack.oci.spec import LAYER
from tests.bags import digest_of
from tests.containers.engines import PROJECT, Engine
from tests.containers.test_dockerfile import root_filesystem, settings
from tests.models import PROGRAM, SETTINGS, safetensors
from tests.verify.forging import Forged, archive, entry, folder, parents

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = PROJECT / "docker" / "model" / "Dockerfile"
TRAINER = "localhost/stand-in-trainer:latest"
BUILT, REVIEWED = "localhost/crabs-by-datapack:v1", "localhost/crabs-by-dockerfile:v1"
CATALOG = """
defaults: {base: "oci:unused"}
datasets:
  crabs:
    kind: model
    title: crabs
    licence: CC0-1.0
    versions:
      v1:
        model: {architecture: own_detector, categories: [crab]}
        sources: [{local: model}]
"""
#: It shows that it is started as the trainers are: with the command, and with the model in its environment.
FAKE = b"#!/bin/sh\n"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, stand_in_base: Path) -> Path:
    """A catalog's folder with a model that was built on a stand-in for a trainer image, ``oci:trainer``."""
    root = tmp_path_factory.mktemp("models")
    (root / "datasets.yml").write_text(CATALOG)
    (root / "model" / "deep down").mkdir(parents=True)
    (root / "model" / "detector.safetensors").write_bytes(safetensors(1000))
    (root / "model" / "deep down" / "licence.txt").write_text("free")
    make_trainer(stand_in_base, root / "trainer")
    command = [sys.executable, "-m", "datapack", "-C", str(root), "build", "crabs@v1", "--runnable", "oci:trainer"]
    subprocess.run(command, cwd=PROJECT, check=True)
    return root


def make_trainer(base: Path, layout: Path) -> None:
    """Make a stand-in for a trainer image: a stand-in base with the trainers' program and mount points."""
    shutil.copytree(base, layout)
    image = Forged.read(layout)
    mounts = (folder(name) for name in ("safe_data", "safe_outputs", "scratch"))
    python = entry("usr/bin/python", FAKE + b'echo "$@" "$TRAINERS_MODEL" "$DATAPACK_DATASET"\n', mode=0o555)
    image.insert(-1, archive(parents(PROGRAM), entry(PROGRAM, b"pass"), python, *mounts), f"{LAYER}+gzip")
    image.config["history"][-1] = {"created_by": "a test"}
    runtime = {name: SETTINGS[name] for name in ("Entrypoint", "Cmd", "WorkingDir")}
    image.config["config"] = {**image.runtime, **runtime}
    image.write()


@pytest.fixture(scope="module")
def images(catalog: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The two images in an engine: datapack's, and the Dockerfile's, made from the same bag with other file modes."""
    scratch = tmp_path_factory.mktemp("images")
    engine.load(catalog / "trainer", TRAINER, scratch)
    engine.load(catalog / "dist" / "crabs-v1-run", BUILT, scratch)
    bag = scratch / "context" / "data" / "crabs" / "v1"
    shutil.copytree(catalog / "data" / "crabs" / "v1", bag)
    for path in [bag, *bag.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o640)
    shutil.copy(PROJECT / ".dockerignore", scratch / "context")
    arguments = {"BASE": TRAINER, "NAME": "crabs", "DATA_VERSION": "v1", "DIGEST": digest_of(bag)}
    engine.build(DOCKERFILE, scratch / "context", REVIEWED, **arguments, LICENCE="CC0-1.0")
    return BUILT, REVIEWED


def test_one_root_filesystem(engine: Engine, images: tuple[str, str], tmp_path: Path) -> None:
    """Both images have the same files, bytes, types, modes, owners and targets, whatever modes the bag has on disk."""
    built, reviewed = (root_filesystem(engine, image, tmp_path / "export.tar") for image in images)
    assert {
        path: (built.get(path), reviewed.get(path))
        for path in built | reviewed
        if built.get(path) != reviewed.get(path)
    } == {}
    assert "dataset/crabs/data/deep down/licence.txt" in built
    assert "usr/local/bin/import" not in built


def test_both_images_start_the_same_way(engine: Engine, images: tuple[str, str], catalog: Path) -> None:
    """Entrypoint, command, environment, user and folder are the same, and so is every label of datapack's."""
    built, reviewed = (settings(engine, image) for image in images)
    assert built["Entrypoint"] == reviewed["Entrypoint"] == ["python", "-m", "trainers"]
    assert built["Cmd"] == reviewed["Cmd"] == ["predict"]
    assert built["WorkingDir"] == reviewed["WorkingDir"] == "/opt/trainers"
    assert (built.get("User") or "") == (reviewed.get("User") or "") == ""
    assert sorted(built["Env"]) == sorted(reviewed["Env"])
    digest = yaml.safe_load((catalog / "datasets.lock").read_text())["crabs@v1"]["digest"]
    labels = {key: value for key, value in built["Labels"].items() if key.startswith("io.github.datapack.")}
    assert labels == {"io.github.datapack.runnable": "true", "io.github.datapack.dataset.digest": digest}
    said = {
        name: built["Labels"][f"org.opencontainers.image.{name}"] for name in ("description", "licenses", "version")
    }
    assert said == {name: reviewed["Labels"][f"org.opencontainers.image.{name}"] for name in said}
    assert labels == {key: reviewed["Labels"][key] for key in labels}


def test_an_engine_starts_the_trainers_with_the_model(engine: Engine, images: tuple[str, str]) -> None:
    """Without arguments, the program of the base runs ``predict`` and is told where the model is."""
    for image in images:
        done = engine.run("run", "--rm", "--network", "none", "--read-only", "--user", "54321:54321", image)
        assert done.stdout.split("\n")[0].strip() == "-m trainers predict /dataset/crabs crabs@v1"


def test_a_wrong_digest_builds_nothing(images: tuple[str, str], engine: Engine, catalog: Path, tmp_path: Path) -> None:
    """The Dockerfile refuses a bag that does not match the digest, and a base without the trainers."""
    shutil.copytree(catalog / "data", tmp_path / "data")
    digest = digest_of(tmp_path / "data" / "crabs" / "v1")
    with pytest.raises(AssertionError, match="sha256sum"):
        engine.build(
            DOCKERFILE, tmp_path, "localhost/wrong:v1", BASE=TRAINER, NAME="crabs", DIGEST="sha256:" + "0" * 64
        )
    with pytest.raises(AssertionError, match="test -f /opt/trainers"):
        engine.build(
            DOCKERFILE, tmp_path, "localhost/wrong:v1", BASE="localhost/stand-in:latest", NAME="crabs", DIGEST=digest
        )


def test_the_dockerfile_is_clean() -> None:
    """Hadolint reports nothing."""
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", "--ignore", "DL3008", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
