"""Pushed images in the engines: pulled by digest and run, and refused if a layer was altered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import proxies, registries
from tests.containers.engines import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.containers.engines import Engine


CATALOG = """
defaults: {{base: "oci:{base}"}}
datasets:
  reef:
    title: A reef
    licence: CC0-1.0
    versions:
      v1: {{sources: [{{local: files}}]}}
      v2: {{parent: v1, sources: [{{local: files}}, {{local: more}}]}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registries.serve(tmp_path) as name:
        yield name


@pytest.fixture
def folder(tmp_path: Path, stand_in_base: Path) -> Path:
    (tmp_path / "datasets.yml").write_text(CATALOG.format(base=stand_in_base))
    for name, count in (("files", 20), ("more", 2)):
        (tmp_path / name / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / name / name / f"{number}.bin").write_bytes(os.urandom(50_000))
    (tmp_path / "outputs").mkdir()
    return tmp_path


def datapack(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "datapack", *arguments]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def pull(engine: Engine, name: str) -> subprocess.CompletedProcess[str]:
    insecure = ["--tls-verify=false"] if engine.name == "podman" else []  # docker accepts http on loopback
    return engine.run("pull", *insecure, name, check=False)


def pushed(output: str) -> str:
    found = re.search(r"^image +(\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


@pytest.mark.every_engine
def test_pulled_by_its_digest_it_runs(folder: Path, registry: str, engine: Engine) -> None:
    """Both engines pull the image by the digest that the push printed, and its import succeeds, even with --strict."""
    image = pushed(datapack(folder, "push", "reef@v1", "--to", f"docker://{registry}/group/reef"))
    done = pull(engine, image)
    assert done.returncode == 0, done.stdout
    (folder / "outputs").chmod(0o777)
    strict = ("--read-only", "--user=12345:54321", "--cap-drop=all", "--network=none")
    ran = engine.run("run", "--rm", *strict, "-v", f"{folder}/outputs:/safe_outputs", image)
    assert ran.stdout.strip().splitlines()[-1].startswith("IMPORT OK reef@v1 sha256:")
    assert datapack(folder, "verify", "outputs/reef/v1").startswith("verified, every byte")
    engine.run("image", "rm", "--force", image)


def test_of_the_next_version_only_the_new_layers_are_pulled(folder: Path, registry: str, engine: Engine) -> None:
    """An engine that has v1 downloads only v2's new layers: it does not request shared layers again."""
    with proxies.Proxy(registry) as proxy:
        first = pushed(datapack(folder, "push", "reef@v1", "--to", f"docker://{proxy.name}/reef"))
        second = datapack(folder, "push", "reef@v2", "--to", f"docker://{proxy.name}/reef")
        assert "there already" in second
        assert pull(engine, first).returncode == 0
        before = proxy.received
        assert pull(engine, pushed(second)).returncode == 0
        assert 100_000 < proxy.received - before < 300_000  # of 1.1 MB
        engine.run("image", "rm", "--force", first, pushed(second))


@pytest.mark.every_engine
def test_a_layer_that_was_altered_is_not_pulled(folder: Path, registry: str, engine: Engine) -> None:
    """A bit that changed between the registry and the engine ends the pull."""
    with proxies.Proxy(registry) as proxy:
        image = pushed(datapack(folder, "push", "reef@v1", "--to", f"docker://{proxy.name}/reef"))
        proxy.add("GET", "/blobs/", proxies.flip_in_download, times=10**6)
        done = pull(engine, image)
        assert done.returncode != 0
        assert proxy.faults[-1].times < 10**6  # it did get an altered layer
        assert engine.run("image", "inspect", image, check=False).returncode != 0
