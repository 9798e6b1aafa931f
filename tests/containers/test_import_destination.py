"""The import program with every kind of destination, for every user, in both engines."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.bags import contents, write_bag
from tests.containers.engines import need
from tests.containers.importer import FILES, MANY, STRANGER, Importer, await_files, flip, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


NO_PRIVILEGES = ("--cap-drop=all", "--security-opt=no-new-privileges")
USERS = {
    "root": (),
    "stranger": (f"--user={STRANGER}:0",),  # as Kubernetes does it: no entry in /etc/passwd
    "root on a read-only root": ("--read-only",),
    "stranger on a read-only root": (f"--user={STRANGER}:{STRANGER}", "--read-only", *NO_PRIVILEGES),
}


class Place(NamedTuple):
    """How the import gets its destination."""

    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    mount: str = "rw"


def empty(importer: Importer, _user: int) -> Iterator[Place]:
    importer.outputs.chmod(0o777)
    yield Place()


def half_filled(importer: Importer, user: int) -> Iterator[Place]:
    """Half of the files have arrived, one of them truncated and one changed."""
    write_bag(importer.partial, FILES)
    images = importer.partial / "data" / "images"
    for number in range(20, 40):
        (images / f"{number:03}.png").unlink()
    (images / "004.png").write_bytes(b"")
    flip(images / "003.png")
    for path in (importer.outputs, *importer.outputs.rglob("*")):
        os.chown(path, user, user)
    yield Place()


def finished(importer: Importer, user: int) -> Iterator[Place]:
    write_bag(importer.final, FILES)
    yield from empty(importer, user)


def foreign(importer: Importer, user: int) -> Iterator[Place]:
    write_bag(importer.final, {"other.csv": b"1,2"})
    yield from empty(importer, user)


def not_mounted(_importer: Importer, _user: int) -> Iterator[Place]:
    yield Place(mount="")


def mounted_read_only(importer: Importer, _user: int) -> Iterator[Place]:
    importer.outputs.chmod(0o777)
    yield Place(mount="ro")


def somebody_else_s(importer: Importer, _user: int) -> Iterator[Place]:
    importer.outputs.chmod(0o755)
    yield Place()


def too_small(importer: Importer, _user: int) -> Iterator[Place]:
    with small_disk(importer.outputs, "size=16k,mode=777"):
        yield Place()


def below_a_read_only_folder(importer: Importer, _user: int) -> Iterator[Place]:
    importer.outputs.chmod(0o777)
    project = importer.outputs.parent / "project"
    (project / "outputs").mkdir(parents=True)
    options = (f"--volume={project}:/mnt/project:ro", f"--volume={importer.outputs}:/mnt/project/outputs")
    yield Place(("--to", "/mnt/project/outputs"), options, mount="")


OK = (0, "IMPORT OK reef@v1 {digest}")
DIFFERS = (7, "IMPORT FAILED: /safe_outputs/reef/v1 differs from the manifest in 53 of 54 files, such as ")
NOT_MOUNTED = (3, "IMPORT FAILED: /safe_outputs is not mounted, what is written there would vanish with this container")
TOO_SMALL = (4, "IMPORT FAILED: not enough space in /safe_outputs: 0.1 MB are needed, 0.0 MB are free")
REFUSED = "IMPORT FAILED: /safe_outputs cannot be written to by user {user}: mkdir: can't create directory "
READ_ONLY = (3, REFUSED + "'/safe_outputs/reef': Read-only file system")
DENIED = (3, REFUSED + "'/safe_outputs/reef': Permission denied")

# The state of the destination, the result for root, and the result for a stranger.
DESTINATIONS: list[tuple[Callable[[Importer, int], Iterator[Place]], tuple[int, str], tuple[int, str]]] = [
    (empty, OK, OK),
    (half_filled, OK, OK),
    (finished, OK, OK),
    (foreign, DIFFERS, DIFFERS),
    (not_mounted, NOT_MOUNTED, NOT_MOUNTED),
    (mounted_read_only, READ_ONLY, READ_ONLY),
    (somebody_else_s, OK, DENIED),
    (too_small, TOO_SMALL, TOO_SMALL),
    (below_a_read_only_folder, OK, OK),
]


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize(
    ("prepare", "for_root", "for_stranger"), DESTINATIONS, ids=[row[0].__name__ for row in DESTINATIONS]
)
def test_every_destination_for_every_user(
    anywhere: Importer,
    prepare: Callable[[Importer, int], Iterator[Place]],
    for_root: tuple[int, str],
    for_stranger: tuple[int, str],
    name: str,
) -> None:
    """Status and last line match the table; OK means that everything arrived, anything else that nothing changed."""
    user = 0 if name.startswith("root") else int(STRANGER)
    status, last = for_stranger if user else for_root
    destination: Callable[[Importer, int], AbstractContextManager[Place]] = contextlib.contextmanager(prepare)
    with destination(anywhere, user) as place:
        before = contents(anywhere.final)
        result = anywhere(*place.arguments, options=(*USERS[name], *place.options), mount=place.mount)
        last = last.format(digest=anywhere.digest, user=user)
        assert (result.status, result.last[: len(last)]) == (status, last), result.log
        if status == 0:
            assert contents(anywhere.final / "data") == FILES
        else:
            assert contents(anywhere.final) == before


def test_a_folder_that_is_not_there_is_refused(importer: Importer) -> None:
    """A misspelt destination is not created."""
    result = importer("--to", "/safe_output")
    assert (result.status, result.last) == (3, "IMPORT FAILED: there is no folder /safe_output: mount one there")


def test_a_folder_below_a_mount(importer: Importer) -> None:
    """The destination may be a folder below a mount, and its name may contain spaces."""
    (importer.outputs / "my project").mkdir()
    options = (f"--volume={importer.outputs}:/mnt/shared disk",)
    result = importer("--to", "/mnt/shared disk/my project", options=options)
    assert result.last == importer.ok, result.log
    assert (importer.outputs / "my project" / "reef" / "v1" / "data" / "train.json").exists()


def test_the_partial_copy_of_somebody_else_is_refused(importer: Importer) -> None:
    """An import can't resume another user's partial copy; the message says what to do."""
    (importer.partial / "data").mkdir(parents=True)
    (importer.outputs / "reef").chmod(0o777)
    result = importer(options=(f"--user={STRANGER}:{STRANGER}",))
    assert result.status == 3
    assert "v1.partial belongs to another user" in result.last


def test_too_little_space_is_noticed_first(importer: Importer, many: Path) -> None:
    """Nothing is copied if it can't fit; the message says what is needed and what is free, and a receipt remains."""
    importer = importer.carrying(many, MANY)
    with small_disk(importer.outputs, "size=8m"):
        result = importer()
        assert result.status == 4
        assert "251.7 MB are needed, 8.4 MB are free" in result.last
        assert {path.name for path in (importer.outputs / "reef").iterdir()} == {"v1.import.txt", "v1.import.json"}
        assert importer.receipt.read_text().endswith(result.last + "\n")


