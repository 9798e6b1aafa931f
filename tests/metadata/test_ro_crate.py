"""The crate: bagit and roc-validator accept it, and it has each MUST of the Five Safes profile."""

import hashlib
import json
import re
import subprocess
import uuid
from pathlib import Path

import bagit
import pytest
import rocrate
from rocrate.rocrate import ROCrate
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.utils.http import HttpRequester
from rocrate_validator.utils.uri import URI

from tests.bags import contents
from tests.metadata.datasets import dataset, reef

FILES = {
    "train.json": b'{"images": [{"id": 1, "file_name": "a.png"}]}',
    "a b.png": b"a",
    "100%.png": b"",
    "sub/ö": b"b",
}
EVIL = "Br<own> \"%20\" & 'Sons' #1"
REQUEST = {"person": "Carberry, Josiah", "orcid": "0000-0002-1825-0097", "affiliation": EVIL, "project": f"Reef {EVIL}"}
# w3id.org is not reachable here. rocrate has the context of RO-Crate 1.3, where one IRI is another than in 1.1.
TERMS = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_bytes())["@context"]
CONTEXTS = {
    "https://w3id.org/ro/crate/1.2/context": TERMS,
    "https://w3id.org/ro/crate/1.1/context": {
        **TERMS,
        "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    },
}


class _Answer:
    status_code, headers, ok = 200, {"Content-Type": "application/ld+json"}, True

    def __init__(self, url: str) -> None:
        self.url, self.text = url, json.dumps({"@context": CONTEXTS[url]})
        self.content = self.text.encode()

    def json(self):
        return json.loads(self.text)


class _Offline:
    """Answers with the contexts, and with nothing else."""

    cache = None

    def get(self, url, **_):
        if url in CONTEXTS:
            return _Answer(url)
        raise OSError(f"not reachable: {url}")

    head = get

    def close(self) -> None:
        """Do nothing."""


def problems(crate: Path, profile: str, cache: Path) -> list[str]:
    """Return what roc-validator says breaks a MUST of a profile."""
    settings = ValidationSettings(
        rocrate_uri=URI(str(crate)),
        profile_identifier=profile,
        requirement_severity=Severity.REQUIRED,
        cache_path=cache,
    )
    HttpRequester().session = _Offline()
    result = services.validate(settings)
    assert result.passed() == (not result.get_issues())
    return [f"{issue.check.name}: {issue.message}" for issue in result.get_issues()]


def entities(crate: Path) -> dict[str, dict]:
    """Return the entities of a crate by their ids."""
    graph = json.loads((crate / "ro-crate-metadata.json").read_bytes())["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def references(value: object) -> set[str]:
    """Return the ids that a value refers to."""
    if isinstance(value, dict):
        return {value["@id"]} if value.keys() == {"@id"} else set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The metadata of a dataset with odd names that somebody asks for, with the sha512 of its files."""
    catalog = dataset(tmp_path_factory.mktemp("asked") / "odd", FILES, requested_by=REQUEST, title=f"Odd {EVIL}")
    assert "Five Safes RO-Crate 0.4" in catalog.ok("metadata", "odd@v1", "--sha512")
    return catalog


@pytest.fixture
def crate(asked):
    return asked.root / "dist" / "odd-v1.metadata" / "crate"


def test_validators_find_nothing_that_is_required(crate, tmp_path):
    """bagit, roc-validator for RO-Crate 1.2 and for the workflow's crate, and the rocrate library accept it."""
    bagit.Bag(str(crate)).validate()
    assert problems(crate / "data", "ro-crate-1.2", tmp_path / "cache") == []
    assert problems(crate / "data" / "workflow", "workflow-ro-crate", tmp_path / "other") == []
    read = ROCrate(crate / "data")
    assert read.mainEntity.id == "workflow/"
    assert read.get(read.root_dataset["mentions"].id)["agent"]["name"] == REQUEST["person"]


def test_the_validator_sees_what_is_wrong(crate, tmp_path):
    """Without a licence, the same validation fails: the context that it gets is good enough to see that."""
    subprocess.run(["cp", "-r", crate / "data", tmp_path / "data"], check=True)
    path = tmp_path / "data" / "ro-crate-metadata.json"
    document = json.loads(path.read_bytes())
    del next(entity for entity in document["@graph"] if entity["@id"] == "./")["license"]
    path.write_text(json.dumps(document))
    assert "license" in str(problems(tmp_path / "data", "ro-crate-1.2", tmp_path / "cache"))


def test_each_must_of_the_five_safes_profile(crate):
    """https://w3id.org/5s-crate/0.4, in its order; what it says of results and reviews comes after the request."""
    # The payload manifest is present with sha-512, of BagIt 1.0 or later; the tag manifest too.
    assert (crate / "bagit.txt").read_text().startswith("BagIt-Version: 1.0\n")
    payload = {path: content for path, content in contents(crate).items() if path.startswith("data/")}
    lines = "".join(f"{hashlib.sha512(payload[path]).hexdigest()}  {path}\n" for path in sorted(payload))
    assert (crate / "manifest-sha512.txt").read_text() == lines
    assert (crate / "tagmanifest-sha512.txt").is_file()
    # The metadata file is at the top of the payload, and bag-info.txt has an identifier, a UUID URN.
    found = entities(crate / "data")
    (identifier,) = re.findall(
        r"^External-Identifier: (urn:uuid:.*)$", (crate / "bag-info.txt").read_text(), re.MULTILINE
    )
    assert uuid.UUID(identifier).version == 5
    # Nothing outside the crate is referred to by a path; each reference is an entity, a file or a URI.
    for name in found.keys() | references(list(found.values())):
        assert ".." not in name
        assert not name.startswith("/")
        assert name in found or re.match("https?://", name), name
    # RO-Crate 1.2 is declared, the root is './' and conforms to the profile.
    assert found["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    root = found["./"]
    assert root["@type"] == "Dataset"
    assert root["conformsTo"] == {"@id": "https://w3id.org/5s-crate/0.4"}
    assert "Profile" in found["https://w3id.org/5s-crate/0.4"]["@type"]
    # The main entity is a Workflow RO-Crate, which is there.
    workflow = found[root["mainEntity"]["@id"]]
    assert workflow["@type"] == "Dataset"
    assert {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"} in workflow["conformsTo"]
    inner = entities(crate / "data" / workflow["@id"])
    main = inner[inner["./"]["mainEntity"]["@id"]]
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} <= set(main["@type"])
    assert (crate / "data" / workflow["@id"] / main["@id"]).read_bytes().startswith(b"#!/bin/sh")
    # The CreateAction is mentioned by the root, refers to the workflow, and has an id of its own.
    action = found[root["mentions"]["@id"]]
    assert action["@type"] == "CreateAction"
    assert action["instrument"] == root["mainEntity"]
    assert identifier.rpartition(":")[2] not in action["@id"]
    assert action["actionStatus"] == "http://schema.org/PotentialActionStatus"
    # The agent is a person, with an affiliation; the source organisation is a project, of which the agent is a member.
    agent, project = found[action["agent"]["@id"]], found[root["sourceOrganization"]["@id"]]
    assert agent["@type"] == "Person"
    assert found[agent["affiliation"]["@id"]]["name"] == REQUEST["affiliation"]
    assert project["@type"] == "Project"
    assert project["name"] == REQUEST["project"]
    assert agent["memberOf"] == root["sourceOrganization"]
    # Each input has a data entity.
    assert found[action["object"]["@id"]]["@type"] == "Dataset"
    assert action["object"] in root["hasPart"]


def test_the_sha512_manifest_is_that_of_the_payload(asked, crate):
    """``sha512sum -c`` accepts it in the dataset's bag, whatever its files are called, and it has each of them."""
    manifest = crate / "data" / "odd-v1-manifest-sha512.txt"
    done = subprocess.run(
        ["sha512sum", "-c", manifest], cwd=asked.root / "data/odd/v1", capture_output=True, check=True
    )
    assert done.stdout.count(b": OK\n") == len(FILES)


def test_a_file_that_changed_gets_no_checksum(asked, tmp_path):
    """One byte of one file that nothing else reads: with --sha512 the command refuses, and writes nothing."""
    catalog = asked.copy(tmp_path / "odd")
    path = catalog.root / "data/odd/v1/data/a b.png"
    path.unlink()
    path.write_bytes(b"x")
    before = contents(catalog.root / "dist")
    assert "a b.png: the file differs from the bag's manifest" in catalog.fails(
        "metadata", "odd@v1", "--sha512", status=3
    )
    assert contents(catalog.root / "dist") == before
    assert "not read" in catalog.ok("metadata", "odd@v1")
    path.unlink()
    path.symlink_to("/dev/zero")
    catalog.fails("metadata", "odd@v1", "--sha512")
    assert catalog.leftovers() == []


def test_without_a_requester_the_crate_claims_no_profile(tmp_path):
    """The shipped reef's crate is a valid RO-Crate, and no Five Safes crate; a line says what that needs."""
    catalog = reef(tmp_path / "reef")
    out = catalog.ok("metadata", "reef@v1")
    assert "missing    datasets.reef.requested_by" in out
    crate = catalog.root / "dist" / "reef-v1.metadata" / "crate"
    bagit.Bag(str(crate)).validate()
    assert problems(crate / "data", "ro-crate-1.2", tmp_path / "cache") == []
    assert "5s-crate" not in (crate / "data" / "ro-crate-metadata.json").read_text()
