"""Shared fixtures: a tiny base image, and a folder with a catalog."""

import hashlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import hypothesis
import pytest

from datapack.hashing import digest_of
from datapack.oci.spec import CONFIG, INDEX, LAYER, MANIFEST
from tests import forks, registries

PROJECT = Path(__file__).parents[1]
LONGEST_ID = 100  # characters
#: Files whose tests start whole builds many times, or wait for slow servers: `make check` has no time for them.
SLOW_FILES = frozenset(
    PROJECT / "tests" / name
    for name in (
        "automation/test_image_chain.py",
        "automation/test_pipeline_scripts.py",
        "build/test_diff.py",
        "build/test_private.py",
        "build/test_targets.py",
        "cli/test_completion.py",
        "doctor/test_doctor.py",
        "download/test_downloader.py",
        "coco/test_rows.py",
        "docs/test_site.py",
        "fetch/dvc/test_foreign.py",
        "fetch/dvc/test_safety.py",
        "fetch/kinds/test_kaggle.py",
        "fetch/kinds/test_real_run.py",
        "fetch/kinds/test_subset.py",
        "fetch/kinds/test_storage.py",
        "fetch/kinds/test_storage_errors.py",
        "image/test_stand_in.py",
        "ingress/test_evidence.py",
        "ingress/test_record.py",
        "metadata/test_croissant.py",
        "metadata/test_modelpack.py",
        "metadata/test_provenance.py",
        "metadata/test_ro_crate.py",
        "signing/test_bags.py",
        "signing/test_images.py",
        "signing/test_pushed.py",
        "test_fathom24.py",
        "test_reef.py",
        "test_tutorial.py",
        "trainers/dataset/test_check_images.py",
        "trainers/dataset/test_nothing_to_learn.py",
        "trainers/dataset/test_verify.py",
        "trainers/evaluation/test_against_pycocotools.py",
        "trainers/test_main.py",
        "trainers/test_prediction.py",
        "verify/test_known_base.py",
        "web/test_deadlines.py",
    )
)

#: The mark of the tests that need a framework, what its package is, and where all tests need it.
FRAMEWORKS = {"torch": ("torch", "trainers/pytorch"), "tf": ("keras_hub", "trainers/keras")}
MISSING = {mark for mark, (package, _) in FRAMEWORKS.items() if not importlib.util.find_spec(package)}
# What imports a framework on its first lines can't even be collected without it.
collect_ignore = [FRAMEWORKS[mark][1] for mark in MISSING]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need; skip those that need a framework where it is not installed."""
    for item in items:
        for mark in ("registry", "trivy"):
            if PROJECT / "tests" / mark in item.path.parents or mark in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        for mark, (package, folder) in FRAMEWORKS.items():
            if PROJECT / "tests" / folder in item.path.parents:
                item.add_marker(mark)
            if mark in MISSING and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{package} is not installed"))
        if item.get_closest_marker("tf"):  # one process imports TensorFlow, and compiles what several tests use
            item.add_marker(pytest.mark.xdist_group("tf"))
        if item.path in SLOW_FILES:
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # slow tests first: no worker waits at the end


hypothesis.settings.register_profile("datapack", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("datapack")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job; what we start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Cut the long ids of tests, which fill a screen each."""
    text = ascii(val)
    return f"{text[1:40]}..." if isinstance(val, str | bytes) and len(text) > LONGEST_ID else None


CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example, connections: 5}
datasets:
  reef:
    title: A small reef
    licence: CC0-1.0
    homepage: https://example.org/reef
    contact: Data manager <data@example.org>
    versions:
      v1:
        sources:
          - local: source
"""


def make_base(folder: Path, label: str = "", architecture: str = "amd64", **labels: str) -> str:
    """Make an OCI layout of one layer with one file in it; return the image's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(media_type: str, content: bytes) -> dict[str, object]:
        (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("etc/motd")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    layer = put(LAYER, out.getvalue())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "User": "", "Labels": {"base": label, **labels}},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created_by": "a test"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(CONFIG, json.dumps(config).encode()),
        "layers": [layer],
    }
    image = put(MANIFEST, json.dumps(manifest).encode())
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}))
    return str(image["digest"])


