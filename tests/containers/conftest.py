"""Fixtures of the tests that need a container engine; each worker of pytest-xdist has its own engines and stores."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.stand_in_base import build as build_stand_in_base
from tests.bags import write_bag
from tests.containers import engines, sid
from tests.containers.apptainer import Apptainer, write_program
from tests.containers.importer import FILES, MANY, Importer, build_import, copy_program
from tests.containers.rehearsing import Stage, build_reef
from tests.containers.trainer_images import KINDS, Image, make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEWER = ("podman-sid", "docker-sid", "docker-sid-containerd")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark these tests. Tests of the same group run on the same worker, so each engine starts once."""
    config.hook.pytest_deselected(items=[item for item in items if not _is_for_its_image(item)])
    items[:] = [item for item in items if _is_for_its_image(item)]
    for item in items:
        if Path(__file__).parent in item.path.parents:
            runtimes = item.name.partition("[")[2] + "sid" * ("apptainer" in item.path.name)
            group = next((group for group in ("sid", "docker") if group in runtimes), "podman")
            item.add_marker("engine")
            item.add_marker(pytest.mark.xdist_group(group))


def _is_for_its_image(item: pytest.Item) -> bool:
    """Whether a test is for the trainer image that it would get.

    If tests named their images as parameters, pytest would not run those of an image together, and build it again.
    """
    marker = item.get_closest_marker("images")
    return marker is None or item.callspec.params["trainer_image"] in marker.args  # type: ignore[attr-defined]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_engine: runs also on the newer engines of Debian sid")
    config.addinivalue_line("markers", "images(*kinds): runs only in these trainer images")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of `engine` on this Debian's engines, and one marked ``every_engine`` also on those of sid."""
    if "engine" in metafunc.fixturenames:
        newer = NEWER if metafunc.definition.get_closest_marker("every_engine") else ()
        metafunc.parametrize("engine", ["podman", "docker", *newer], indirect=True, scope="session")


@pytest.fixture(scope="session")
def stand_in_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the OCI layout of a base with the newest busybox that can be had here."""
    layout = tmp_path_factory.mktemp("stand-in-base")
    try:
        build_stand_in_base(layout)
    except FileNotFoundError as error:
        engines.unavailable(str(error))
    return layout


@pytest.fixture(scope="session")
def podman(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Start podman with its own store, and its Docker API at ``url``."""
    with _short_folder() as folder, engines.podman(folder, stand_in_base) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Start Docker with its own daemon."""
    with _short_folder() as folder, engines.docker(folder, stand_in_base) as engine:
        yield engine


@pytest.fixture(scope="session")
def podman_sid(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Start sid's podman."""
    with _short_folder() as folder, sid.machine() as machine, engines.podman(folder, stand_in_base, machine) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_sid(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Start sid's Docker, with the store that older installations have."""
    with _short_folder() as folder, sid.machine() as machine, engines.docker(folder, stand_in_base, machine) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_sid_containerd(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Start sid's Docker with containerd's store, the one of new installations."""
    start = partial(engines.docker, containerd=True)
    with _short_folder() as folder, sid.machine() as machine, start(folder, stand_in_base, machine) as engine:
        yield engine


@pytest.fixture(scope="session")
def apptainer() -> Iterator[Apptainer]:
    """Start sid's apptainer, for an ordinary user."""
    with _short_folder() as folder, sid.machine(processes=False) as machine:
        folder.chmod(0o755)
        os.chown(folder, sid.RESEARCHER, sid.RESEARCHER)
        yield Apptainer(machine, folder)


@pytest.fixture(scope="session")
def researcher_apptainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for ``PATH`` with an apptainer that datapack, which is root here, runs as an ordinary user."""
    folder = tmp_path_factory.mktemp("bin")
    with sid.machine(processes=False) as machine:
        write_program(machine, folder)
        yield folder


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """Make a folder for an engine: pytest's own paths are too long for the 108 characters of a socket's path."""
    with tempfile.TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """Each engine in turn; see `pytest_generate_tests`."""
    given: engines.Engine = request.getfixturevalue(request.param.replace("-", "_"))
    return given


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[engines.Engine], tuple[str, str]]:
    """Build the import image of `FILES` in an engine, once; return its name and the dataset digest."""
    context = tmp_path_factory.mktemp("context")
    copy_program(context)
    digest = write_bag(context / "data" / "reef" / "v1", FILES)
    built: dict[str, str] = {}  # by the engine's URL

    def build(engine: engines.Engine) -> tuple[str, str]:
        if engine.url not in built:
            built[engine.url] = "localhost/import-program:v1"  # a separate name: other tests load reef:v1
            build_import(engine, context, built[engine.url], digest)
        return built[engine.url], digest

    return build


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag that takes a while to copy."""
    bag = tmp_path_factory.mktemp("many") / "bag"
    write_bag(bag, MANY)
    return bag


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An empty folder to import to."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def anywhere(build: Callable[[engines.Engine], tuple[str, str]], engine: engines.Engine, outputs: Path) -> Importer:
    """The import image in each engine."""
    return Importer(engine, *build(engine), outputs)


@pytest.fixture
def importer(build: Callable[[engines.Engine], tuple[str, str]], podman: engines.Engine, outputs: Path) -> Importer:
    """The import image in podman, the engine of the Safe Haven."""
    return Importer(podman, *build(podman), outputs)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, stand_in_base: Path) -> Path:
    """Build ``reef@v1`` once for all tests of a file."""
    root = tmp_path_factory.mktemp("built")
    build_reef(root, stand_in_base)
    return root


@pytest.fixture
def stage(built: Path, engine: engines.Engine) -> Iterator[Stage]:
    """Each engine in turn; whatever a test leaves in ``dist`` is removed."""
    yield Stage(built, engine)
    shutil.rmtree(built / "dist" / "rehearsals", ignore_errors=True)


@pytest.fixture(scope="session")
def trainer_context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the build context of the trainer images."""
    folder = tmp_path_factory.mktemp("context")
    make_context(folder)
    return folder


@pytest.fixture(scope="session", params=KINDS)
def trainer_image(
    request: pytest.FixtureRequest,
    podman: engines.Engine,
    trainer_context: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Image]:
    """Build each trainer image in turn; it is removed before the next one, as the disk may not have room for all."""
    image = Image(podman, request.param)
    image.build(tmp_path_factory.mktemp("bases"), trainer_context)
    yield image
    image.remove()
