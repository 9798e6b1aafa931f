"""The Dockerfiles of the trainers: they say the same of the program, and each package that they install is pinned."""

import os
import re
import shutil
import subprocess

import pytest

from datapack import __version__
from tests.conftest import PROJECT

DOCKER = PROJECT / "docker"
KINDS = ("nv-pyt", "pyt", "piped-pyt")
LISTS = (DOCKER / "requirements.txt", DOCKER / "piped-pyt" / "requirements.txt")
PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")


def text_of(kind: str) -> str:
    return (DOCKER / kind / "Dockerfile").read_text()


def pins(path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_version_is_the_project_s(kind):
    """The one ARG that the guide's CI takes for the tag says which version of the program is in the image."""
    name = kind.upper().replace("-", "_")
    assert re.findall(r"^ARG (\w+)_VERSION=\"(.*)\"$", text_of(kind), re.MULTILINE) == [(name, __version__)]


def test_the_three_say_the_same_of_the_program():
    """From the weights on, the three differ in their names alone."""
    plain = set()
    for kind in KINDS:
        end = text_of(kind).partition("# The weights that a detector starts from")[2]
        version = f"${{{kind.upper().replace('-', '_')}_VERSION}}"
        assert end.count(f'"{kind}"') == end.count(version) == 1
        plain.add(end.replace(f'"{kind}"', '"NAME"').replace(version, "VERSION"))
    assert len(plain) == 1
    assert "ENTRYPOINT" in plain.pop()


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.relative_to(DOCKER)))
def test_every_package_has_one_version(path):
    """A list has exact versions in order, and nothing that says where from."""
    lines = pins(path)
    assert all(PIN.fullmatch(line) for line in lines)
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(set(names))


def test_no_package_takes_the_place_of_the_base_s_torch():
    """What all three install has neither torch nor numpy in it, and nothing that piped-pyt installs beside them."""
    ours, piped = ({line.partition("==")[0].lower() for line in pins(path)} for path in LISTS)
    assert not ours & piped
    assert {"torch", "torchvision", "numpy"} <= piped


@pytest.fixture
def clone(tmp_path):
    """What scripts/images.sh needs of a clone, its bases pinned."""
    (tmp_path / "docker").mkdir()
    for kind in KINDS:
        (tmp_path / "docker" / kind).mkdir()
        pinned = re.sub(
            r'^ARG BASE="([^"@]*).*"$', rf'ARG BASE="\1@sha256:{"0" * 64}"', text_of(kind), flags=re.MULTILINE
        )
        (tmp_path / "docker" / kind / "Dockerfile").write_text(pinned)
    return tmp_path


def build(clone, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PROJECT / "scripts" / "images.sh", *arguments]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)


def test_images_are_tagged_with_their_versions(clone):
    """Each image is built for linux/amd64 and tagged with what its Dockerfile says; the engine here is echo."""
    done = build(clone, "echo", *KINDS)
    tags = [f"build --platform linux/amd64 --file docker/{k}/Dockerfile --tag {k}:{__version__} ." for k in KINDS]
    assert (done.returncode, done.stdout.splitlines()) == (0, tags)


def test_no_image_stands_on_a_base_that_is_not_pinned(clone):
    """One base without its digest, and nothing is built at all."""
    dockerfile = clone / "docker" / "pyt" / "Dockerfile"
    dockerfile.write_text(re.sub(r"@sha256:0{64}", "", dockerfile.read_text()))
    done = build(clone, "echo", *KINDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "docker/pyt/Dockerfile: the base is not pinned by its digest: run 'make pin' first\n"


TRIVY = """#!/bin/sh
echo "$@" >> trivy.log
case $1 in
    image) test -f "$3" && echo '{}' > "$7" ;;
    sbom) case $7 in *nv-pyt*) exit "${FOUND:-0}" ;; esac ;;
esac
"""
ENGINE = """#!/bin/sh
test "$1 $2" = "save --output" && : > "$3"
"""


def scan(clone, *images: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/scan.sh with an engine and a Trivy that do what they are asked to and find ``FOUND`` in nv-pyt."""
    tools = clone / "tools"
    tools.mkdir(exist_ok=True)
    for name, text in (("trivy", TRIVY), ("engine", ENGINE)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    command = [PROJECT / "scripts" / "scan.sh", "engine", "sbom", *images]
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", **environment}
    return subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, check=False)


def test_a_scan_leaves_a_list_of_each_image(clone):
    """An SBOM an image, named by its tag, and nothing else, also of a scan that was killed before."""
    (clone / "sbom" / ".scan").mkdir(parents=True)
    (clone / "sbom" / ".scan" / "image.tar").write_text("half of one")
    done = scan(clone, *KINDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (clone / "sbom").iterdir()} == {f"{kind}-{__version__}.cdx.json" for kind in KINDS}


def test_a_grave_flaw_fails_the_scan_once_all_images_were_looked_at(clone):
    """The image is named; the others were scanned all the same."""
    done = scan(clone, *KINDS, FOUND="9")
    assert done.returncode == 1
    expected = f"not fit to be released: nv-pyt:{__version__}: take a newer base or newer requirements\n"
    assert done.stderr == expected
    assert len((clone / "trivy.log").read_text().splitlines()) == 2 * len(KINDS)


def test_a_scan_that_could_not_look_is_no_finding(clone):
    """Where Trivy itself fails, its status is the scan's, and nothing is said about the image."""
    done = scan(clone, *KINDS, FOUND="1")
    assert (done.returncode, done.stderr) == (1, "")
    assert len((clone / "trivy.log").read_text().splitlines()) == 2


def test_without_trivy_nothing_counts_as_scanned(clone):
    """Not installed is an error, not a scan that found nothing."""
    command = ["/bin/sh", PROJECT / "scripts" / "scan.sh", "engine", "sbom", "pyt"]
    done = subprocess.run(command, cwd=clone, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "trivy is not installed: no image was scanned: see https://trivy.dev\n",
    )


def test_an_engine_that_fails_ends_it(clone):
    """The first image that can't be built is the last one that is tried."""
    assert shutil.which("false")
    assert build(clone, "false", *KINDS).returncode == 1
    assert build(clone, "podman").returncode == 2
