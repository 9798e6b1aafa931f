"""Scans of images with the real Trivy: what they find, what they accept, and what they refuse to pass over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT
from tests.scanning import ALPINE, CVE, FIXED, PACKAGE, SECRET, VERSION, write_database, write_layout

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("trivy")
IMPORT = {"Entrypoint": ["/usr/local/bin/import"], "Env": ["PATH=/bin"]}


@pytest.fixture
def cache(tmp_path) -> Path:
    write_database(tmp_path / "cache")
    return tmp_path / "cache"


def run(*arguments: object, scripts: Path = PROJECT / "scripts", **variables: object):
    command = [sys.executable, scripts / "scan.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": PROJECT, **variables}
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


def scan(image: Path, *more: object, **variables: object):
    """Scan an image without the database, unless the variables say something else; return the run and the summary."""
    result = image.parent / "scan.json"
    done = run("scan", image, result, *more, **{"SCAN_DATABASE": "no", **variables})
    return done, json.loads(result.read_bytes())["Summary"] if result.exists() else None


def test_the_dockerfiles_are_clean_or_each_exception_has_a_reason(tmp_path):
    """Trivy finds nothing in our Dockerfiles but the two exceptions, which say why."""
    dockerfiles = sorted((PROJECT / "docker").glob("*/Dockerfile"))
    done, summary = scan(write_layout(tmp_path / "image", ALPINE, **IMPORT), *dockerfiles)
    assert (done.returncode, summary["Passed"], summary["Misconfigurations"]) == (0, True, [])
    exceptions = {(one["ID"], one["Where"]) for one in summary["Exceptions"]}
    places = ["the image's configuration", *map(str, dockerfiles)]
    assert exceptions == {(identity, place) for identity in ("DS-0002", "DS-0026") for place in places}
    assert all(len(one["Reason"]) > 100 for one in summary["Exceptions"])


def test_a_known_vulnerability_with_a_fix_stops_the_image(tmp_path, cache):
    """The package is named with the version that fixes it; the result has the database's day."""
    image = write_layout(tmp_path / "image", ALPINE, **IMPORT)
    done, summary = scan(image, SCAN_DATABASE="cached", TRIVY_CACHE_DIR=cache)
    assert done.returncode == 9
    assert done.stderr == "error: do not release this image: see above what was found\n"
    assert f"{CVE} critical: {PACKAGE} {VERSION}, fixed in {FIXED}" in done.stdout
    assert summary["Vulnerabilities"] == {"CRITICAL": 1}
    assert summary["Database"] == "2026-11-27T06:00:00Z"
    assert (summary["System"], summary["Passed"]) == ("alpine 3.22.2", False)


def test_without_the_database_the_result_says_what_was_not_checked(tmp_path):
    """Told to do without, the scan passes, and says everywhere that vulnerabilities were not checked."""
    done, summary = scan(write_layout(tmp_path / "image", ALPINE, **IMPORT))
    assert (done.returncode, done.stderr) == (0, "")
    assert "vulnerabilities    not checked\n" in done.stdout
    assert (summary["Vulnerabilities"], summary["Database"]) == ("not checked", None)
    assert "VulnerabilityDB" not in json.loads((tmp_path / "scan.json").read_bytes())


@pytest.mark.parametrize("database", ["yes", "cached"])
def test_a_database_that_is_not_there_fails_the_scan(tmp_path, database):
    """One line with a status of its own, and no result: not even an older one is left."""
    (tmp_path / "scan.json").write_text("an older result")
    nowhere = {"TRIVY_CACHE_DIR": tmp_path / "cache", "TRIVY_DB_REPOSITORY": "127.0.0.1:1/trivy-db:2"}
    done, summary = scan(write_layout(tmp_path / "image", ALPINE, **IMPORT), SCAN_DATABASE=database, **nowhere)
    assert (done.returncode, done.stdout, summary) == (8, "", None)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no database of vulnerabilities, so nothing was scanned")
    assert "SCAN_DATABASE=no scans without it" in line


def test_a_secret_in_a_layer_stops_the_image(tmp_path):
    """The file is named; the secret itself is neither shown nor written."""
    image = write_layout(tmp_path / "image", {**ALPINE, "root/.aws/credentials": SECRET}, **IMPORT)
    done, summary = scan(image)
    assert done.returncode == 9
    assert "aws-access-key-id: AWS Access Key ID, in /root/.aws/credentials" in done.stdout
    assert summary["Secrets"][0]["Line"] == 1
    assert SECRET.split()[-1].decode() not in done.stdout + (tmp_path / "scan.json").read_text()


def test_the_configuration_of_an_image_is_checked_like_a_dockerfile(tmp_path):
    """A password among the variables and an open SSH port are found, though no Dockerfile is known."""
    settings = {**IMPORT, "Env": ["DATABASE_PASSWORD=x\nUSER nobody"], "ExposedPorts": {"22/tcp": {}}}
    done, summary = scan(write_layout(tmp_path / "image", ALPINE, **settings))
    assert done.returncode == 9
    assert {one["ID"] for one in summary["Misconfigurations"]} == {"DS-0004", "DS-0031"}
    assert {one["Where"] for one in summary["Misconfigurations"]} == {"the image's configuration"}
    assert "DS-0002" in {one["ID"] for one in summary["Exceptions"]}  # a variable can't fake a user


