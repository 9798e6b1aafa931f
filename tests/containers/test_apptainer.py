"""The import program under apptainer: a read-only SIF, the user's own uid, home, environment and umask, no engine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bags import contents, write_bag
from tests.containers.apptainer import HOME, Apptainer
from tests.containers.importer import FILES, MANY, await_files, flip, halve, identity
from tests.containers.rehearsing import build_reef
from tests.containers.sid import RESEARCHER

# What a user's environment may contain: names that the program uses, and settings that change how a shell works.
ENVIRONMENT = {
    "LC_ALL": "de_DE.UTF-8",
    "CDPATH": "/safe_outputs:/",
    "ENV": "/nowhere",
    "PATH": "/opt/conda/bin",
    "TMPDIR": f"{HOME}/tmp",
    **dict.fromkeys(("action", "bag", "complaint", "copied", "final", "heart", "licence", "lock", "place"), "theirs"),
    **dict.fromkeys(("problem", "receipt", "size", "sum", "token", "total", "why", "wrong"), "theirs"),
}


@dataclass(frozen=True)
class Job:
    """A job of the user: an import container's SIF, and what is mounted in it."""

    apptainer: Apptainer
    image: Path
    outputs: Path
    environment: dict[str, str]

    def start(self, *arguments: str, options: tuple[str, ...] = (), umask: int = 0o022) -> subprocess.Popen[str]:
        options = (f"--bind={self.outputs}:/safe_outputs", *options)
        return subprocess.Popen(
            self.apptainer.command("run", *options, self.image, *arguments, environment=self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=umask,
        )

    def run(self, *arguments: str, options: tuple[str, ...] = (), umask: int = 0o022) -> tuple[int, str]:
        """Return the status and the log."""
        with self.start(*arguments, options=options, umask=umask) as process:
            log, _ = process.communicate(timeout=120)
        return process.returncode, log

    def succeeds(self, *arguments: str, options: tuple[str, ...] = (), umask: int = 0o022) -> str:
        """Run a job that must succeed; return its log."""
        status, log = self.run(*arguments, options=options, umask=umask)
        assert (status, log.splitlines()[-1].split()[:3]) == (0, ["IMPORT", "OK", "reef@v1"]), log
        return log

    @property
    def final(self) -> Path:
        return self.outputs / "reef" / "v1"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, stand_in_base: Path, apptainer: Apptainer) -> Path:
    """The import container of `FILES` as a SIF that its user built of the OCI layout."""
    root = tmp_path_factory.mktemp("built")
    build_reef(root, stand_in_base, FILES)
    shutil.copytree(root / "dist/reef-v1", apptainer.folder / "reef-v1")  # where the user can read it
    return apptainer.sif("reef", f"oci:{apptainer.folder}/reef-v1")


@pytest.fixture
def job(apptainer: Apptainer, image: Path, request: pytest.FixtureRequest) -> Job:
    """A job with empty outputs."""
    outputs = apptainer.make(hashlib.sha256(request.node.name.encode()).hexdigest()[:8])
    return Job(apptainer, image, outputs, dict(ENVIRONMENT))


def test_an_ordinary_user_imports(job: Job) -> None:
    """Everything arrives and belongs to the user, a second run finds it complete, and the home stays unchanged."""
    job.succeeds()
    assert "already there" in job.succeeds()
    assert contents(job.final / "data") == FILES
    assert job.final.stat().st_uid == RESEARCHER
    job.succeeds("--check")
    assert job.apptainer.files(HOME) == [".apptainer"]  # its own


def test_a_half_filled_copy_is_completed(job: Job) -> None:
    """What a stopped job left is completed: missing files are copied, wrong ones again, right ones are not."""
    job.succeeds()
    halve(job.final)
    kept = identity(job.final.with_name("v1.partial") / "data/train.json")
    job.succeeds()
    assert contents(job.final / "data") == FILES
    assert identity(job.final / "data/train.json") == kept


def test_a_changed_copy_is_found(job: Job) -> None:
    """`--check` finds a changed byte."""
    job.succeeds()
    flip(job.final / "data/images/007.png")
    status, log = job.run("--check")
    assert status == 6, log
    assert "images/007.png" in log


def test_safe_data_is_read_only(job: Job) -> None:
    """The data manager's copy in a read-only /safe_data is checked; nothing can be imported there."""
    job.succeeds()
    data = (f"--bind={job.outputs}:/safe_data:ro",)
    job.succeeds("--check", "--to", "/safe_data", options=data)
    empty = job.apptainer.make(f"{job.outputs.name}-empty")
    status, log = job.run("--to", "/safe_data", options=(f"--bind={empty}:/safe_data:ro",))
    assert status == 3, log
    assert log.splitlines()[-1].startswith("IMPORT FAILED: ")
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o022, 0o755, 0o444), (0o077, 0o700, 0o400)])
def test_the_user_s_umask_counts(job: Job, umask: int, folder: int, file: int) -> None:
    """The user's umask decides who may read the copy: files are read-only, and the user may write to folders."""
    job.succeeds(umask=umask)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [job.final, *job.final.rglob("*")]}
    assert modes == {(True, folder), (False, file)}


@pytest.mark.parametrize("arguments", [("--form",), ("--jobs", "none"), ("--to", "/nowhere"), ("--to", "/scratch")])
def test_a_failure_before_anything_is_known(job: Job, arguments: tuple[str, ...]) -> None:
    """An early failure has a last line too, whatever the user's variables are called."""
    status, log = job.run(*arguments)
    assert status in {2, 3}
    assert log.splitlines()[-1].startswith("IMPORT FAILED: "), log


def test_a_stop_leaves_no_process(job: Job) -> None:
    """Every process of a stopped import ends, and its last line says that it was stopped."""
    bag = job.apptainer.make(f"{job.outputs.name}-bag")
    job.environment["APPTAINERENV_DATAPACK_DIGEST"] = write_bag(bag, MANY)
    with job.start("--jobs", "1", options=(f"--bind={bag}:/dataset/reef:ro",)) as process:
        await_files(job.outputs, 10)
        process.terminate()
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped")
    alive = [path for path in Path("/proc").glob("[0-9]*") if _works_for(path, job.outputs)]
    assert alive == []


def _works_for(process: Path, outputs: Path) -> bool:
    """Say whether a process sees this folder as its destination."""
    try:
        return f"{outputs} /safe_outputs " in (process / "mountinfo").read_text()
    except OSError:
        return False
