"""The Dockerfiles of the trainers: they install the same program, and every package is pinned."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from datapack import __version__
from tests.conftest import PROJECT

DOCKER = PROJECT / "docker"
PYTORCH = ("nv-pyt", "pyt", "piped-pyt")
KINDS = (*PYTORCH, "tf")
LISTS = sorted(DOCKER.rglob("*.txt"))
PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")


def text_of(kind: str) -> str:
    return (DOCKER / kind / "Dockerfile").read_text()


def pins(path) -> list[str]:
    """Return the lines ``name==version`` of a list, without the hashes below them."""
    lines = path.read_text().splitlines()
    return [line.removesuffix(" \\") for line in lines if line and not line.startswith(("#", "    --hash="))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_version_is_that_of_the_project(kind):
    """The version in the Dockerfile, from which images get their tags, is the project's."""
    name = kind.upper().replace("-", "_")
    assert re.findall(r"^ARG (\w+)_VERSION=\"(.*)\"$", text_of(kind), re.MULTILINE) == [(name, __version__)]


def plain(kind: str, begin: str) -> str:
    """Return a Dockerfile from the line that begins so, without what is the image's own."""
    end = text_of(kind).partition(begin)[2]
    version = f"${{{kind.upper().replace('-', '_')}_VERSION}}"
    other = ".keras" if kind in PYTORCH else ".pytorch"
    assert end.count(f'"{kind}"') == end.count(version) == end.count(f'"{other}"') == 1
    return end.replace(f'"{kind}"', "NAME").replace(version, "VERSION").replace(f'"{other}"', "OTHER")


def test_all_install_the_same_program():
    """From the program on, the Dockerfiles differ only in their names, the framework and the licences of weights."""
    (end,) = {plain(kind, "# The program.").replace(" AND BSD-3-Clause", "") for kind in KINDS}
    assert "ENTRYPOINT" in end


