"""The SBOM of an image: valid CycloneDX, the same bytes each time, and with the packages that Trivy finds."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from datapack.bag.model_facts import ModelFacts, TrainedOn
from datapack.errors import ImageError
from datapack.hashing import digest_of
from datapack.image.base import open_base
from datapack.metadata.packages import read_system
from datapack.metadata.sbom import _model_card
from tests import registries
from tests.conftest import PROJECT, Catalog, fact
from tests.scanning import ALPINE, CVE, DEBIAN, PACKAGE, VERSION, write_database, write_layout

if TYPE_CHECKING:
    from pathlib import Path

CATALOG = """\
defaults: {{base: "oci:base"}}
datasets:
  reef:
    title: A small <reef>
    licence: {licence}
    publisher: The Reef Institute
    homepage: https://example.org/reef
    versions: {{v1: {{sources: [{{local: source}}]}}}}
"""


def build(root: Path, files: dict[str, bytes], licence: str = "CC-BY-4.0") -> tuple[Catalog, str]:
    """Build the image of a dataset on a base with these files; return the catalog and what the build printed."""
    (root / "source").mkdir(parents=True)
    (root / "source" / "a.csv").write_text("a,b\n1,2\n")
    (root / "datasets.yml").write_text(CATALOG.format(licence=licence))
    write_layout(root / "base", files, Env=["PATH=/bin"])
    catalog = Catalog(root)
    return catalog, catalog.ok("build", "reef@v1")


def check(content: bytes) -> dict:
    """Validate an SBOM with CycloneDX's own schema, which allows no other key; return it."""
    try:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        registries.unavailable("cyclonedx-python-lib is not installed")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    return json.loads(content)


def parts(bom: dict) -> dict[str, dict]:
    return {part["bom-ref"]: part for part in bom["components"]}


def run(trivy: Path, *arguments: object, cache: Path) -> dict:
    command = [trivy, *arguments, "--quiet", "--cache-dir", cache, "--skip-version-check", "--disable-telemetry"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, env=os.environ).stdout)


def test_it_says_what_the_image_is_made_of(tmp_path):
    """The base's packages, the program's files with their hashes, and the dataset with licence and digest."""
    catalog, printed = build(tmp_path / "catalog", ALPINE)
    bom = check((catalog.root / "dist" / "reef-v1.cdx.json").read_bytes())
    found = parts(bom)
    assert f"sha256:{bom['metadata']['component']['hashes'][0]['content']}" == fact(printed, "image")
    data = found["dataset"]
    assert (data["type"], data["name"], data["version"]) == ("data", "reef", "v1")
    assert data["licenses"] == [{"expression": "CC-BY-4.0"}]
    assert (data["supplier"], data["publisher"]) == ({"name": "The Reef Institute"}, "The Reef Institute")
    assert f"sha256:{data['hashes'][0]['content']}" == fact(printed, "dataset")
    program = {part["name"]: part["hashes"][0]["content"] for part in found["program"]["components"]}
    script = (PROJECT / "datapack" / "image" / "import.sh").read_bytes()
    assert f"sha256:{program['/usr/local/bin/import']}" == digest_of(script)
    assert (found["system"]["name"], found["system"]["version"]) == ("alpine", "3.22.2")
    url = f"pkg:apk/alpine/{PACKAGE}@{VERSION}?arch=x86_64&distro=3.22.2"
    (zlib,) = [part for part in bom["components"] if part["name"] == PACKAGE]
    assert (zlib["purl"], zlib["licenses"]) == (url, [{"expression": "Zlib"}])


