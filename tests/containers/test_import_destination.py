"""The import program and the folder that it writes to: of every kind, for every user, in both engines."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from bags import contents
from importer import MANY, STRANGER, Importer, small_disk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]  # one worker starts each engine once


def test_an_unmounted_destination_is_refused(anywhere: Importer) -> None:
    """What is written into the container itself would vanish with it."""
    result = anywhere(mount="")
    assert result.status == 3
    assert result.last.startswith("IMPORT FAILED: /safe_outputs is not mounted")


def test_a_folder_that_is_not_there_is_refused(importer: Importer) -> None:
    """A misspelt destination is not made."""
    result = importer("--to", "/safe_output")
    assert (result.status, result.last) == (3, "IMPORT FAILED: there is no folder /safe_output: mount one there")


def test_a_folder_below_a_mount(importer: Importer) -> None:
    """The destination may be a folder on a mount, and its name may hold spaces."""
    (importer.outputs / "my project").mkdir()
    options = (f"--volume={importer.outputs}:/mnt/shared disk",)
    result = importer("--to", "/mnt/shared disk/my project", options=options)
    assert result.last == importer.ok, result.log
    assert (importer.outputs / "my project" / "reef" / "v1" / "data" / "train.json").exists()


def test_a_read_only_destination_is_refused(anywhere: Importer) -> None:
    """A mount that can't be written to is named, with the reason."""
    result = anywhere(mount="ro")
    assert result.status == 3
    assert result.last.startswith("IMPORT FAILED: /safe_outputs cannot be written to")
    assert "Read-only file system" in result.last


def test_a_destination_of_somebody_else_is_refused(importer: Importer) -> None:
    """A folder that this user may not write to is named, with the user."""
    result = importer(options=(f"--user={STRANGER}:{STRANGER}",))
    assert result.status == 3
    assert STRANGER in result.last
    assert "Permission denied" in result.last


def test_the_partial_copy_of_somebody_else_is_refused(importer: Importer) -> None:
    """What another user began can't be gone on with, and the message says what to do."""
    (importer.partial / "data").mkdir(parents=True)
    (importer.outputs / "reef").chmod(0o777)
    result = importer(options=(f"--user={STRANGER}:{STRANGER}",))
    assert result.status == 3
    assert "v1.partial belongs to another user" in result.last


def test_too_little_space_is_seen_first(importer: Importer, many: Path) -> None:
    """Nothing is copied where it can't fit; the message says what is needed and what is free, and a receipt remains."""
    importer = importer.carrying(many, MANY)
    with small_disk(importer.outputs, "size=8m"):
        result = importer()
        assert result.status == 4
        assert "251.7 MB are needed, 8.4 MB are free" in result.last
        assert {path.name for path in (importer.outputs / "reef").iterdir()} == {"v1.import.txt"}
        assert importer.receipt.read_text().endswith(result.last + "\n")


def test_too_few_inodes_are_seen_first(importer: Importer) -> None:
    """A file system that has room but no inodes left is refused too."""
    with small_disk(importer.outputs, "size=64m,nr_inodes=20"):
        result = importer()
        assert result.status == 4
        assert "more files are to come" in result.last


def test_a_disk_that_fills_up_and_is_made_larger(importer: Importer, tmp_path: Path) -> None:
    """A full disk ends with 4, nothing has the final name, and the next run goes on from what has arrived."""
    importer = importer.carrying(tmp_path / "bag", {f"{n:04}": b"x" for n in range(2000)})  # 2 kB, but 2,000 blocks
    with small_disk(importer.outputs, "size=5m"):
        result = importer("--jobs", "1")
        assert result.status == 4
        assert result.last.startswith("IMPORT FAILED: no space left in /safe_outputs")
        assert not importer.final.exists()
        arrived = len(contents(importer.partial))
        assert 500 < arrived < 2000
        subprocess.run(["mount", "-o", "remount,size=64m", importer.outputs], check=True)
        result = importer()
        assert result.last == importer.ok
        assert "were there already" in result.log