def test_all_images_of_pytorch_have_the_same_weights():
    """From the weights on, their Dockerfiles differ only in their names; the image of TensorFlow has none."""
    assert len({plain(kind, "# The weights that a detector starts from") for kind in PYTORCH}) == 1
    assert "weights/" not in text_of("tf")
    assert "TRAINERS_WEIGHTS" not in text_of("tf")


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.relative_to(DOCKER)))
def test_every_package_has_one_version(path):
    """A list has exact versions in order, and no URLs."""
    lines = pins(path)
    assert all(PIN.fullmatch(line) for line in lines)
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.relative_to(DOCKER)))
def test_every_package_has_its_hashes(path):
    """Each package has the sha256 of the wheels that fit, sorted; what a list needs is written by `make lock`."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    assert re.fullmatch(rf"(?:{PIN.pattern}(?: \\\n    --hash=sha256:[0-9a-f]{{64}})+\n)+", text)
    for block in text.split("==")[1:]:
        found = re.findall("sha256:([0-9a-f]+)", block)
        assert found == sorted(set(found))


@pytest.mark.parametrize("kind", KINDS)
def test_pip_installs_only_wheels_with_a_hash(kind):
    """Every pip of a Dockerfile checks hashes, takes wheels alone, and installs nothing that no list names."""
    installs = text_of(kind).replace("\\\n", " ").count("pip install ")
    flags = "--require-hashes --no-deps --no-cache-dir --only-binary :all:"
    assert installs
    assert text_of(kind).count(f"pip install {flags}") == installs


def names(*path: str) -> set[str]:
    return {line.partition("==")[0].lower() for line in pins(DOCKER.joinpath(*path))}


def test_no_package_replaces_the_torch_of_a_base():
    """The common list has neither torch nor numpy, and nothing from the list of piped-pyt."""
    piped = names("piped-pyt", "requirements.txt")
    assert not names("requirements.txt") & piped
    assert {"torch", "torchvision", "numpy"} <= piped


@pytest.mark.tf
def test_no_package_replaces_what_tensorflow_needs_of_its_base():
    """Of what TensorFlow itself needs, the lists of its image have only Keras and plain Python packages."""
    ours = names("requirements.txt") | names("tf", "keras.txt") | names("tf", "cuda.txt")
    needed = {"tensorflow"}
    while (
        new := {
            re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-")
            for name in needed
            for line in metadata.requires(name) or ()
            if "extra ==" not in line
        }
        - needed
    ):
        needed |= new
    assert {"numpy", "keras", "h5py"} <= needed
    assert ours & needed <= {"keras", "packaging", "six", "typing-extensions"}
    cuda = {re.split("[<>=]", line)[0] for line in metadata.requires("tensorflow") or () if "and-cuda" in line}
    assert names("tf", "cuda.txt") == cuda


def copied(kind: str) -> dict[str, str]:
    """Return the sources of `COPY` that come from the packages, each with its destination below /opt/trainers."""
    text = text_of(kind).replace("\\\n", " ")
    lines = [line.split()[2:] for line in text.splitlines() if line.startswith("COPY --chmod")]
    return {
        source: destination.removeprefix("/opt/trainers/") + (Path(source).name if destination.endswith("/") else "")
        for *sources, destination in lines
        for source in sources
        if source.partition("/")[0] in {"datapack", "trainers"}
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_all_modules_that_the_trainers_import(kind, tmp_path):
    """With only what a Dockerfile copies, every module imports; those of a framework are left out here."""
    for source, destination in copied(kind).items():
        (tmp_path / destination).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PROJECT / source).is_dir() else shutil.copy
        copy(PROJECT / source, tmp_path / destination)
    code = (
        "import pkgutil, trainers; from pathlib import Path\n"
        "assert Path(trainers.__file__).is_relative_to(Path.cwd())\n"
        "names = [m.name for m in pkgutil.walk_packages(trainers.__path__, 'trainers.')]\n"
        "names = [name for name in names if name.split('.')[1] not in {'pytorch', 'keras'}]\n"
        "print(len([__import__(name) for name in names]))\n"
        "from trainers.report.report import _TEMPLATE; assert _TEMPLATE.is_file()\n"
        "import datapack.page as page; assert (Path(page.__file__).parent / 'base.html.j2').is_file()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_build_context_has_all_files_that_are_copied():
    """.dockerignore lets through every file of the packages that a Dockerfile copies, and no other of datapack."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!/") for line in lines if line.startswith("!")}
    wanted = {source for kind in KINDS for source in copied(kind)}
    assert allowed >= wanted
    assert {path for path in allowed if path.startswith("datapack")} - wanted == {
        "datapack/image/import-batch.sh",
        "datapack/image/import-json.sh",
        "datapack/image/import.sh",
    }


@pytest.fixture
def clone(tmp_path):
    """Make the part of a clone that scripts/images.sh needs, with pinned bases."""
    (tmp_path / "build" / "docs").mkdir(parents=True)
    (tmp_path / "build" / "docs" / "index.html").touch()
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
    """Each image is built for linux/amd64 and tagged with its version; the engine here is echo."""
    done = build(clone, "echo", *KINDS)
    tags = [f"build --platform linux/amd64 --file docker/{k}/Dockerfile --tag {k}:{__version__} ." for k in KINDS]
    assert (done.returncode, done.stdout.splitlines()) == (0, tags)


def test_no_image_is_based_on_an_unpinned_base(clone):
    """If one base has no digest, no image is built at all."""
    dockerfile = clone / "docker" / "pyt" / "Dockerfile"
    dockerfile.write_text(re.sub(r"@sha256:0{64}", "", dockerfile.read_text()))
    done = build(clone, "echo", *KINDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "docker/pyt/Dockerfile: the base is not pinned by its digest: run 'make pin' first\n"


def test_a_failed_build_ends_the_script(clone):
    """After the first image that can't be built, no other is tried."""
    assert shutil.which("false")
    assert build(clone, "false", *KINDS).returncode == 1
    assert build(clone, "podman").returncode == 2


def test_no_image_is_built_without_the_docs(clone):
    """A build by hand without the docs says what to run, in one line."""
    (clone / "build" / "docs" / "index.html").unlink()
    done = build(clone, "echo", *KINDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "build/docs: the images contain the docs, which are not built: run 'make docs' first\n"
