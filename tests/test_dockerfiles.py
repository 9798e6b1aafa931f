"""The Dockerfiles of the trainers: they say the same of the program, and each package that they install is pinned."""

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


def test_an_engine_that_fails_ends_it(clone):
    """The first image that can't be built is the last one that is tried."""
    assert shutil.which("false")
    assert build(clone, "false", *KINDS).returncode == 1
    assert build(clone, "podman").returncode == 2
