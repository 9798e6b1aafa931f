"""The import program, `datapack/import.sh`, in real containers on a real busybox."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import bagit
import pytest
from bags import contents, digest_of, write_bag
from engines import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines import Engine

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]  # one worker starts each engine once

PROGRAM = PROJECT / "datapack" / "import.sh"
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
MANY = {f"{number:03}.bin": bytes([number]) * (1 << 20) for number in range(240)}  # four batches: time to be stopped in
STRANGER = "12345"  # a user without an entry in /etc/passwd


@dataclass(frozen=True)
class Result:
    """What an import did, as a data manager sees it."""

    status: int
    log: str

    @property
    def last(self) -> str:
        return self.log.splitlines()[-1]


@dataclass(frozen=True)
class Importer:
    """An import image in an engine, the folder that it copies to, and a bag that may stand in for the image's own."""

    engine: Engine
    image: str
    digest: str
    outputs: Path
    bag: Path | None = None

    def __call__(self, *arguments: str, options: tuple[str, ...] = (), mount: str = "rw") -> Result:
        done = self.engine.run(*self.command(*arguments, options=options, mount=mount), check=False)
        return Result(done.returncode, done.stdout)

    def command(self, *arguments: str, options: tuple[str, ...] = (), mount: str = "rw") -> list[str]:
        """Give the engine's command; ``mount`` is how the destination is mounted, if it is."""
        outputs = (f"-v={self.outputs}:/safe_outputs:{mount}",) if mount else ()
        bag = (f"-v={self.bag}:/dataset/reef:ro", f"-e=DATAPACK_DIGEST={self.digest}") if self.bag else ()
        return ["run", "--rm", "--network=none", *outputs, *bag, *options, self.image, *arguments]

    @contextlib.contextmanager
    def running(self, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
        """Run an import beside the test."""
        command = [*self.engine.command, *self.command(*arguments, options=options)]
        environment = {**os.environ, **self.engine.environment}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def carrying(self, bag: Path, files: dict[str, bytes]) -> Importer:
        """Put another bag in the place of the image's own; it is written, unless it is there."""
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
    def ok(self) -> str:
        return f"IMPORT OK reef@v1 {self.digest}"


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Engine], tuple[str, str]]:
    """Build the import image of `FILES` in an engine, once; give its name and the dataset digest."""
    context = tmp_path_factory.mktemp("context")
    (context / "datapack").mkdir()
    shutil.copy(PROGRAM, context / "datapack")
    digest = write_bag(context / "data" / "reef" / "v1", FILES)
    built: dict[str, str] = {}

    def build(engine: Engine) -> tuple[str, str]:
        if engine.name not in built:
            built[engine.name] = "localhost/reef:v1"
            arguments = {"BASE": "localhost/stand-in:latest", "NAME": "reef", "DATA_VERSION": "v1", "DIGEST": digest}
            engine.build(PROJECT / "docker" / "data" / "Dockerfile", context, built[engine.name], **arguments)
        return built[engine.name], digest

    return build


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bag that takes a while to copy."""
    bag = tmp_path_factory.mktemp("many") / "bag"
    write_bag(bag, MANY)
    return bag


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Give an empty folder to import to."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def anywhere(build: Callable[[Engine], tuple[str, str]], engine: Engine, outputs: Path) -> Importer:
    """Give the import image in each engine."""
    return Importer(engine, *build(engine), outputs)


@pytest.fixture
def importer(build: Callable[[Engine], tuple[str, str]], podman: Engine, outputs: Path) -> Importer:
    """Give the import image in podman, which is what the Safe Haven has."""
    return Importer(podman, *build(podman), outputs)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system of a limited size."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def flip(path: Path) -> None:
    """Change one byte of a file, and neither its size nor anything else."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def await_files(folder: Path, count: int) -> None:
    """Wait until so many files have begun to arrive."""
    deadline = time.monotonic() + 60
    while sum(1 for path in folder.rglob("*") if path.is_file()) < count:
        assert time.monotonic() < deadline, f"nothing arrives in {folder}"
        time.sleep(0.005)


# What an import does


