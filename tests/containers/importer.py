"""An import image in an engine, the bags that it carries, and the folder that it writes to."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.bags import digest_of, write_bag
from tests.containers.engines import PROJECT, STAND_IN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.containers.engines import Engine

PROGRAM = PROJECT / "datapack" / "image" / "import.sh"
PROGRAMS = (PROGRAM, PROGRAM.with_name("import-batch.sh"), PROGRAM.with_name("import-json.sh"))
VERSION = re.findall(r"^VERSION=(\S+)", PROGRAM.read_text(), re.MULTILINE)[0]
STRANGE_NAMES = [
    "-rf",
    "#hash%20!",
    " a space first",
    'it\'s "quoted" $HOME `id` ;&|',
    "images/--help",
    "images/*?[a-z]{x,y}.png",
    "images/Größe 海.png",
    "images/two  spaces/x: FAILED",
]
FILES = {
    "train.json": b"{}",
    "empty": b"",
    **{name: name.encode() for name in STRANGE_NAMES},
    **{f"images/{number:03}.png": os.urandom(2000) for number in range(40)},
}
MANY = {f"{number:03}.bin": bytes([number]) * (1 << 20) for number in range(240)}  # four batches: time to stop it
STRANGER = "12345"  # a user without an entry in /etc/passwd


@dataclass(frozen=True)
class Result:
    """The result of an import, as a data manager sees it."""

    status: int
    log: str

    @property
    def last(self) -> str:
        return self.log.splitlines()[-1]


@dataclass(frozen=True)
class Importer:
    """An import image in an engine, the folder that it copies to, and a bag that may replace the image's own."""

    engine: Engine
    image: str
    digest: str
    outputs: Path
    bag: Path | None = None

    def __call__(self, *arguments: str, options: tuple[str, ...] = (), mount: str = "rw") -> Result:
        done = self.engine.run(*self.command(*arguments, options=options, mount=mount), check=False)
        return Result(done.returncode, done.stdout)

    def command(self, *arguments: str, options: tuple[str, ...] = (), mount: str = "rw") -> list[str]:
        """Return the engine's command; ``mount`` says how the destination is mounted; empty: not at all."""
        outputs = (f"-v={self.outputs}:/safe_outputs:{mount}",) if mount else ()
        bag = (f"-v={self.bag}:/dataset/reef:ro", f"-e=DATAPACK_DIGEST={self.digest}") if self.bag else ()
        return ["run", "--rm", "--network=none", *outputs, *bag, *options, self.image, *arguments]

    @contextlib.contextmanager
    def running(self, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
        """Run an import in the background."""
        command = [*self.engine.command, *self.command(*arguments, options=options)]
        environment = {**os.environ, **self.engine.environment}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def signalled(self, signal: str, *, after: int = 10) -> Result:
        """Run an import, and send it a signal as soon as ``after`` files have begun to arrive."""
        name = "signalled"
        with self.running("--jobs", "1", options=(f"--name={name}",)) as process:
            await_files(self.partial, after)
            self.engine.run("kill", f"--signal={signal}", name)
            log, _ = process.communicate(timeout=60)
        return Result(process.returncode, log)

    def carrying(self, bag: Path, files: dict[str, bytes]) -> Importer:
        """Replace the image's bag with another one, which is written if it does not exist yet."""
        digest = digest_of(bag) if bag.exists() else write_bag(bag, files)
        return replace(self, bag=bag, digest=digest)

    @property
    def final(self) -> Path:
        return self.outputs / "reef" / "v1"

    @property
    def partial(self) -> Path:
        return self.outputs / "reef" / "v1.partial"

    @property
    def receipt(self) -> Path:
        return self.outputs / "reef" / "v1.import.txt"

    @property
    def record(self) -> Path:
        """The receipt for programs."""
        return self.receipt.with_suffix(".json")

    @property
    def ok(self) -> str:
        return f"IMPORT OK reef@v1 {self.digest}"


def copy_program(context: Path) -> None:
    """Copy the import program's files into the context of a build."""
    folder = context / PROGRAM.parent.relative_to(PROJECT)
    folder.mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy(program, folder)


def build_import(engine: Engine, context: Path, tag: str, digest: str, base: str = STAND_IN) -> None:
    """Build the import image of a context: the program, and the bag of this digest."""
    arguments = {"BASE": base, "NAME": "reef", "DATA_VERSION": "v1", "DIGEST": digest}
    engine.build(PROJECT / "docker" / "data" / "Dockerfile", context, tag, **arguments)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system of a limited size."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def flip(path: Path) -> None:
    """Change one byte of a file; its size stays the same."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def halve(final: Path) -> None:
    """Make a stopped import of a complete one: a file is missing, and another is cut short."""
    final.with_name("v1.import.txt").unlink()
    final.with_name("v1.import.json").unlink()
    final.chmod(0o755)
    partial = final.rename(final.with_name("v1.partial"))
    images = partial / "data/images"
    (images / "005.png").unlink()
    (images / "006.png").chmod(0o644)
    (images / "006.png").write_bytes(b"x")


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def await_files(folder: Path, count: int) -> None:
    """Wait until the copies of ``count`` files have started."""
    deadline = time.monotonic() + 60
    while sum(1 for path in folder.rglob("*") if path.is_file()) < count:
        assert time.monotonic() < deadline, f"nothing arrives in {folder}"
        time.sleep(0.005)
