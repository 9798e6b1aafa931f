"""The import program as apptainer would run it; no package of apptainer itself is available here.

bubblewrap provides the same: the image's root file system unpacked and read-only, the user's own uid in a user and a
mount namespace without any privilege, the machine's /proc and /dev, and the user's home and environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bags import contents, write_bag
from tests.containers.engines import need
from tests.containers.importer import FILES, MANY, STRANGER, await_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.containers.engines import Engine


# What a user's environment may contain: names that the program uses, and settings that change how a shell works.
ENVIRONMENT = {
    "HOME": "/home",
    "LC_ALL": "de_DE.UTF-8",
    "CDPATH": "/safe_outputs:/",
    "ENV": "/nowhere",
    "IFS": "/",
    "PATH": "/opt/conda/bin",
    "TMPDIR": "/home/tmp",
    **dict.fromkeys(("action", "bag", "complaint", "copied", "final", "heart", "licence", "lock", "place"), "theirs"),
    **dict.fromkeys(("problem", "receipt", "size", "sum", "token", "total", "why", "wrong"), "theirs"),
}


@dataclass(frozen=True)
class Unpacked:
    """An image unpacked into a folder, and the folders of a user who runs it."""

    root: Path
    outputs: Path
    home: Path
    environment: dict[str, str]

    def start(self, *arguments: str, bag: Path | None = None, umask: int = 0o022) -> subprocess.Popen[str]:
        command = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
        command += ["bwrap", "--unshare-user", "--ro-bind", str(self.root), "/", "--dev-bind", "/dev", "/dev"]
        command += ["--bind", "/proc", "/proc", "--bind", str(self.home), "/home"]
        command += ["--bind", str(self.outputs), "/safe_outputs"]
        command += ["--ro-bind", str(bag), "/dataset/reef"] if bag else []
        return subprocess.Popen(
            [*command, "/usr/local/bin/import", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=umask,
        )

    def run(self, *arguments: str, umask: int = 0o022) -> tuple[int, str]:
        """Return the status and the log."""
        with self.start(*arguments, umask=umask) as process:
            log, _ = process.communicate(timeout=120)
        return process.returncode, log

    @property
    def final(self) -> Path:
        return self.outputs / "reef" / "v1"


@pytest.fixture(scope="module")
def root(build: Callable[[Engine], tuple[str, str]], podman: Engine) -> Iterator[tuple[Path, str]]:
    """Return the image's root file system, in a folder that any user can reach, and the dataset digest."""
    need("bwrap", "setpriv")
    image, digest = build(podman)
    with tempfile.TemporaryDirectory(prefix="dp-") as folder:
        Path(folder).chmod(0o755)
        unpacked, archive = Path(folder, "root"), Path(folder, "root.tar")
        unpacked.mkdir()
        container = podman.run("create", image).stdout.split()[-1]
        podman.run("export", "--output", archive, container)
        podman.run("rm", container)
        subprocess.run(["tar", "-xf", archive, "-C", unpacked], check=True)
        yield unpacked, digest


@pytest.fixture
def unpacked(root: tuple[Path, str]) -> Iterator[Unpacked]:
    """The image and a user's folders."""
    folder, digest = root
    with tempfile.TemporaryDirectory(prefix="user-", dir=folder.parent) as user:
        Path(user).chmod(0o755)
        outputs, home = Path(user, "outputs"), Path(user, "home")
        for path in (outputs, home):
            path.mkdir()
            os.chown(path, int(STRANGER), int(STRANGER))
        image = {"DATAPACK_DATASET": "reef@v1", "DATAPACK_DIGEST": digest}
        yield Unpacked(folder, outputs, home, {**os.environ, **ENVIRONMENT, **image, "PATH": os.environ["PATH"]})


def test_a_user_s_own_environment_does_not_matter(unpacked: Unpacked) -> None:
    """Everything arrives and belongs to the user, a second run finds it complete, and the home stays unchanged."""
    for _ in range(2):
        status, log = unpacked.run()
        assert (status, log.splitlines()[-1].split()[:3]) == (0, ["IMPORT", "OK", "reef@v1"]), log
    assert contents(unpacked.final / "data") == FILES
    assert unpacked.final.stat().st_uid == int(STRANGER)
    assert unpacked.run("--check")[0] == 0
    assert not list(unpacked.home.iterdir())


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o022, 0o755, 0o444), (0o077, 0o700, 0o400)])
def test_the_user_s_umask_counts(unpacked: Unpacked, umask: int, folder: int, file: int) -> None:
    """The user's umask decides who may read the copy: files are read-only, and the user may write to folders."""
    assert unpacked.run(umask=umask)[0] == 0
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [unpacked.final, *unpacked.final.rglob("*")]}
    assert modes == {(True, folder), (False, file)}


@pytest.mark.parametrize("arguments", [("--form",), ("--jobs", "none"), ("--to", "/nowhere"), ("--to", "/scratch")])
def test_a_failure_before_anything_is_known(unpacked: Unpacked, arguments: tuple[str, ...]) -> None:
    """An early failure has a last line too, whatever the user's variables are called."""
    status, log = unpacked.run(*arguments)
    assert status in {2, 3}
    assert log.splitlines()[-1].startswith("IMPORT FAILED: "), log


def test_a_stop_leaves_no_process(unpacked: Unpacked) -> None:
    """Even without a container, every process of a stopped import ends."""
    with tempfile.TemporaryDirectory(prefix="bag-", dir=unpacked.root.parent) as bag:
        Path(bag).chmod(0o755)
        unpacked.environment["DATAPACK_DIGEST"] = write_bag(Path(bag), MANY)
        with unpacked.start("--jobs", "1", bag=Path(bag)) as process:
            await_files(unpacked.outputs, 10)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)  # the import: bubblewrap forwards no signal
            log, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped")
    alive = [path for path in Path("/proc").glob("[0-9]*") if _works_for(path, unpacked.outputs)]
    assert alive == []


def _works_for(process: Path, outputs: Path) -> bool:
    """Say whether a process sees this folder as its destination."""
    try:
        return f"{outputs} /safe_outputs " in (process / "mountinfo").read_text()
    except OSError:
        return False
