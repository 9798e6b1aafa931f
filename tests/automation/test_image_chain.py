"""The way of a data image through the targets that the workflows run, against a registry on 127.0.0.1."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from examples.stand_in_base import build as build_stand_in_base
from tests import registries
from tests.clones import Clone, make_clone
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("trivy")
#: Trivy's database is not part of the tests.
WITHOUT_DATABASE = {"SCAN_DATABASE": "no"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose data image is based on a stand-in, with a registry on this machine and a key."""
    place = tmp_path_factory.mktemp("chain")
    build_stand_in_base(place / "base")
    key = place / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", place / "public.pem"], check=True)
    (place / "clone").mkdir()
    with registries.serve(place) as registry:
        variables = {"IMAGE": "data", "REF": "reef@v1", "BASE": f"oci:{place}/base", "REGISTRY": f"{registry}/Group"}
        yield make_clone(place / "clone", **variables, **WITHOUT_DATABASE, INSECURE="1")


@pytest.mark.registry
def test_an_image_goes_from_its_sources_into_a_registry(clone: Clone) -> None:
    """What was scanned is pushed, signed and described: one digest all the way, and its SBOM is attached to it."""
    assert "image      sha256:" in clone.ok("image-build", VISIBILITY="public")
    assert "vulnerabilities    not checked" in clone.ok("image-scan")
    clone.ok("image-sbom")
    clone.ok("image-push")
    names = dict(line.split("=", 1) for line in clone.ok("image-names").splitlines())
    facts = json.loads((clone.root / names["folder"] / "image.json").read_bytes())
    assert names["digest"] == facts["digest"]
    assert names["name"] == clone.variables["REGISTRY"].lower() + "/reef"
    key = (clone.root.parent / "key.pem").read_text()
    signed = clone.make("image-attest", SIGNING_KEY=key)
    assert signed.returncode == 0, signed.stderr
    assert "PRIVATE" not in signed.stdout + signed.stderr
    image = f"docker://{names['name']}@{names['digest']}"
    command = [
        sys.executable,
        "-m",
        "datapack",
        "verify",
        image,
        "--insecure",
        "--key",
        clone.root.parent / "public.pem",
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "signed" in done.stdout
    attached = json.loads(
        subprocess.run(
            [
                "skopeo",
                "inspect",
                "--raw",
                "--tls-verify=false",
                f"docker://{names['name']}:sha256-{facts['digest'][7:]}",
            ],
            check=True,
            capture_output=True,
        ).stdout
    )
    assert "application/vnd.cyclonedx+json" in {entry.get("artifactType") for entry in attached["manifests"]}


@pytest.mark.registry
def test_a_tag_that_exists_keeps_its_image(clone: Clone) -> None:
    """Pushing the same image again changes nothing; another image of the same version is refused."""
    clone.ok("image-build")
    clone.ok("image-push")
    clone.ok("image-push")
    other = clone.root.parent / "other"
    shutil.copytree(
        clone.root, other, symlinks=True, ignore=shutil.ignore_patterns(".dvc", "data", "datasets.lock", "build")
    )
    (other / "examples" / "reef" / "train.json").write_text("{}")
    changed = Clone(other, clone.variables)
    changed.ok("image-build")
    assert "the registry has another image of this name" in changed.fails("image-push")
