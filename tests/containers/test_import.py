"""The import program, `datapack/image/import.sh`, in real containers on a real busybox."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import bagit
import pytest

from tests.bags import contents
from tests.containers.engines import STAND_IN
from tests.containers.importer import FILES, MANY, PROGRAMS, STRANGER, VERSION, Importer, identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.every_engine
def test_every_byte_arrives(anywhere: Importer) -> None:
    """In both engines the complete bag arrives, even with strange names, and another program confirms it."""
    result = anywhere()
    assert (result.status, result.last) == (0, anywhere.ok), result.log
    arrived = contents(anywhere.final)
    assert {name: content for name, content in arrived.items() if name.startswith("data/")} == {
        f"data/{name}": content for name, content in FILES.items()
    }
    assert {path.name for path in anywhere.final.iterdir()} == {
        "data",
        "bag-info.txt",
        "bagit.txt",
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    }
    assert bagit.Bag(str(anywhere.final)).validate()


def test_nothing_else_is_left(importer: Importer) -> None:
    """The destination holds only the dataset and its receipts; other files beside them stay."""
    (importer.outputs / "other").write_text("mine")
    assert importer().status == 0
    assert {path.name for path in importer.outputs.iterdir()} == {"other", "reef"}
    assert {path.name for path in (importer.outputs / "reef").iterdir()} == {"v1", "v1.import.txt", "v1.import.json"}
    assert (importer.outputs / "other").read_text() == "mine"


@pytest.mark.parametrize("user", ["0:0", f"{STRANGER}:0", f"{STRANGER}:{STRANGER}"])
def test_any_user_on_a_read_only_root(anywhere: Importer, user: str) -> None:
    """An import works for root and for a user without a name, with a read-only root and without any capability."""
    anywhere.outputs.chmod(0o777)
    result = anywhere(options=(f"--user={user}", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"))
    assert (result.status, result.last) == (0, anywhere.ok), result.log
    assert f"{anywhere.final.stat().st_uid}" == user.partition(":")[0]


def test_the_log_shows_progress_in_tenths(importer: Importer, many: Path) -> None:
    """Progress takes at most one line per tenth of the data."""
    result = importer.carrying(many, MANY)("--jobs", "1")
    progress = [line for line in result.log.splitlines() if "%" in line]
    assert 2 <= len(progress) <= 10
    assert progress[-1].endswith("(100 %)")


@pytest.mark.parametrize("jobs", ["1", "7"])
def test_any_number_of_jobs(importer: Importer, tmp_path: Path, jobs: str) -> None:
    """The result does not depend on how many batches are copied at once."""
    importer = importer.carrying(tmp_path / "bag", {f"{n // 50}/{n}": b"%d" % n for n in range(2500)})
    assert importer("--jobs", jobs).last == importer.ok
    assert len(contents(importer.final / "data")) == 2500


@pytest.mark.every_engine
def test_a_second_run_changes_nothing(anywhere: Importer) -> None:
    """A complete copy is verified and left unchanged."""
    anywhere()
    before = {path: identity(path) for path in anywhere.final.rglob("*")}
    result = anywhere()
    assert (result.status, result.last) == (0, anywhere.ok)
    assert "already there" in result.log
    assert {path: identity(path) for path in anywhere.final.rglob("*")} == before


def test_help_names_every_option_and_every_status(importer: Importer) -> None:
    """--help names every option and every exit status."""
    result = importer("--help")
    assert result.status == 0
    options = ("--to", "--jobs", "--check", "--list", "--version", "--help", "/safe_outputs")
    assert all(option in result.log for option in options)
    assert all(f"{status} " in result.log for status in (0, 2, 3, 4, 5, 6, 7))


def test_list_says_what_the_image_carries(importer: Importer) -> None:
    """--list names the dataset, its digest, size and licence; it needs no destination and writes nothing."""
    result = importer("--list")
    assert result.status == 0
    for fact in (
        "reef@v1",
        importer.digest,
        str(len(FILES)),
        str(sum(map(len, FILES.values()))),
        "CC-BY-4.0",
        STAND_IN,
    ):
        assert fact in result.log
    assert not list(importer.outputs.iterdir())


def test_version_names_the_program_and_its_files(importer: Importer) -> None:
    """--version shows the program's version and the SHA-256 of each of its files; it needs no dataset."""
    result = importer("--version", options=("--env=DATAPACK_DATASET=",))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stem}" for path in PROGRAMS]
    assert (result.status, result.log.splitlines()) == (0, [f"import {VERSION}", *sums])


@pytest.mark.parametrize(
    "arguments",
    [("--jobs",), ("--jobs", "0"), ("--jobs", "many"), ("--to",), ("--form",), ("here",), ("--jobs", "2", "--form")],
)
def test_wrong_usage(importer: Importer, arguments: tuple[str, ...]) -> None:
    """A wrong option or value ends with 2, and nothing is copied."""
    result = importer(*arguments)
    assert result.status == 2
    assert result.last.startswith("IMPORT FAILED: ")
    assert not list(importer.outputs.iterdir())


def test_the_program_is_clean() -> None:
    """Shellcheck reports nothing."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--shell=sh", *PROGRAMS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