def test_every_byte_arrives(anywhere: Importer) -> None:
    """In both engines the whole bag arrives, strange names and all, and another program calls it whole."""
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
    """The destination holds the dataset and the receipt, and what others put beside it stays."""
    (importer.outputs / "other").write_text("mine")
    assert importer().status == 0
    assert {path.name for path in importer.outputs.iterdir()} == {"other", "reef"}
    assert {path.name for path in (importer.outputs / "reef").iterdir()} == {"v1", "v1.import.txt"}
    assert (importer.outputs / "other").read_text() == "mine"


def test_the_receipt_says_what_the_log_says(importer: Importer) -> None:
    """The receipt has the dataset, the digest, files, bytes, licence, seconds and the result, as the log's end has."""
    result = importer()
    facts = dict(line.split(maxsplit=1) for line in importer.receipt.read_text().splitlines()[:-1])
    assert facts.pop("seconds").isdigit()
    size = sum(map(len, FILES.values()))
    assert facts == {
        "dataset": "reef@v1",
        "digest": importer.digest,
        "files": str(len(FILES)),
        "bytes": str(size),
        "licence": "CC-BY-4.0",
    }
    assert result.log.endswith(importer.receipt.read_text())
    assert importer.receipt.read_text().endswith(f"\n{importer.ok}\n")