def test_a_misconfigured_dockerfile_stops_the_image(tmp_path):
    """What is wrong in the image's Dockerfile is named with its line."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM alpine:latest\nRUN cd /tmp && sudo true\n")
    done, summary = scan(write_layout(tmp_path / "image", ALPINE, **IMPORT), dockerfile)
    assert done.returncode == 9
    assert {"DS-0001", "DS-0010"} <= {one["ID"] for one in summary["Misconfigurations"]}
    dockerfile.write_text("this is no Dockerfile\n")
    done, summary = scan(tmp_path / "image", dockerfile)
    assert (done.returncode, summary) == (2, None)
    assert done.stderr == f"error: {dockerfile}: Trivy can't read it, so the scan has no result\n"


def test_no_setting_makes_the_scan_find_less(tmp_path, cache, monkeypatch):
    """Neither Trivy's variables nor its files in the working folder suppress anything."""
    image = write_layout(tmp_path / "image", {**ALPINE, "root/.aws/credentials": SECRET}, **IMPORT)
    (tmp_path / "trivy.yaml").write_text("severity: [LOW]\n")
    (tmp_path / ".trivyignore").write_text(f"{CVE}\naws-access-key-id\n")
    tricks = {"TRIVY_SEVERITY": "LOW", "TRIVY_SCANNERS": "license", "TRIVY_IGNORE_UNFIXED": "true"}
    command = [sys.executable, PROJECT / "scripts" / "scan.py", "scan", image, "scan.json"]
    variables = {"PYTHONPATH": str(PROJECT), "SCAN_DATABASE": "cached", "TRIVY_CACHE_DIR": str(cache), **tricks}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | variables, capture_output=True, check=False)
    summary = json.loads((tmp_path / "scan.json").read_bytes())["Summary"]
    assert (done.returncode, summary["Vulnerabilities"], len(summary["Secrets"])) == (9, {"CRITICAL": 1}, 1)


def test_an_exception_needs_a_reason_and_the_scanner_its_hash(tmp_path, trivy):
    """An exception without a statement, and a program that is not the pinned one, are refused before anything runs."""
    shutil.copytree(PROJECT / "scripts", tmp_path / "scripts")
    image = write_layout(tmp_path / "image", ALPINE, **IMPORT)
    exceptions = tmp_path / ".trivyignore.yaml"
    exceptions.write_text("misconfigurations:\n  - id: DS-0002\n    statement: ' '\n")
    done = run("scan", image, tmp_path / "r.json", scripts=tmp_path / "scripts", SCAN_DATABASE="no")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {exceptions}:2: an exception without a reason: expected a 'statement'\n",
    )
    exceptions.write_text("misconfigurations: []\n")
    (tmp_path / "scripts" / "trivy.sha256").write_text(f"{'0' * 64}  another one\n")
    done = run("scan", image, tmp_path / "r.json", scripts=tmp_path / "scripts", SCAN_DATABASE="no")
    assert done.returncode == 3
    assert "not the scanner that was checked, so it was not run" in done.stderr
    done = run("scan", image, tmp_path / "r.json", scripts=tmp_path / "scripts", SCAN_DATABASE="no", TRIVY=trivy)
    assert done.returncode == 9, "another program may be named, and DS-0002 is no exception here"


def test_what_can_not_be_scanned_ends_with_one_line(tmp_path):
    """A missing archive, another kind of file, a missing scanner and a broken one."""
    image = write_layout(tmp_path / "image", ALPINE, **IMPORT)
    (tmp_path / "text.tar").write_text("no archive\n" * 100)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'a line' >&2\nexit 1\n")
    broken.chmod(0o755)
    for arguments, variables, expected in (
        ((tmp_path / "none.tar",), {}, "no such archive"),
        ((tmp_path / "text.tar",), {}, "not an archive"),
        ((image,), {"TRIVY": tmp_path / "none"}, "no scanner, so nothing was scanned"),
        ((image,), {"TRIVY": broken}, "Trivy failed, so the scan has no result: found a line"),
        ((image,), {"SCAN_DATABASE": "maybe"}, "expected yes, cached or no, found 'maybe'"),
    ):
        done, summary = scan(*arguments, **variables)
        assert summary is None
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert expected in line


def test_the_sbom_lists_the_packages_of_the_base(tmp_path):
    """Trivy's own SBOM of an archive is CycloneDX with the packages of Alpine."""
    image = write_layout(tmp_path / "image", ALPINE, **IMPORT)
    assert run("sbom", image, tmp_path / "sbom.json").returncode == 0
    components = json.loads((tmp_path / "sbom.json").read_bytes())["components"]
    assert {(one["name"], one.get("version")) for one in components} >= {(PACKAGE, VERSION), ("musl", "1.2.5-r10")}
