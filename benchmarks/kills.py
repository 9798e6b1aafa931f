"""Kills, not times: builds, pushes and imports end by ``kill -9`` at random moments; the same command finishes them.

After each kill, nothing incomplete may have a final name; after the same command again, every digest must be right.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.importing import Sandbox
from benchmarks.workplace import DATAPACK, PROJECT
from examples.stand_in_base import build as build_stand_in_base
from tests import registries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMPORTS, BUILDS, PUSHES = 100, 30, 30
FILES, FILE_SIZE = 150, 2_000_000  # bytes
SEED = 29
CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example}
datasets:
  noise:
    title: Bytes that do not compress
    licence: CC0-1.0
    versions:
      v1: {sources: [{local: files}]}
"""


@dataclass
class Kills:
    """Kills a command at random moments of the time that it takes."""

    command: list[str]
    folder: Path
    seconds: float
    moments: random.Random

    def kill(self, during: Callable[[], bool] = lambda: False) -> tuple[bool, bool]:
        """Start the command and kill it; return whether it was still running, and ``during()`` just before."""
        moment = self.moments.uniform(0, self.seconds)
        process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env={**os.environ, **PROJECT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moment)
        inside = during()
        was_running = process.poll() is None
        with suppress(ProcessLookupError):  # it has ended, and left no process behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return was_running, inside


def bench(_images: int, _repeats: int) -> None:
    """Kill builds, pushes and imports; stop at the first wrong result."""
    print(f"\nKilled at random moments (seed {SEED}), then the same command again: {FILES * FILE_SIZE / 1e6:.0f} MB")
    with TemporaryDirectory(prefix="datapack-kills-") as folder, registries.serve(Path(folder)) as registry:
        root = Path(folder) / "catalog"
        _write(root)
        digest = _kill_builds(root)
        _kill_pushes(root, registry, Path(folder) / "registry", digest)
        _kill_imports(root)


def _write(root: Path) -> None:
    (root / "files").mkdir(parents=True)
    for number in range(FILES):
        (root / "files" / f"{number:04}.bin").write_bytes(os.urandom(FILE_SIZE))
    (root / "datasets.yml").write_text(CATALOG)
    build_stand_in_base(root / "base")


def _kill_builds(root: Path) -> str:
    """Kill builds; return the digest of the image."""
    started = time.perf_counter()
    digest = _image(_ok(root, "build", "noise@v1"))
    kills = Kills([*DATAPACK, "build", "noise@v1"], root, time.perf_counter() - started, random.Random(SEED))
    count = 0
    while count < BUILDS:
        for path in (root / "data", root / "dist", root / ".datapack", root / ".dvc", root / "datasets.lock"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        was_running, _ = kills.kill()
        count += was_running
        _check((root / "dist/noise-v1/index.json").exists(), root, "oci:dist/noise-v1")
        _check((root / "data/noise/v1").exists(), root, "data/noise/v1")
        _same(digest, _image(_ok(root, "build", "noise@v1")))
        _ok(root, "verify", "oci:dist/noise-v1")
    print(f"  builds   {count} killed, {count} resumed to {digest}", flush=True)
    return digest


def _kill_pushes(root: Path, registry: str, store: Path, digest: str) -> None:

    def uploads() -> bool:
        return any(store.rglob("_uploads/*"))

    command = ["push", "noise@v1", "--to", f"docker://{registry}/datapack/noise"]
    started = time.perf_counter()
    _ok(root, *command)
    kills = Kills([*DATAPACK, *command], root, time.perf_counter() - started, random.Random(SEED))
    count = uploading = 0
    while count < PUSHES or 2 * uploading < count:
        shutil.rmtree(store / "docker")
        was_running, inside = kills.kill(uploads)
        count += was_running
        uploading += was_running and inside
        _check(any(store.rglob("tags/v1/current/link")), root, f"docker://{registry}/datapack/noise:v1")
        _same(digest, _image(_ok(root, *command)))
        _ok(root, "verify", f"docker://{registry}/datapack/noise:v1")
    print(f"  pushes   {count} killed, {uploading} of them during an upload, {count} resumed to {digest}", flush=True)


def _kill_imports(root: Path) -> None:
    """Kill imports. The locks of killed ones are removed by hand, as each would cost 15 seconds of waiting."""
    with _sandbox(root) as sandbox:
        ours = sandbox.contender("import", "exec import")
        lock, final = sandbox.outputs / "noise/.v1.lock", sandbox.outputs / "noise/v1"
        command = [*map(str, ours.command)]
        started = time.perf_counter()
        _imported(command, sandbox.digest)
        kills = Kills(command, root, time.perf_counter() - started, random.Random(SEED))
        count = early = 0
        while count < IMPORTS:
            sandbox.empty()
            was_running, _ = kills.kill()
            count += was_running
            lock.unlink(missing_ok=True)
            early += not final.exists()
            if final.exists():
                _ok(root, "verify", str(final))
            _imported(command, sandbox.digest)
            _ok(root, "verify", str(final))
        print(f"  imports  {count} killed, {early} before the end, {count} resumed to {sandbox.digest}", flush=True)


@contextmanager
def _sandbox(root: Path) -> Iterator[Sandbox]:
    """Make the sandbox of the import benchmark for this bag; its processes end with it."""
    with TemporaryDirectory(prefix="datapack-kills-") as folder:
        yield Sandbox.make(Path(folder), root / "base", root / "data/noise/v1")


def _imported(command: list[str], digest: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or [""])[-1]
    if last != f"IMPORT OK noise@v1 {digest}":
        raise SystemExit(f"the import ended with: {last}")


def _check(exists: bool, root: Path, name: str) -> None:
    """Verify what has its final name already."""
    if exists:
        _ok(root, "verify", name)


def _ok(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*DATAPACK, *arguments], cwd=root, env={**os.environ, **PROJECT}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"datapack {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def _image(output: str) -> str:
    found = re.search(r"^image .*(sha256:[0-9a-f]{64})$", output, re.MULTILINE)
    if not found:
        raise SystemExit(f"no image in: {output}")
    return found[1]


def _same(expected: str, found: str) -> None:
    if expected != found:
        raise SystemExit(f"expected {expected}, found {found}")
