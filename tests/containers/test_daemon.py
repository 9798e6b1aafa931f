"""``docker-daemon:``: an image streamed into a real engine through its Docker API."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from datapack.errors import ImageError
from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from datapack.oci.spec import Descriptor, canonical_json
from datapack.progress import Silent
from datapack.targets.daemon import open_daemon
from tests.conftest import Catalog
from tests.containers.engines import PROJECT, Engine

if TYPE_CHECKING:
    from pathlib import Path


CATALOG = """
defaults: {{base: "oci:{base}"}}
datasets:
  reef: {{title: A reef, licence: CC0-1.0, versions: {{v1: {{sources: [{{local: files}}]}}}}}}
"""


def compress(layout: Path, copy: Path) -> None:
    """Copy a base with its layer gzipped and with Docker's media types, as Docker Hub serves Alpine."""
    shutil.copytree(layout, copy)
    blobs = copy / "blobs" / "sha256"

    def put(content: bytes, media_type: str) -> dict[str, object]:
        descriptor = Descriptor.of(media_type, content)
        (blobs / descriptor.digest.removeprefix("sha256:")).write_bytes(content)
        return descriptor.to_json()

    source = Layout(layout)
    manifest = read_json(source, source.image())
    tar = source.blob(manifest["layers"][0]["digest"]).read_bytes()
    manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    manifest["layers"] = [put(gzip.compress(tar), "application/vnd.docker.image.rootfs.diff.tar.gzip")]
    image = put(canonical_json(manifest), manifest["mediaType"])
    (copy / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": [image]}))


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog with a few fetched files; each test builds in a copy of it."""
    root = tmp_path_factory.mktemp("fetched")
    (root / "datasets.yml").write_text(CATALOG.format(base="base"))
    (root / "files").mkdir()
    for number in range(20):
        (root / "files" / f"{number}.bin").write_bytes(bytes([number]) * 100_000)
    catalog = Catalog(root)
    catalog.ok("fetch", "reef@v1")
    return catalog


@pytest.fixture(params=["plain", "gzip"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, stand_in_base: Path, fetched: Catalog) -> Path:
    """That catalog with the stand-in base uncompressed, or compressed as in registries."""
    if request.param == "gzip":
        compress(stand_in_base, tmp_path / "base")
        stand_in_base = tmp_path / "base"
    root = fetched.copy(tmp_path / "catalog").root
    (root / "datasets.yml").write_text(CATALOG.format(base=stand_in_base))
    return root


def build(folder: Path, target: str, host: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datapack", "build", "reef@v1", "--to", target]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": host}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.every_engine
def test_the_engine_has_the_same_image_and_runs_it(folder: Path, engine: Engine) -> None:
    """The image has the same ID in the engine as in the layout, and no other name there; its import succeeds."""
    done = build(folder, "docker-daemon:", engine.url)
    assert done.returncode == 0, done.stderr
    assert "target     docker-daemon:reef:v1" in done.stdout
    assert build(folder, "oci:out", engine.url).returncode == 0
    command = [sys.executable, "-m", "datapack", "verify", "oci:out"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    verified = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert verified.stdout.startswith("verified, every byte"), verified.stderr
    layout = Layout(folder / "out")
    manifest, config = layout.image().digest, read_json(layout, layout.image())["config"]["digest"]
    expected = manifest if engine.containerd else config
    shown = engine.run("image", "inspect", "--format", "{{.Id}}", "reef:v1").stdout.strip()
    assert shown.removeprefix("sha256:") == expected.removeprefix("sha256:")
    assert engine.run("images", "--quiet", "--filter", "dangling=true").stdout.split() == []
    (folder / "outputs").mkdir()
    ran = engine.run("run", "--rm", "--network", "none", "-v", f"{folder}/outputs:/safe_outputs", "reef:v1")
    assert ran.stdout.strip().splitlines()[-1].startswith("IMPORT OK reef@v1 sha256:")
    engine.run("image", "rm", "--force", "reef:v1")


@pytest.mark.every_engine
@pytest.mark.parametrize("folder", ["gzip"], indirect=True)
def test_an_archive_is_loaded_as_it_is(folder: Path, engine: Engine) -> None:
    """Each engine's own `load` reads an oci-archive, and runs the image by the dataset's name."""
    assert build(folder, "oci-archive:reef.tar", engine.url).returncode == 0
    loaded = engine.run("load", "--input", folder / "reef.tar").stdout
    assert "reef:v1" in loaded
    assert "reef@v1" in engine.run("run", "--rm", "--network", "none", "reef:v1", "--list").stdout
    engine.run("image", "rm", "--force", "reef:v1")


@pytest.mark.every_engine
@pytest.mark.parametrize("folder", ["gzip"], indirect=True)
def test_a_file_that_changed_leaves_nothing_in_the_engine(folder: Path, engine: Engine) -> None:
    """If the build stops half-way, the engine keeps nothing of the image."""
    assert build(folder, "oci:out", engine.url).returncode == 0
    victim = folder / "data/reef/v1/data/9.bin"
    victim.chmod(0o644)
    victim.write_bytes(b"\xff" * 100_000)
    done = build(folder, "docker-daemon:reef:broken", engine.url)
    assert done.returncode == 3
    assert "9.bin: the file differs from the bag's manifest" in done.stderr
    assert engine.run("image", "inspect", "reef:broken", check=False).returncode != 0


def test_no_engine_is_one_clear_line(folder: Path) -> None:
    """Without an engine, the message names the socket and says what to start."""
    done = build(folder, "docker-daemon:", f"unix://{folder}/nobody.sock")
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert line == (
        f"error: unix://{folder}/nobody.sock: no container engine answers; "
        "start Docker, or 'podman system service', and name its socket in DOCKER_HOST"
    )


@pytest.mark.parametrize("folder", ["plain"], indirect=True)
@pytest.mark.parametrize(
    "name", ["reef", "Reef:v1", "reef:v1@sha256:" + "0" * 64, "a b:v1", ":v1", "reef:v1:x", "sha256:ab"]
)
def test_a_name_that_engines_refuse_is_refused_first(folder: Path, name: str) -> None:
    """Before anything is sent, or an engine is asked, a wrong name is one clear line."""
    done = build(folder, f"docker-daemon:{name}", f"unix://{folder}/nobody.sock")
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert line == f"error: {name!r}: not the name of an image in an engine: expected NAME:TAG in small letters"


@pytest.mark.parametrize(
    "name", ["reef:v1", "group/reef:v1", "localhost:5000/group/reef:v1", "ghcr.io/group/reef:v1.0-x"]
)
def test_names_that_engines_accept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have a registry and namespaces; that no engine answers is found next."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ImageError, match="no container engine answers"), open_daemon(name, Silent()):
        pass
