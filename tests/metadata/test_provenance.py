"""Provenance: the statement has the standard form, is true, and is the same for the same build."""

import base64
import hashlib
import json
import re
import subprocess
from urllib.parse import urlsplit

import pytest

from datapack import __version__
from datapack.build.build import Options, build
from datapack.image.stand_in import STAND_IN
from datapack.metadata.provenance import BUILD_TYPE, BUILDER, _without_secrets
from datapack.oci.layout import Layout
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.workspace.folder import Workspace
from tests.catalog.test_git import git
from tests.conftest import PROJECT, fact, make_base, make_catalog
from tests.registries import push, serve

HEX = {"sha256": 64, "md5": 32, "gitCommit": 40}


@pytest.fixture
def catalog(fetched):
    return fetched


def check_descriptor(value: dict) -> None:
    """Check a value against in-toto's ResourceDescriptor v1."""
    assert value.keys() <= {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
    assert value.keys() & {"uri", "digest", "content"}
    for key in value.keys() & {"name", "uri", "downloadLocation", "mediaType"}:
        assert isinstance(value[key], str)
        assert value[key]
    for key in value.keys() & {"uri", "downloadLocation"}:
        assert urlsplit(value[key]).scheme
    for algorithm, digest in value.get("digest", {}).items():
        assert re.fullmatch(f"[0-9a-f]{{{HEX[algorithm]}}}", digest)
    base64.b64decode(value.get("content", ""), validate=True)
    assert isinstance(value.get("annotations", {}), dict)


def check_statement(value: dict) -> None:
    """Check a value against in-toto's Statement v1 and SLSA's Provenance v1, field by field."""
    assert value.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    assert value["subject"]
    for subject in value["subject"]:
        check_descriptor(subject)
        assert subject["digest"]
    assert len({subject["name"] for subject in value["subject"]}) == len(value["subject"])
    predicate = value["predicate"]
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    assert definition.keys() <= {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert isinstance(definition["externalParameters"], dict)
    for dependency in definition["resolvedDependencies"]:
        check_descriptor(dependency)
    assert run.keys() <= {"builder", "metadata", "byproducts"}
    assert run["builder"].keys() <= {"id", "builderDependencies", "version"}
    for uri in (definition["buildType"], run["builder"]["id"]):
        assert urlsplit(uri).scheme
        assert urlsplit(uri).netloc
    assert all(isinstance(part, str) for pair in run["builder"]["version"].items() for part in pair)


def read(catalog, path: str = "dist/reef-v1.provenance.json") -> dict:
    statement = json.loads((catalog.root / path).read_bytes())
    check_statement(statement)
    return statement


def dependencies(statement: dict) -> dict[str, dict]:
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert len({dependency["name"] for dependency in found}) == len(found)
    return {dependency["name"]: dependency for dependency in found}


def test_statement_matches_the_files_on_disk(catalog):
    """Subject, parameters and dependencies agree with what is on disk."""
    output = catalog.ok("build", "reef@v1")
    assert fact(output, "provenance") == "dist/reef-v1.provenance.json"
    statement = read(catalog)
    image = Layout(catalog.root / "dist/reef-v1").image()
    assert statement["subject"] == [{"name": "reef:v1", "digest": {"sha256": image.digest.removeprefix("sha256:")}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "reference": "reef@v1",
        "base": Layout(catalog.root / "base").image().digest,
        "sources": [{"local": "source"}],
    }
    manifest = (catalog.root / "data/reef/v1/manifest-sha256.txt").read_bytes()
    pointer = (catalog.root / "data/reef/v1.dvc").read_text()
    base = Layout(catalog.root / "base").image().digest
    assert dependencies(statement) == {
        "base": {"name": "base", "digest": {"sha256": base.removeprefix("sha256:")}},
        "manifest-sha256.txt": {
            "name": "manifest-sha256.txt",
            "digest": {"sha256": hashlib.sha256(manifest).hexdigest()},
            "annotations": {
                "files": len(manifest.splitlines()),
                "bytes": sum(
                    path.stat().st_size for path in (catalog.root / "data/reef/v1/data").rglob("*") if path.is_file()
                ),
            },
        },
        "data/reef/v1": {
            "name": "data/reef/v1",
            "digest": {"md5": re.search(r"md5: ([0-9a-f]{32})\.dir", pointer)[1]},
        },
    }
    assert statement["predicate"]["runDetails"]["builder"]["version"] == {"datapack": __version__}


def test_what_the_checks_found(catalog):
    """The statement has each finding of `datapack check`, and the reason of those that the catalog accepts."""
    found = json.loads(catalog.run("check", "reef@v1", "--json").stdout)["findings"]
    assert found
    code = found[0]["code"]
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace("      v1:\n", f"      v1:\n        silence: {{{code}: known}}\n", 1))
    catalog.ok("build", "reef@v1")
    checks, _ = read(catalog)["predicate"]["runDetails"]["byproducts"]
    noted = checks["annotations"]
    assert noted["datapack"] == __version__
    assert [(one["code"], one["count"]) for one in noted["findings"]] == [(one["code"], one["count"]) for one in found]
    assert [one["code"] for one in noted["findings"] if one.get("accepted") == "known"] == [code]
    canonical = json.dumps(noted, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert checks["digest"] == {"sha256": hashlib.sha256(canonical).hexdigest()}


def test_it_names_the_sbom(catalog):
    """The second by-product is the SBOM, by the digest of the file that lies beside the image."""
    catalog.ok("build", "reef@v1")
    _, sbom = read(catalog)["predicate"]["runDetails"]["byproducts"]
    digest = hashlib.sha256((catalog.root / "dist/reef-v1.cdx.json").read_bytes()).hexdigest()
    assert sbom == {
        "name": "sbom.cdx.json",
        "digest": {"sha256": digest},
        "mediaType": "application/vnd.cyclonedx+json",
    }


def test_documented_example_is_valid():
    """The page behind the two URIs names them, and its example has the standard form and our fields."""
    page = (PROJECT / "docs/reference/provenance-fields.md").read_text()
    assert f"## `buildType`: `{BUILD_TYPE}`" in page
    assert f"## `builder.id`: `{BUILDER}`" in page
    example = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    check_statement(example)
    definition = example["predicate"]["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    assert example["predicate"]["runDetails"]["builder"]["id"] == BUILDER
    for name in (*definition["externalParameters"], "manifest-sha256.txt", "base"):
        assert f"| `{name}` |" in page


def test_same_build_gives_the_same_bytes(catalog):
    """The time, the target and the folder are not in the statement; an identical statement is not written again."""
    catalog.ok("build", "reef@v1")
    path = catalog.root / "dist/reef-v1.provenance.json"
    first, stat = path.read_bytes(), path.stat()
    catalog.ok("build", "reef@v1")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    moved = catalog.root.rename(catalog.root.with_name("moved"))
    (moved / "dist").rename(moved / "gone")
    catalog.root = moved
    catalog.ok("build", "reef@v1")
    assert (moved / "dist/reef-v1.provenance.json").read_bytes() == first


def test_statement_is_written_beside_the_image(catalog):
    """It is beside a layout or an archive under their names, and in dist for a pipe; the bytes are the same."""
    places = {
        "oci:out/layout": "out/layout.provenance.json",
        "oci:out/other/": "out/other.provenance.json",
        "oci-archive:out/reef.tar": "out/reef.tar.provenance.json",
        "oci-archive:-": "dist/reef-v1.provenance.json",
    }
    for target, place in places.items():
        command = catalog.command("build", "reef@v1", "--to", target)
        done = subprocess.run(command, **catalog.options(), capture_output=True, check=True)
        assert fact((done.stdout + done.stderr).decode(errors="replace"), "provenance") == place
    assert len({(catalog.root / place).read_bytes() for place in places.values()}) == 1
    assert not catalog.leftovers()


def test_build_returns_the_path_of_the_statement(catalog):
    """Users of the library learn where the statement is."""
    built = build(Workspace(catalog.root), Reference("reef", "v1"), Options(), Silent())
    assert built.provenance == catalog.root / "dist/reef-v1.provenance.json"
    (subject,) = json.loads(built.provenance.read_bytes())["subject"]
    assert f"sha256:{subject['digest']['sha256']}" == built.image.digest


def test_new_image_has_a_new_statement(catalog):
    """If the image changes, so does its statement."""
    catalog.ok("build", "reef@v1")
    first = read(catalog)
    (catalog.root / "source/z").write_bytes(b"Z")
    image = fact(catalog.ok("build", "reef@v1", "--refresh", "--update-lock"), "image")
    second = read(catalog)
    assert second["subject"][0]["digest"]["sha256"] == image.removeprefix("sha256:")
    for name in ("manifest-sha256.txt", "data/reef/v1"):
        assert dependencies(first)[name]["digest"] != dependencies(second)[name]["digest"]


def test_temporary_file_of_a_killed_build_is_removed(catalog):
    """The next build removes a temporary file beside the statement."""
    (catalog.root / "dist").mkdir()
    (catalog.root / "dist/.datapack-0123").write_bytes(b"{")
    catalog.ok("build", "reef@v1")
    read(catalog)
    assert not catalog.leftovers()


def test_temporary_files_outside_the_workspace_stay(catalog):
    """Outside the catalog's folder, such a file may belong to a running process."""
    other = catalog.root.parent / ".datapack-0123"
    other.write_bytes(b"{")
    catalog.ok("build", "reef@v1", "--to", "oci:../layout")
    assert other.exists()
    read(catalog, "../layout.provenance.json")


@pytest.mark.registry
def test_base_from_a_registry_has_a_package_url(catalog, tmp_path):
    """A scanner can find the base by its package URL; the parameter is what the catalog says."""
    with serve(tmp_path) as registry:
        text = push(catalog.root / "base", registry, "library/tiny:1.0")
        catalog.ok("build", "reef@v1", "--base", text)
    statement = read(catalog)
    digest = text.rpartition(":")[2]
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["base"] == text
    assert dependencies(statement)["base"] == {
        "name": "base",
        "uri": f"pkg:oci/tiny@sha256%3A{digest}?repository_url={registry}/library/tiny&tag=1.0",
        "digest": {"sha256": digest},
    }


def test_stand_in_base_is_marked(catalog):
    """A base that is only for tests is marked in the statement too."""
    make_base(catalog.root / "stand-in", **{STAND_IN: "true"})
    catalog.ok("build", "reef@v1", "--base", "oci:stand-in")
    assert dependencies(read(catalog))["base"]["annotations"] == {STAND_IN: "true"}


def test_statement_has_the_commit_of_the_catalog(catalog):
    """The statement has the catalog's commit, which does not change when only the lock is committed."""
    root = catalog.root
    git(root, "init", "--quiet")
    git(root, "remote", "add", "origin", "https://me:secret@example.org/data.git")
    git(root, "add", "datasets.yml")
    git(root, "commit", "--quiet", "--message", "first")
    commit = git(root, "rev-parse", "HEAD")
    catalog.ok("build", "reef@v1")
    first = (root / "dist/reef-v1.provenance.json").read_bytes()
    assert dependencies(read(catalog))["datasets.yml"] == {
        "name": "datasets.yml",
        "uri": f"git+https://example.org/data.git@{commit}",
        "digest": {"gitCommit": commit},
        "annotations": {"changed": False},
    }
    assert b"secret" not in first
    git(root, "add", "datasets.lock", "data/reef/v1.dvc")
    git(root, "commit", "--quiet", "--message", "the lock")
    catalog.ok("build", "reef@v1")
    assert (root / "dist/reef-v1.provenance.json").read_bytes() == first
    (root / "datasets.yml").write_text((root / "datasets.yml").read_text() + "# a change\n")
    catalog.ok("build", "reef@v1")
    assert dependencies(read(catalog))["datasets.yml"]["annotations"] == {"changed": True}


def test_sources_are_written_without_defaults(tmp_path):
    """Sources are written as in the catalog, without default values."""
    catalog = make_catalog(tmp_path / "other")
    path = catalog.root / "datasets.yml"
    (catalog.root / "list.json").write_text('{"images": []}')
    path.write_text(
        path.read_text()
        + "          - {local: list.json, into: lists}\n"
        + "          - coco: lists/list.json\n            into: images\n"
        + "            mirrors: {'http://a.example/x': ['http://b.example']}\n"
    )
    catalog.ok("build", "reef@v1")
    assert read(catalog)["predicate"]["buildDefinition"]["externalParameters"]["sources"] == [
        {"local": "source"},
        {"local": "list.json", "into": "lists"},
        {"coco": "lists/list.json", "into": "images", "mirrors": {"http://a.example/x": ["http://b.example"]}},
    ]


def test_no_url_keeps_its_password_or_signature():
    """The catalog refuses passwords in URLs; if one got there anyway, the statement does not have it."""
    value = {
        "https://me:secret@a.example": ["https://me:secret@b.example/x?y=1", {"url": "http://secret@c.example"}, 7],
        "url": "https://d.example/x?y=1&X-Amz-Signature=secret&X-Amz-Credential=secret",
    }
    assert _without_secrets(value) == {
        "https://a.example": ["https://b.example/x?y=1", {"url": "http://c.example"}, 7],
        "url": "https://d.example/x?y=1",
    }


@pytest.mark.parametrize("what", ["folder", "file"])
def test_path_of_the_statement_is_taken(catalog, what):
    """A file at the path of the statement is replaced; a folder is one clear error."""
    path = catalog.root / "dist/reef-v1.provenance.json"
    path.parent.mkdir()
    if what == "folder":
        path.mkdir()
        assert "reef-v1.provenance.json: a folder is where the provenance should go" in catalog.fails(
            "build", "reef@v1"
        )
    else:
        path.write_text("old")
        catalog.ok("build", "reef@v1")
        read(catalog)