def test_the_same_image_gives_the_same_bytes(tmp_path):
    """Another folder and another name of the base on disk change nothing, and it has no time of its own."""
    catalogs = [build(tmp_path / name, ALPINE)[0] for name in ("one", "two")]
    first, second = ((catalog.root / "dist" / "reef-v1.cdx.json").read_bytes() for catalog in catalogs)
    assert first == second
    assert json.loads(first)["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"


def test_a_licence_of_no_list_has_its_name(tmp_path):
    """A text that is no SPDX expression is the licence's name."""
    catalog, _ = build(tmp_path, ALPINE, licence="Ask <b>the</b> institute")
    bom = check((tmp_path / "dist" / "reef-v1.cdx.json").read_bytes())
    assert parts(bom)["dataset"]["licenses"] == [{"license": {"name": "Ask <b>the</b> institute"}}]
    catalog.ok("remove", "reef@v1", "--dist", "--yes")
    assert not (tmp_path / "dist" / "reef-v1.cdx.json").exists()


@pytest.mark.parametrize("files", [ALPINE, DEBIAN], ids=["alpine", "debian"])
def test_its_packages_are_those_that_trivy_finds(tmp_path, trivy, files):
    """Name, version and package URL of each package of the base are what Trivy's own SBOM of the image has."""
    catalog, _ = build(tmp_path / "catalog", files)
    ours = check((catalog.root / "dist" / "reef-v1.cdx.json").read_bytes())
    arguments = ("image", f"--input={catalog.root / 'dist' / 'reef-v1'}", "--format=cyclonedx")
    theirs = run(trivy, *arguments, cache=tmp_path / "cache")

    def libraries(bom: dict) -> set[tuple[str, str]]:
        return {(part["name"], part["version"]) for part in bom["components"] if part["type"] == "library"}

    assert libraries(ours) == libraries(theirs)
    assert len(libraries(ours)) == 2
    urls = [{part["purl"] for part in bom["components"] if "purl" in part} for bom in (ours, theirs)]
    plain = [{url.partition("?")[0].replace("@1%3A", "@") for url in found} for found in urls]  # Trivy's epoch is apart
    assert plain[0] == plain[1]


def test_trivy_finds_a_vulnerability_by_the_sbom_alone(tmp_path, trivy):
    """Who has only the SBOM can look for vulnerabilities that are known later."""
    catalog, _ = build(tmp_path / "catalog", ALPINE)
    write_database(tmp_path / "cache")
    arguments = ("sbom", catalog.root / "dist" / "reef-v1.cdx.json", "--format=json", "--skip-db-update")
    report = run(trivy, *arguments, cache=tmp_path / "cache")
    found = [one["VulnerabilityID"] for part in report["Results"] for one in part.get("Vulnerabilities", ())]
    assert found == [CVE]


@pytest.mark.registry
def test_it_is_attached_to_the_pushed_image(tmp_path):
    """A push attaches it once, however often it is repeated, beside the provenance."""
    catalog, _ = build(tmp_path / "catalog", ALPINE)
    with registries.serve(tmp_path) as registry:
        for _ in range(2):
            image = fact(catalog.ok("push", "reef@v1", f"docker://{registry}/reef"), "image")
        name, digest = image.split("@")
        url = f"docker://{name.rpartition(':')[0] if ':' in name.rpartition('/')[2] else name}"
        command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"{url}:{digest.replace(':', '-')}"]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["manifests"]
    assert [entry["artifactType"] for entry in listed].count("application/vnd.cyclonedx+json") == 1
    assert (catalog.root / "dist" / "reef-v1.cdx.json").exists()


def test_what_a_higher_layer_removes_is_not_listed(tmp_path, monkeypatch):
    """Whiteouts remove packages and whole folders, what names no package is left out, and a huge list is refused."""
    above = {"opt/trainers/.wh.site-packages": b"", "x/y.dist-info/METADATA": b"Name: a\n"}
    base = write_layout(tmp_path / "base", DEBIAN, above, Env=["PATH=/bin"])
    opened = open_base(f"oci:{base}", tmp_path, tmp_path / "cache", Mock())
    (package,) = read_system(opened).packages
    assert package.url == "pkg:deb/debian/zlib1g@1%3A1.2.13-1?arch=amd64&distro=debian-12"
    monkeypatch.setattr("datapack.metadata.packages._LIMIT", 10)
    with pytest.raises(ImageError, match="is larger than 10 bytes"):
        read_system(opened)


def test_a_model_has_a_card(tmp_path):
    """What model.json says about a model is in its card."""
    facts = ModelFacts("fcos", "a.pth", trained_on=TrainedOn(text="COCO"), metrics={"mAP": 0.39})
    card = _model_card(facts)
    assert card["modelParameters"]["modelArchitecture"] == "fcos"
    assert card["modelParameters"]["datasets"] == [{"type": "dataset", "name": "COCO"}]
    assert card["quantitativeAnalysis"] == {"performanceMetrics": [{"type": "mAP", "value": "0.39"}]}
