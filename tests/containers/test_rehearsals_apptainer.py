"""`datapack run --launch apptainer` with apptainer itself: as the researcher, on a read-only image, with the home."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers import sid
from tests.containers.engines import Engine
from tests.containers.rehearsing import Stage

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

WHAT_IT_GETS = """
    id -u; ls /safe_data
    for folder in / /safe_data; do touch $folder/x 2>/dev/null && echo $folder is writable; done
    touch ~/x && rm ~/x && echo home
    echo 12345 >/safe_outputs/log.txt && echo 1 >/scratch/x && ls /scratch
    tail -n +3 /proc/net/dev | cut -d: -f1
    echo "[$ONE] [$TWO]" "$@"
"""
STOPPED = """
    trap 'echo IMPORT FAILED: stopped; exit 143' TERM
    echo started
    sleep 600 & wait
"""


class Researcher(Stage):
    """A catalog's folder with ``reef@v1`` built in it, and apptainer."""

    def ok(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return super().ok("--launch", "apptainer", *arguments)

    def fails(self, status: int, *arguments: str) -> str:
        return super().fails(status, "--launch", "apptainer", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return super().start("--launch", "apptainer", *arguments)

    def script(self, text: str, *options: str) -> list[str]:
        """Return the arguments that rehearse a script. It is in a file: apptainer evaluates arguments once more."""
        (self.root / "given").mkdir(exist_ok=True)
        (self.root / "given" / "script").write_text(text)
        return [f"oci:{self.root}/base", "--data", "given", *options, "--", "sh", "/safe_data/script"]

    def containers(self) -> list[str]:
        """Return the processes that run an image of this folder."""
        running = []
        for path in Path("/proc").glob("[0-9]*/mountinfo"):
            try:
                running += [path.parent.name] if f"{self.root}/dist/rehearsals" in path.read_text() else []
            except OSError:
                continue
        return running


@pytest.fixture
def researcher(built: Path, stand_in_base: Path, researcher_apptainer: Path) -> Iterator[Researcher]:
    if not (built / "base").exists():
        shutil.copytree(stand_in_base, built / "base")
    nobody = Engine("apptainer", (), f"unix://{built}/no-engine.sock")
    yield Researcher(built, nobody, {"PATH": f"{researcher_apptainer}:{os.environ['PATH']}"})
    shutil.rmtree(built / "dist" / "rehearsals", ignore_errors=True)


def test_an_import_is_rehearsed_and_verified(researcher: Researcher) -> None:
    """The version's image is run as a SIF, without any engine, and every imported byte is verified."""
    done = researcher.ok("reef@v1")
    lines = done.stdout.splitlines()
    ok = next(number for number, line in enumerate(lines) if line.startswith("IMPORT OK reef@v1 sha256:"))
    assert lines[ok + 1] == "rehearsed reef@v1"
    assert lines[ok + 2].startswith("verified, every byte: ")
    assert lines[ok + 3] == f"receipt  {lines[ok]}"
    assert (researcher.kept() / "safe_outputs/reef/v1/data/7.bin").read_bytes() == b"\x07" * 100_000
    assert "on apptainer 1.4" in done.stderr
    assert "this image is not for a Safe Haven: it is based on a stand-in base" in done.stderr
    assert "building" not in done.stderr


def test_any_form_of_an_image_on_disk(researcher: Researcher) -> None:
    """A layout, an archive, and a version whose layout is gone are rehearsed in the same way."""
    assert "receipt  IMPORT OK reef@v1 sha256:" in researcher.ok("oci:dist/reef-v1").stdout
    assert researcher.run("build", "reef@v1", "--to", "oci-archive:reef.tar").returncode == 0
    assert "receipt  IMPORT OK reef@v1 sha256:" in researcher.ok("oci-archive:reef.tar").stdout
    shutil.rmtree(researcher.root / "dist" / "reef-v1")
    assert "building reef@v1" in researcher.ok("reef@v1", "--", "--list").stderr


def test_what_a_program_gets(researcher: Researcher) -> None:
    """The researcher's uid and home, a read-only image and /safe_data, outputs, scratch, variables, no network."""
    (researcher.root / "variables").write_text("ONE=1\nTWO=two words, it's all\n")
    (researcher.root / "words").write_text("sh /safe_data/script 'two words'\n")
    what, *options = researcher.script(WHAT_IT_GETS)[:3]
    done = researcher.ok(what, *options, "--env-file", "variables", "--arg-file", "words", "--", "last")
    printed = done.stdout.splitlines()
    words = "[1] [two words, it's all] two words last"
    assert printed[:6] == [str(sid.RESEARCHER), "script", "home", "x", "    lo", words]
    assert "written  1 file, 6 B" in done.stdout
    assert (researcher.kept() / "safe_outputs/log.txt").read_text() == "12345\n"


def test_a_failure_is_passed_on(researcher: Researcher) -> None:
    """A status, a last line that reports a failure, and a program that is not there each give one clear line."""
    assert "the container failed: found status 7" in researcher.fails(7, *researcher.script("exit 7"))
    failed = researcher.script("echo TRAINING FAILED: no data")
    assert "'TRAINING FAILED: no data'" in researcher.fails(1, *failed)
    assert "found status 255" in researcher.fails(255, f"oci:{researcher.root}/base", "--", "/no/such/program")


def test_a_stop_gives_time_to_shut_down(researcher: Researcher) -> None:
    """Ctrl-C stops the program, whose last words are shown, and leaves nothing."""
    with researcher.start(*researcher.script(STOPPED)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "IMPORT FAILED: stopped\n"
    researcher.nothing_is_left()


def test_the_next_rehearsal_clears_what_a_kill_left(researcher: Researcher) -> None:
    """If datapack itself is killed, the next rehearsal of the image ends its program and deletes its folders."""
    with researcher.start(*researcher.script(STOPPED)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
    assert researcher.containers()
    researcher.ok(*researcher.script("true"))
