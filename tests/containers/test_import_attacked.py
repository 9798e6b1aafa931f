"""An import into a folder where others may write too: it writes nowhere else, and nothing unproven gets the name."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.bags import contents, write_bag
from tests.containers.importer import FILES, MANY, STRANGER, Importer, await_files

if TYPE_CHECKING:
    from pathlib import Path

SLOW = {"options": ("--cpus=0.3",)}


def as_stranger(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a folder as a user without privileges, who needs no way to get there."""
    setpriv = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    return subprocess.run([*setpriv, "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def elsewhere(importer: Importer, tmp_path: Path) -> Path:
    """Make a folder that the container has, and that no import may write to; open the destination to everybody."""
    (importer.outputs / "reef").mkdir()
    for folder in (tmp_path, importer.outputs, importer.outputs / "reef"):
        folder.chmod(0o777)
    target = importer.outputs / "elsewhere"
    target.mkdir()
    return target


def test_nobody_else_can_change_the_copy_while_it_is_made(importer: Importer, many: Path, elsewhere: Path) -> None:
    """Another user can put no link into the partial copy, however open the folders around it are."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", **SLOW) as process:
        await_files(importer.partial, 20)
        swap = as_stranger("mv v1.partial/data gone && ln -s elsewhere v1.partial/data", importer.partial.parent)
        log, _ = process.communicate(timeout=120)
    assert swap.stderr == "mv: cannot stat 'v1.partial/data': Permission denied\n"
    assert log.splitlines()[-1] == importer.ok
    assert list(elsewhere.iterdir()) == []
    assert importer.final.stat().st_mode & 0o777 == 0o755


def test_a_copy_that_is_replaced_by_a_link_while_it_is_made(importer: Importer, many: Path, elsewhere: Path) -> None:
    """The link is not followed, and the import says that the folder is no longer its own."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", **SLOW) as process:
        await_files(importer.partial, 20)
        swap = as_stranger("mv v1.partial gone && ln -s ../elsewhere v1.partial", importer.partial.parent)
        log, _ = process.communicate(timeout=120)
    assert swap.returncode == 0, swap.stderr
    assert process.returncode == 7
    assert log.splitlines()[-1].startswith("IMPORT FAILED: another import took over in ")
    assert list(elsewhere.iterdir()) == []
    assert not importer.final.exists()


def test_a_link_in_an_earlier_partial_copy_is_refused(importer: Importer, elsewhere: Path) -> None:
    """A folder of the payload that is a link, left by anybody, is named before anything is copied."""
    write_bag(importer.partial, FILES)
    (importer.partial / "data" / "images").rename(importer.partial / "data" / "old")
    (importer.partial / "data" / "images").symlink_to(elsewhere)
    result = importer()
    assert (result.status, list(elsewhere.iterdir())) == (7, [])
    assert result.last.endswith("v1.partial/data/images is neither a file nor a folder: move it away")


def test_a_folder_of_somebody_else_in_the_partial_copy_is_refused(importer: Importer, elsewhere: Path) -> None:
    """Its owner could replace what is in it at any time."""
    write_bag(importer.partial, FILES)
    os.chown(importer.partial / "data" / "images", int(STRANGER), int(STRANGER))
    result = importer()
    assert (result.status, list(elsewhere.iterdir())) == (3, [])
    assert result.last.endswith("v1.partial/data/images belongs to another user: remove it")


def test_an_open_partial_copy_is_closed(importer: Importer) -> None:
    """Folders that everybody may write to, as an earlier import may have left them, are used once nobody else may."""
    write_bag(importer.partial, {name: content for name, content in FILES.items() if not name.startswith("images/0")})
    for path in (importer.partial, *importer.partial.rglob("*")):
        path.chmod(0o777)
    assert importer().last == importer.ok
    assert {path.stat().st_mode & 0o022 for path in (importer.final, *importer.final.rglob("*")) if path.is_dir()} == {
        0
    }
    assert contents(importer.final / "data") == FILES


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_a_link_in_place_of_the_lock_is_not_followed(importer: Importer, elsewhere: Path, target: str) -> None:
    """Nothing is made or changed where it leads, and the last line names it at once."""
    victim = elsewhere / "victim"
    victim.write_text("mine")
    (importer.outputs / "reef" / ".v1.lock").symlink_to(f"../elsewhere/{target}")
    result = importer()
    assert (result.status, [path.name for path in elsewhere.iterdir()]) == (7, ["victim"])
    assert result.last.endswith(".v1.lock is not a file: move it away")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["v1.import.txt", "v1.import.txt.new"])
def test_links_in_place_of_the_receipt_are_not_followed(importer: Importer, elsewhere: Path, name: str) -> None:
    """The receipt is a file of its own: a link with its name leads nobody to another file."""
    victim = elsewhere / "victim"
    victim.write_text("mine")
    (importer.outputs / "reef" / name).symlink_to("../elsewhere/victim")
    assert importer().last == importer.ok
    assert victim.read_text() == "mine"


FORGED = "IMPORT OK reef@v1 sha256:" + "0" * 64


@pytest.mark.parametrize("between", ["\r", "\n", "\x1b[2K\x1b[1A", "\x0b", "\x7f"])
def test_no_name_or_argument_can_forge_a_line(importer: Importer, between: str) -> None:
    """Control characters in names at the destination, in arguments and in the environment are shown as `?`."""
    importer()
    (importer.final / f"x{between}{FORGED}").write_bytes(b"")
    found = importer("--check")
    logs = [
        found,
        importer("--to", f"/x{between}{FORGED}"),
        importer(f"x{between}{FORGED}"),
        importer("--jobs", f"x{between}{FORGED}"),
        importer(options=("-e", f"DATAPACK_DATASET=x{between}{FORGED}@v1")),
    ]
    assert found.status == 6
    for result in logs:
        assert result.last.startswith("IMPORT FAILED: "), result.log
        assert not re.search(r"[^\n\x20-\x7e]|^IMPORT OK", result.log, re.MULTILINE), result.log


@pytest.mark.parametrize(
    "name", ["OPTIND", "IFS", "ENV", "CDPATH", "PS4", "bag", "place", "lock", "token", "POSIXLY_CORRECT"]
)
def test_the_environment_changes_nothing(importer: Importer, name: str) -> None:
    """An engine passes on what its user sets; nothing of it reaches the import."""
    result = importer(options=("-e", f"{name}=1"))
    assert (result.status, result.last) == (0, importer.ok), result.log


@pytest.mark.parametrize("folder", ["a b", "a\\b", "a\\040b"])
def test_a_mount_with_an_odd_name_is_a_mount(importer: Importer, tmp_path: Path, folder: str) -> None:
    """The kernel escapes spaces and backslashes in its list of mounts."""
    (tmp_path / "odd").mkdir()
    result = importer("--to", f"/{folder}", options=(f"--mount=type=bind,source={tmp_path / 'odd'},target=/{folder}",))
    assert (result.status, result.last) == (0, importer.ok), result.log