def test_too_few_inodes_are_noticed_first(importer: Importer) -> None:
    """A file system with free space but no free inodes is refused too."""
    with small_disk(importer.outputs, "size=64m,nr_inodes=20"):
        result = importer()
        assert result.status == 4
        assert "more files are to come" in result.last


def test_a_disk_that_fills_up_and_is_made_larger(importer: Importer, tmp_path: Path) -> None:
    """A full disk ends with 4, nothing has the final name, and the next run resumes."""
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


def test_a_destination_that_squashes_root(importer: Importer) -> None:
    """If root is mapped to nobody, as on NFS, the import works in nobody's folder; elsewhere it names the user."""
    nobody = ("--uidmap=0:65534:1", "--gidmap=0:65534:1")  # what NFS maps root to: it owns no file and has no privilege
    result = importer(options=nobody)
    assert result.status == 3
    assert "cannot be written to by user 0" in result.last
    os.chown(importer.outputs, 65534, 65534)
    result = importer(options=nobody)
    assert result.last == importer.ok, result.log
    assert importer.final.stat().st_uid == 65534


def test_a_quota_that_runs_out(importer: Importer, tmp_path: Path) -> None:
    """A full quota ends with 4 even if the disk has space; with a larger quota the next run resumes."""
    need("mkfs.btrfs")
    importer = importer.carrying(tmp_path / "bag", {f"{n:02}": os.urandom(1 << 20) for n in range(20)})
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, importer.outputs], check=True)
    try:
        subprocess.run(["btrfs", "quota", "enable", importer.outputs], check=True)
        subprocess.run(["btrfs", "qgroup", "limit", "8M", importer.outputs], check=True)
        result = importer()
        assert (result.status, importer.final.exists()) == (4, False), result.log
        assert result.last.startswith("IMPORT FAILED: no space left in /safe_outputs")
        subprocess.run(["btrfs", "qgroup", "limit", "none", importer.outputs], check=True)
        assert importer().last == importer.ok
    finally:
        subprocess.run(["umount", importer.outputs], check=True)


def test_a_case_insensitive_file_system(importer: Importer, tmp_path: Path) -> None:
    """If ``a`` and ``A`` are one folder, files overwrite each other: this is noticed, and nothing has the final name.

    The kernel here has no case-insensitive file system: one folder mounted over the other imitates it.
    """
    importer = importer.carrying(tmp_path / "bag", {"a/1": b"1", "A/1": b"2"})
    one, other = importer.partial / "data" / "a", importer.partial / "data" / "A"
    one.mkdir(parents=True)
    other.mkdir()
    subprocess.run(["mount", "--bind", one, other], check=True)
    try:
        result = importer()
        assert (result.status, importer.final.exists()) == (6, False)
        assert "differs from the manifest in 1 of 6 files" in result.last
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_file_that_vanishes(importer: Importer, many: Path) -> None:
    """A file that is removed after it was checked is noticed at the end."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--cpus=0.3",)) as process:
        await_files(importer.partial, 40)  # the next batch has started: the first was checked
        (importer.partial / "data" / "000.bin").unlink()
        log, _ = process.communicate(timeout=120)
    assert (process.returncode, importer.final.exists()) == (6, False)
    assert "holds 243 files, not 244" in log.splitlines()[-1]


def test_names_of_the_maximum_length(importer: Importer, tmp_path: Path) -> None:
    """A name of 255 bytes arrives, and so does a path of more than 1,000."""
    deep = "/".join(["d" * 255] * 4)
    files = {"n" * 255: b"1", "海" * 85: b"2", f"{deep}/{'f' * 255}": b"3"}
    importer = importer.carrying(tmp_path / "bag", files)
    assert importer().last == importer.ok
    assert contents(importer.final / "data") == files