@dataclass
class Catalog:
    """A folder with ``datasets.yml``, in which tests run datapack as a user does."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        """Run datapack and return its output, whatever its exit status."""
        if not options and not any(name.startswith(forks.FOR_A_START) for name in self.env):
            return forks.run(arguments, **self.options(), change=self.change)
        return subprocess.run(
            self.command(*arguments), **self.options(), capture_output=True, text=True, check=False, **options
        )

    def ok(self, *arguments: str) -> str:
        """Run datapack, which must succeed; return its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str, status: int = 1) -> str:
        """Run datapack, which must fail with one clear line and no traceback; return its errors."""
        done = self.run(*arguments)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1, done.stderr
        return done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start datapack in its own process group."""
        return subprocess.Popen(
            self.command(*arguments),
            **self.options(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def copy(self, root: Path) -> Self:
        """Copy the folder to ``root``, hard links, modes and times included; return the catalog there."""
        subprocess.run(["cp", "--archive", self.root, root], check=True)
        return replace(self, root=root, env=dict(self.env))

    @property
    def change(self) -> str:
        """Code that changes datapack before it runs."""
        return ""

    def command(self, *arguments: str) -> list[str]:
        if not self.change:
            return [sys.executable, "-m", "datapack", *arguments]
        code = f"{self.change}\nimport sys\nfrom datapack.cli import main\nsys.exit(main())"
        return [sys.executable, "-c", code, *arguments]

    def options(self):
        return {"cwd": self.root, "env": {**os.environ, "PYTHONPATH": str(PROJECT), **self.env}}

    def leftovers(self) -> list[str]:
        """Temporary files that no run should leave behind."""
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.name.startswith(".datapack-")]


def fact(output: str, name: str) -> str:
    """Return what ``datapack build`` printed after ``name``."""
    return next(line.split(maxsplit=1)[1] for line in output.splitlines() if line.startswith(name))


def make_catalog(root: Path) -> Catalog:
    """Make a catalog with ``reef@v1``: a few local files, some with spaces and umlauts in their names."""
    for name, content in (("train.json", b"{}"), ("images/a b.png", b"a" * 3000), ("images/ö.png", b""), ("z", b"z")):
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "datasets.yml").write_text(CATALOG)
    make_base(root / "base")
    return Catalog(root)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restore what a test that calls `main` here changes: processes inherit that a signal is ignored."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def trivy() -> Path:
    """Return the scanner that is installed beside Python."""
    program = Path(sys.executable).with_name("trivy")
    if not program.exists():
        registries.unavailable("trivy is not installed: run 'make .venv/trivy'")
    return program


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog with ``reef@v1``, which is not fetched yet."""
    return make_catalog(tmp_path / "catalog")


@pytest.fixture(scope="session")
def fetched_once(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog whose version is fetched, to be copied."""
    catalog = make_catalog(tmp_path_factory.mktemp("fetched") / "catalog")
    catalog.ok("fetch", "reef@v1")
    return catalog


@pytest.fixture
def fetched(fetched_once: Catalog, tmp_path: Path) -> Catalog:
    """A catalog whose version is fetched, but not built."""
    return fetched_once.copy(tmp_path / "catalog")


@pytest.fixture(scope="session")
def built_once(fetched_once: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog whose version is built, to be copied."""
    catalog = fetched_once.copy(tmp_path_factory.mktemp("built") / "catalog")
    catalog.ok("build", "reef@v1")
    return catalog


@pytest.fixture
def built(built_once: Catalog, tmp_path: Path) -> Catalog:
    """A catalog whose version is built."""
    return built_once.copy(tmp_path / "catalog")
