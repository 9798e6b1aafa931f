"""`docker/data/Dockerfile` and `datapack build` make the same image."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.bags import digest_of
from tests.containers.engines import PROJECT, STAND_IN, Engine
from tests.containers.importer import copy_program

if TYPE_CHECKING:
    from pathlib import Path


DOCKERFILE = PROJECT / "docker" / "data" / "Dockerfile"
CATALOG = """
defaults: {{base: "oci:{base}"}}
datasets:
  reef:
    title: A reef
    licence: CC0-1.0
    contact: a test
    versions:
      v1:
        sources:
          - local: files
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, stand_in_base: Path) -> Path:
    """A catalog's folder with one version, built as ``oci:dist/reef-v1``."""
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "datasets.yml").write_text(CATALOG.format(base=stand_in_base))
    (folder / "files" / "images" / "deep down").mkdir(parents=True)
    (folder / "files" / "train.json").write_text("{}")
    (folder / "files" / "empty").touch()
    for number in range(20):
        (folder / "files" / "images" / "deep down" / f"{number} 'Größe'.png").write_bytes(bytes([number]) * 1000)
    command = [sys.executable, "-m", "datapack", "-C", str(folder), "build", "reef@v1"]
    subprocess.run(command, cwd=PROJECT, check=True)
    return folder


@pytest.fixture(scope="module")
def images(catalog: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The two images in an engine: datapack's, and the Dockerfile's, made from the same bag with other file modes."""
    scratch = tmp_path_factory.mktemp("images")
    engine.load(catalog / "dist" / "reef-v1", "localhost/by-datapack:v1", scratch)
    context = scratch / "context"
    bag = context / "data" / "reef" / "v1"
    shutil.copytree(catalog / "data" / "reef" / "v1", bag)
    for path in [bag, *bag.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o640)
    copy_program(context)
    shutil.copy(PROJECT / ".dockerignore", context)
    engine.build(
        DOCKERFILE,
        context,
        "localhost/by-dockerfile:v1",
        BASE=STAND_IN,
        NAME="reef",
        DATA_VERSION="v1",
        DIGEST=digest_of(bag),
    )
    return "localhost/by-datapack:v1", "localhost/by-dockerfile:v1"


def root_filesystem(engine: Engine, image: str, archive: Path) -> dict[str, tuple[object, ...]]:
    """Read a container's root file system: each path's type, mode, owner, and content or target."""
    container = engine.run("create", "--network", "none", image).stdout.split()[-1]
    engine.run("export", "--output", archive, container)
    engine.run("rm", container)
    with tarfile.open(archive) as tar:
        return {
            member.name.strip("/"): (
                member.type,
                oct(stat.S_IMODE(member.mode)),
                member.uid,
                member.gid,
                _content(tar, member),
            )
            for member in tar
        }


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member) if member.isreg() else None
    return hashlib.sha256(file.read()).hexdigest() if file else member.linkname


def settings(engine: Engine, image: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(engine.run("image", "inspect", image).stdout)[0]["Config"]
    return config


def test_one_root_filesystem(engine: Engine, images: tuple[str, str], tmp_path: Path) -> None:
    """Both images have the same files, bytes, types, modes, owners and targets, whatever modes the bag has on disk."""
    built, reviewed = (root_filesystem(engine, image, tmp_path / "export.tar") for image in images)
    assert built.keys() == reviewed.keys()
    assert {path: (built[path], reviewed[path]) for path in built if built[path] != reviewed[path]} == {}


def test_the_root_filesystem_is_as_designed(engine: Engine, images: tuple[str, str], tmp_path: Path) -> None:
    """The program, mount points and bag have the right modes and belong to root, and only the bag holds data."""
    found = root_filesystem(engine, images[1], tmp_path / "export.tar")
    assert {
        found[path][1:4] for path in found if path.startswith("dataset/") and found[path][0] == tarfile.REGTYPE
    } == {("0o444", 0, 0)}
    folders = ["safe_data", "safe_outputs", "scratch", "dataset", "dataset/reef/data/images/deep down"]
    assert {found[path][:4] for path in folders} == {(tarfile.DIRTYPE, "0o755", 0, 0)}
    assert found["usr/local/bin/import"][1:4] == ("0o555", 0, 0)
    assert not [path for path in found if path.startswith(("safe_", "scratch/")) and "/" in path]


def test_both_images_start_the_same_way(engine: Engine, images: tuple[str, str]) -> None:
    """Both images start the same program in the same environment as the same user, and name the same dataset."""
    built, reviewed = (settings(engine, image) for image in images)
    assert built["Entrypoint"] == reviewed["Entrypoint"] == ["/usr/local/bin/import"]
    assert (built.get("Cmd") or []) == (reviewed.get("Cmd") or []) == []
    assert (built.get("User") or "") == (reviewed.get("User") or "") == ""
    bases = [[line for line in each["Env"] if line.startswith("DATAPACK_BASE=")] for each in (built, reviewed)]
    assert re.fullmatch(r"DATAPACK_BASE=sha256:[0-9a-f]{64}", bases[0].pop())  # a folder: where it is must not matter
    assert bases == [[], [f"DATAPACK_BASE={STAND_IN}"]]
    same = [sorted(line for line in each["Env"] if not line.startswith("DATAPACK_BASE=")) for each in (built, reviewed)]
    assert same[0] == same[1]
    assert "DATAPACK_DATASET=reef@v1" in built["Env"]
    label = "io.github.datapack.dataset.digest"
    assert built["Labels"][label] == reviewed["Labels"][label]


def test_a_wrong_digest_builds_nothing(images: tuple[str, str], engine: Engine, catalog: Path, tmp_path: Path) -> None:
    """The Dockerfile refuses a bag that does not match the digest."""
    copy_program(tmp_path)
    shutil.copytree(catalog / "data", tmp_path / "data")
    with pytest.raises(AssertionError, match="sha256sum"):
        engine.build(
            DOCKERFILE, tmp_path, "localhost/wrong:v1", BASE=STAND_IN, NAME="reef", DIGEST="sha256:" + "0" * 64
        )


def test_the_base_is_the_catalog_s() -> None:
    """The Dockerfile names the base that the project's catalog pins."""
    base = yaml.safe_load((PROJECT / "datasets.yml").read_text())["defaults"]["base"]
    assert f'ARG BASE="{base}"' in DOCKERFILE.read_text().splitlines()


def test_the_dockerfile_is_clean() -> None:
    """Hadolint reports nothing."""
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", "--ignore", "DL3008", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