@pytest.mark.parametrize("user", ["0:0", f"{STRANGER}:0", f"{STRANGER}:{STRANGER}"])
def test_any_user_on_a_read_only_root(anywhere: Importer, user: str) -> None:
    """An import works for root and for a user that nobody knows, without a writable root and without any capability."""
    anywhere.outputs.chmod(0o777)
    result = anywhere(options=(f"--user={user}", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"))
    assert (result.status, result.last) == (0, anywhere.ok), result.log
    assert f"{anywhere.final.stat().st_uid}" == user.partition(":")[0]


def test_the_log_has_a_line_now_and_then(importer: Importer, many: Path) -> None:
    """Progress is at most a line for each tenth."""
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


def test_a_second_run_changes_nothing(anywhere: Importer) -> None:
    """What is there and whole is verified and left as it is."""
    anywhere()
    before = {path: identity(path) for path in anywhere.final.rglob("*")}
    result = anywhere()
    assert (result.status, result.last) == (0, anywhere.ok)
    assert "already there" in result.log
    assert {path: identity(path) for path in anywhere.final.rglob("*")} == before


def test_help_names_every_option_and_every_status(importer: Importer) -> None:
    """--help is enough to use it by."""
    result = importer("--help")
    assert result.status == 0
    assert all(option in result.log for option in ("--to", "--jobs", "--check", "--list", "--help", "/safe_outputs"))
    assert all(f"{status} " in result.log for status in (0, 2, 3, 4, 5, 6, 7))


def test_list_says_what_the_image_carries(importer: Importer) -> None:
    """--list names the dataset, its digest, size and licence; it needs no destination and writes nothing."""
    result = importer("--list")
    assert result.status == 0
    for fact in ("reef@v1", importer.digest, str(len(FILES)), str(sum(map(len, FILES.values()))), "CC-BY-4.0"):
        assert fact in result.log
    assert not list(importer.outputs.iterdir())


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


# The destination


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


# An image that is damaged


def damage_payload(bag: Path) -> None:
    flip(bag / "data" / "images" / "007.png")


def remove_payload(bag: Path) -> None:
    (bag / "data" / "images" / "007.png").unlink()


def damage_manifest(bag: Path) -> None:
    flip(bag / "manifest-sha256.txt")


def damage_tag_file(bag: Path) -> None:
    flip(bag / "bag-info.txt")


def remove_everything(bag: Path) -> None:
    shutil.rmtree(bag)
    bag.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_payload, "data/images/007.png"),
        (remove_payload, "data/images/007.png"),
        (damage_manifest, "its manifest is not sha256:"),
        (damage_tag_file, "a file beside its manifest"),
        (remove_everything, "its manifest is not sha256:"),
    ],
)
def test_a_damaged_image(importer: Importer, tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    """An image that is not what it says ends with 5, names the file, and gives nothing the final name."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    damage(tmp_path / "bag")
    result = importer()
    assert result.status == 5
    assert result.last.startswith("IMPORT FAILED: this image is damaged")
    assert said in result.last
    assert not importer.final.exists()
    assert importer.receipt.read_text().endswith(result.last + "\n")


def test_an_image_without_its_settings(importer: Importer) -> None:
    """Without DATAPACK_DATASET there is nothing to import."""
    result = importer(options=("--env=DATAPACK_DATASET=",))
    assert result.status == 5
    assert "DATAPACK_DATASET" in result.last


def test_the_names_of_many_damaged_files_are_cut_short(importer: Importer, tmp_path: Path) -> None:
    """The log names ten files, and the last line says how many there are."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    for number in range(30):
        flip(tmp_path / "bag" / "data" / "images" / f"{number:03}.png")
    result = importer()
    assert result.log.count("damaged: data/") == 10
    assert "in 30 of its files" in result.last


# What is there already


@pytest.fixture
def half_done(importer: Importer, tmp_path: Path) -> Importer:
    """Give an import that was cut off: half of the files have arrived."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    shutil.copytree(tmp_path / "bag", importer.partial)
    for number in range(20, 40):
        (importer.partial / "data" / "images" / f"{number:03}.png").unlink()
    return importer


def test_what_has_arrived_is_not_copied_again(half_done: Importer) -> None:
    """Whole files stay as they are; missing, changed and cut-off ones are copied."""
    images = half_done.partial / "data" / "images"
    flip(images / "003.png")
    (images / "004.png").write_bytes(b"")
    before = {number: identity(images / f"{number:03}.png") for number in range(20)}
    result = half_done()
    assert result.last == half_done.ok
    images = half_done.final / "data" / "images"
    assert {n for n in range(20) if identity(images / f"{n:03}.png") != before[n]} == {3, 4}
    assert f"{len(FILES) + 4 - 22} of {len(FILES) + 4} files were there already, 22 were copied" in result.log
    assert contents(half_done.final) == contents(half_done.bag or Path())


def test_foreign_files_are_named_and_stay(half_done: Importer) -> None:
    """A file in our folder that is not of the dataset is neither removed nor delivered."""
    (half_done.partial / "data" / "notes on reefs.txt").write_text("mine")
    result = half_done()
    assert result.status == 6
    assert "data/notes on reefs.txt" in result.last
    assert (half_done.partial / "data" / "notes on reefs.txt").read_text() == "mine"
    assert not half_done.final.exists()


def test_a_folder_in_the_place_of_a_file(half_done: Importer) -> None:
    """What can't be copied right, although the image is right, ends with 6 and the reason."""
    (half_done.partial / "data" / "images" / "030.png").mkdir()
    result = half_done()
    assert result.status == 6
    assert "data/images/030.png" in result.last
    assert "cp: " in result.log
    assert not half_done.final.exists()


def test_a_link_does_not_lead_outside(half_done: Importer, tmp_path: Path) -> None:
    """A link in our folder ends with 7, and what it points at stays as it is."""
    (half_done.outputs / "precious").write_text("mine")
    (half_done.partial / "data" / "images" / "030.png").symlink_to("../../../../precious")
    result = half_done()
    assert result.status == 7
    assert "030.png" in result.last
    assert (half_done.outputs / "precious").read_text() == "mine"


@pytest.mark.parametrize("place", ["reef", "reef/v1", "reef/v1.partial"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_something_else_in_a_folder_s_place(importer: Importer, place: str, kind: str) -> None:
    """A file or a link where a folder should be ends with 7 and is left alone."""
    path = importer.outputs / place
    path.parent.mkdir(exist_ok=True)
    (importer.outputs / "elsewhere").mkdir()
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(importer.outputs / "elsewhere" if kind == "link" else "nowhere")
    before = contents(importer.outputs), sorted(importer.outputs.rglob("*"))
    result = importer()
    assert result.status == 7
    assert f"/safe_outputs/{place} is not a folder" in result.last
    assert (contents(importer.outputs), sorted(importer.outputs.rglob("*"))) == before


def test_another_dataset_under_the_final_name(importer: Importer) -> None:
    """What has the final name and differs is not touched, and its receipt stays."""
    write_bag(importer.final, {"other.csv": b"1,2"})
    importer.receipt.write_text("IMPORT OK reef@v1 of last year\n")
    before = contents(importer.outputs)
    result = importer()
    assert result.status == 7
    assert "differs from the manifest" in result.last
    assert contents(importer.outputs) == before


def test_one_byte_of_an_earlier_import(importer: Importer) -> None:
    """A changed byte in what was imported earlier is found, and named."""
    importer()
    flip(importer.final / "data" / "images" / "005.png")
    result = importer()
    assert result.status == 7
    assert "data/images/005.png" in result.last


# --check


def add_file(final: Path) -> None:
    (final / "data" / "images" / "extra.png").write_bytes(b"")


def remove_file(final: Path) -> None:
    (final / "data" / "images" / "005.png").unlink()


def change_file(final: Path) -> None:
    flip(final / "data" / "images" / "005.png")


def change_tag_file(final: Path) -> None:
    flip(final / "tagmanifest-sha256.txt")


def make_link(final: Path) -> None:
    shutil.move(final / "data" / "images" / "005.png", final.parent / "005.png")
    (final / "data" / "images" / "005.png").symlink_to("../../../005.png")


def test_check_on_a_read_only_mount(anywhere: Importer) -> None:
    """--check verifies what is there, all of it, and needs to write nothing."""
    anywhere()
    result = anywhere("--check", options=("--read-only",), mount="ro")
    assert (result.status, result.last) == (0, anywhere.ok)


@pytest.mark.parametrize("change", [add_file, remove_file, change_file, change_tag_file, make_link])
def test_check_finds_a_change(importer: Importer, change: Callable[[Path], None]) -> None:
    """--check ends with 6 where a file is new, missing, changed or a link, and it repairs nothing."""
    importer()
    change(importer.final)
    before = contents(importer.outputs)
    result = importer("--check")
    assert result.status == 6
    assert result.last.startswith("IMPORT FAILED: ")
    assert contents(importer.outputs) == before


def test_check_where_there_is_nothing(importer: Importer) -> None:
    """--check of a dataset that was not imported ends with 6 and makes nothing."""
    result = importer("--check")
    assert (result.status, result.last) == (6, "IMPORT FAILED: there is no /safe_outputs/reef/v1")
    assert not list(importer.outputs.iterdir())


# Kills, and two at once


def test_a_kill_and_the_same_command_again(importer: Importer, many: Path) -> None:
    """After a kill nothing has the final name; the next run does not copy again what had arrived whole."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=killed",)):
        await_files(importer.partial, 40)
        importer.engine.run("kill", "--signal=KILL", "killed")
    assert not importer.final.exists()
    arrived = {
        path.name: identity(path)
        for path in (importer.partial / "data").iterdir()
        if path.read_bytes() == MANY[path.name]
    }
    assert 0 < len(arrived) < len(MANY)
    result = importer()
    assert result.last == importer.ok, result.log
    assert "waiting 15 s" in result.log  # the lock of the one that was killed
    assert {name: identity(importer.final / "data" / name) for name in arrived} == arrived


def test_a_kill_of_the_work_alone(importer: Importer, many: Path) -> None:
    """Where the kernel kills the work, as it does for want of memory, the last line still says that it failed."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=starved",)) as process:
        await_files(importer.partial, 10)
        find = "grep -l -e '[-]-session' /proc/[0-9]*/cmdline | cut -d / -f 3"
        # The container may be gone before `exec` can say how its command ended: what counts is what the log says.
        importer.engine.run("exec", "starved", "sh", "-c", f"kill -KILL $({find})", check=False)
        log, _ = process.communicate(timeout=60)
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped (status 137)")
    assert process.returncode == 137
    assert not importer.final.exists()


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_stop(anywhere: Importer, many: Path, signal: str) -> None:
    """A stopped import says so in its last line and in a receipt, and leaves no lock behind."""
    importer = anywhere.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=stopped",)) as process:
        await_files(importer.partial, 10)
        importer.engine.run("kill", f"--signal={signal}", "stopped")
        log, _ = process.communicate(timeout=60)
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped")
    assert process.returncode == 143
    assert importer.receipt.read_text().endswith("IMPORT FAILED: stopped by a signal\n")
    assert not importer.final.exists()
    result = importer()
    assert result.last == importer.ok
    assert "waiting" not in result.log


def test_two_imports_at_once(importer: Importer, many: Path) -> None:
    """The second of two imports to one place ends with 7; the first goes on and ends well."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--cpus=0.1",)) as first:
        await_files(importer.partial, 1)
        result = importer()
        log, _ = first.communicate(timeout=120)
    assert result.status == 7
    assert result.last.startswith("IMPORT FAILED: another import is writing")
    assert log.splitlines()[-1] == importer.ok
    assert contents(importer.final) == contents(importer.bag or Path())


# The program itself


def test_the_program_is_clean() -> None:
    """Shellcheck has nothing to say."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--shell=sh", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
