"""The container guide: the reviewer's page is that of the Dockerfiles, its commands work, and bad images are found."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from datapack.ingress.dockerfile import Dockerfile
from datapack.ingress.dockerfile_rules import DockerfileJudge
from datapack.ingress.guide import RULES
from datapack.ingress.image_files import image_files
from datapack.ingress.image_rules import Context, ImageJudge, recheck
from datapack.ingress.reference import IMAGES, reference
from datapack.oci.image import read_image
from datapack.oci.layout import Layout
from tests.conftest import PROJECT, make_base

TEXTS = {rule.text: rule.key for rule in RULES}
PAGE = PROJECT / "docs" / "reference" / "container-guide.md"


def judge(name: str):
    """Judge one of our Dockerfiles."""
    path = f"docker/{name}/Dockerfile"
    return DockerfileJudge(Dockerfile.read(PROJECT / path, path)).results()


def judge_text(tmp_path, text: str) -> dict[str, str]:
    """Return the status of each rule, of a Dockerfile with this text."""
    (tmp_path / "Dockerfile").write_text(text)
    results = DockerfileJudge(Dockerfile.read(tmp_path / "Dockerfile", "docker/x/Dockerfile")).results()
    return {TEXTS[one.rule]: one.status for one in results}


def judge_image(layout, **beside) -> dict[str, str]:
    """Return the status of each rule, of an image on disk."""
    storage = Layout(layout)
    image = read_image(storage, storage.image(), "an image")
    results = ImageJudge(image, image_files(image), Context(f"oci:{layout}", **beside)).results()
    return {TEXTS[one.rule]: one.status for one in results}


def test_the_page_is_that_of_the_dockerfiles():
    """`make reference` was run after the last change of a Dockerfile or of a rule."""
    assert PAGE.read_text() == reference(PROJECT)
    assert {path.parent.name for path in (PROJECT / "docker").glob("*/Dockerfile")} == set(IMAGES)


@pytest.mark.parametrize("name", IMAGES)
def test_each_line_of_the_evidence_is_shown_by_its_command(name):
    """The command of a rule runs with public tools, and prints the line that the evidence names."""
    for one in judge(name):
        program = shlex.split(one.recheck)[0]
        if program not in {"grep", "git"}:
            continue
        done = subprocess.run(one.recheck, cwd=PROJECT, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode <= (program == "grep"), (one.recheck, done.stderr)
        lines = re.findall(rf"docker/{name}/Dockerfile:(\d+)", one.evidence)
        shown = {line.partition(":")[0] for line in done.stdout.splitlines()}
        shown |= _continued(name, shown)
        assert set(lines) <= shown, (one.recheck, one.evidence)


def _continued(name: str, shown: set[str]) -> set[str]:
    """Return the first lines of the instructions that have these lines."""
    lines = (PROJECT / "docker" / name / "Dockerfile").read_text().splitlines()
    starts = set()
    for line in map(int, filter(str.isdecimal, shown)):
        before = (number for number in range(line, 0, -1) if number == 1 or not lines[number - 2].endswith("\\"))
        starts.add(str(next(before)))
    return starts


def test_hadolint_finds_nothing():
    """What the page says of the linter is so."""
    program = shutil.which("hadolint") or str(PROJECT / ".venv" / "bin" / "hadolint")
    files = sorted(str(path) for path in (PROJECT / "docker").glob("*/Dockerfile"))
    done = subprocess.run([program, *files], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_not_met_says_why():
    """No rule is left without evidence, and the agreed exceptions are named as such."""
    for name in IMAGES:
        assert all(one.evidence for one in judge(name))
    data = {TEXTS[one.rule]: one for one in judge("data")}
    assert {key for key, one in data.items() if one.status != "met"} == {"no data", "user"}
    assert "agreed exception" in data["no data"].evidence
    assert "rootless Podman maps root to the researcher" in data["user"].evidence


def test_a_bad_dockerfile_is_told_so(tmp_path):
    """Each rule that a Dockerfile can break is not met by one that breaks it."""
    found = judge_text(
        tmp_path,
        "FROM ubuntu:latest\nRUN apt-get update\nRUN apt-get install -y curl\nADD a.tar.gz /app/\n"
        "COPY data/x.csv /safe_data/x.csv\nUSER root\n",
    )
    broken = {"directories", "base", "no data", "complete", "user", "pinned", "grouped", "copied", "minimal"}
    broken |= {"unique tag", "version", "executables", "starts", "temporary files", "inputs"}
    assert {key for key, status in found.items() if status == "not met"} == broken


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("@sha256:", "@md5:"), "pinned"),
        (("COPY --chmod=555", "COPY"), "executables"),
        (("COPY --chmod=555", "COPY --chmod=755"), "executables"),
        (("COPY --chmod=555", "COPY --chown=1000 --chmod=555"), "executables"),
        (("/safe_data /safe_outputs /scratch", "/safe_data /scratch"), "directories"),
        (("DATA_VERSION", "DATA"), "version"),
        (("alpine", "ubuntu"), "minimal"),
        (("docker.io/library/", ""), "base"),
        (("image.licenses", "image.none"), "complete"),
    ],
)
def test_one_fault_breaks_its_rule(tmp_path, change, key):
    """A change of our own Dockerfile for the worse is seen, in that rule."""
    text = (PROJECT / "docker" / "data" / "Dockerfile").read_text()
    assert judge_text(tmp_path, text)[key] == "met"
    assert judge_text(tmp_path, text.replace(*change))[key] == "not met"


def test_our_image_keeps_what_can_be_read_from_it(built):
    """Of an image that datapack built, only the agreed exceptions, and what this test leaves out, are not met."""
    found = judge_image(built.root / "dist" / "reef-v1", base_compared=True, commit="1" * 40, rehearsed="IMPORT OK")
    off_the_registry = {"base", "pinned"}  # the test's base is a folder
    assert {key for key, status in found.items() if status == "not met"} == {
        "no data",
        "user",
        "scanned",
        *off_the_registry,
    }
    assert "not read" not in found.values()


def test_a_foreign_image_is_not_met(tmp_path):
    """An image without our settings breaks the rules, and nothing is claimed that it does not show."""
    make_base(tmp_path / "foreign", architecture="arm64")
    found = judge_image(tmp_path / "foreign")
    assert {key for key, status in found.items() if status == "met"} == {"grouped", "copied", "starts"}
    assert found["platform"] == found["directories"] == found["user"] == found["complete"] == "not met"
    assert found["linted"] == found["offline"] == found["no data"] == "not read"


@pytest.mark.skipif(not (shutil.which("skopeo") and shutil.which("jq")), reason="skopeo or jq is not installed")
def test_the_commands_for_an_image_work(built):
    """skopeo and jq read from the image what the evidence says."""
    where = "oci:dist/reef-v1"
    printed = {}
    for rule in RULES:
        command = recheck(rule, where)
        if command.startswith("skopeo inspect"):
            done = subprocess.run(command, cwd=built.root, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode <= 1, (command, done.stderr)
            assert not done.stderr
            printed[rule.key] = done.stdout
    assert printed["platform"].split() == ["linux", "amd64"]
    assert "reef@v1" in printed["no data"]
    assert json.loads(printed["starts"].splitlines()[0]) == ["/usr/local/bin/import"]
    assert printed["unique tag"].strip() == "v1"
    assert "CC0-1.0" in printed["complete"]
    assert printed["user"].strip() in {"null", '""'}


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
@pytest.mark.parametrize("source", ["oci:dist/reef-v1", "oci-archive:reef.tar"])
def test_trivy_reads_what_skopeo_copied(built, trivy, source):
    """The command for the scan gives an SBOM of a layout and of skopeo's own archive."""
    copied = ["skopeo", "copy", "--quiet", "oci:dist/reef-v1", "oci-archive:reef.tar:reef"]
    subprocess.run(copied, cwd=built.root, check=True)
    (command,) = (recheck(rule, source) for rule in RULES if rule.key == "scanned")
    environment = {
        **os.environ,
        "PATH": f"{trivy.parent}:{os.environ['PATH']}",
        "TRIVY_CACHE_DIR": str(built.root / "cache"),
    }
    done = subprocess.run(
        command, cwd=built.root, env=environment, shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"bomFormat": "CycloneDX"' in done.stdout


def test_a_name_with_signs_of_the_shell_stays_a_name():
    """The commands quote the image, whatever its name is."""
    for rule in RULES:
        command = recheck(rule, "oci:a b;rm -rf $HOME")
        assert "oci:a b;rm -rf $HOME" not in command.replace("'oci:a b;rm -rf $HOME'", "")
