"""What an import leaves for the record: its receipts, as text and as JSON, and the block in its log."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.bags import write_bag
from tests.containers.engines import STAND_IN
from tests.containers.importer import FILES, MANY, STRANGER, VERSION, Importer, flip, halve, small_disk

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "---- for the record: begin ----\n", "---- for the record: end ----\n"
SIZE, COUNT = sum(map(len, FILES.values())), len(FILES)
TAGS = 4  # files of a bag besides its payload


def record_of(importer: Importer) -> dict[str, Any]:
    """Read the receipt for programs: it must say the same as the one for people."""
    record: dict[str, Any] = json.loads(importer.record.read_text(encoding="ascii"))
    *lines, last = importer.receipt.read_text().splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert record["result"] == last
    for key in facts.keys() & record.keys():
        assert str(record[key]) == facts[key] or key == "copied", key
    return record


def times(record: dict[str, Any]) -> tuple[datetime, datetime, int]:
    """Take out the times, which no test can know."""
    started, ended = (
        datetime.strptime(record.pop(key), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for key in ("started", "ended")
    )
    return started, ended, record.pop("seconds")


def test_the_receipt_for_programs(importer: Importer) -> None:
    """It has every fact about the image, the program, the time, the user and the result, each once, as its type."""
    before = datetime.now(UTC).replace(microsecond=0)
    assert importer(options=("-e=DATAPACK_BASE=example.org/tiny:1@sha256:" + "a" * 64, "-e=TZ=Asia/Tokyo")).status == 0
    record = record_of(importer)
    started, ended, seconds = times(record)
    assert before <= started <= ended <= datetime.now(UTC)
    assert abs((ended - started).seconds - seconds) <= 1
    assert record == {
        "format": 1,
        "dataset": "reef@v1",
        "digest": importer.digest,
        "files": COUNT,
        "bytes": SIZE,
        "licence": "CC-BY-4.0",
        "base_name": "example.org/tiny:1",
        "base_digest": "sha256:" + "a" * 64,
        "program_version": VERSION,
        "user": 0,
        "copied": COUNT + TAGS,
        "already_there": 0,
        "status": 0,
        "result": importer.ok,
    }


def test_the_block_in_the_log_has_the_facts_of_the_receipt(importer: Importer) -> None:
    """The log of an import that worked ends with one block to copy, then the last line; the receipt has the same."""
    log = importer().log
    before, _, rest = log.partition(BEGIN)
    block, _, last = rest.partition(END)
    assert last == f"{importer.ok}\n"
    assert BEGIN not in rest
    *facts, result = block.splitlines()
    assert result == "result    complete: every byte of it was verified in /safe_outputs/reef/v1"
    assert importer.receipt.read_text().splitlines() == [*facts, importer.ok]
    names = " ".join(line.split()[0] for line in facts)
    assert names == "dataset digest files bytes licence base program started ended seconds user copied"
    assert f"base      {STAND_IN}\nprogram   import {VERSION}\n" in block
    assert f"copied    {COUNT + TAGS} of {COUNT + TAGS} files, 0 were there already" in block
    assert "for the record" not in before


def test_what_was_copied_and_what_was_there(importer: Importer) -> None:
    """An import that continues says how much it copied; one that finds everything says that it copied nothing."""
    importer()
    halve(importer.final)
    importer()
    record = record_of(importer)
    assert (record["copied"], record["already_there"]) == (2, COUNT + TAGS - 2)
    importer()
    record = record_of(importer)
    assert (record["copied"], record["already_there"], record["status"]) == (0, COUNT + TAGS, 0)


@pytest.mark.parametrize(
    ("licence", "shown"),
    [
        ('CC "BY" \\ 4.0', 'CC "BY" \\ 4.0'),
        ("Größe 海 😀", "Größe 海 😀"),
        ("a\x1b[2K\rIMPORT OK", "a?[2K?IMPORT OK"),
        ("x\nLicence: IMPORT OK reef@v1", "x"),
        ("-n", "-n"),
        ("%s%d\\n$(id)`id`", "%s%d\\n$(id)`id`"),
    ],
)
def test_any_licence_is_a_string(importer: Importer, tmp_path: Path, licence: str, shown: str) -> None:
    """Quotes, control characters and what a shell would expand arrive in the JSON as they are, in the text as `?`."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    write_bag(tmp_path / "bag", FILES, licence)
    result = importer()
    assert result.last == importer.ok, result.log
    assert json.loads(importer.record.read_text())["licence"] == licence.partition("\n")[0]
    assert f"\nlicence   {shown}\n" in importer.receipt.read_text()


@pytest.mark.parametrize(
    ("base", "name", "digest"),
    [
        ("", None, None),
        (f"sha256:{'b' * 64}", None, f"sha256:{'b' * 64}"),
        ("tiny:1", "tiny:1", None),
        ('a"b\\', 'a"b\\', None),
        ("a\nIMPORT OK", None, None),
        ("a b", None, None),
        ("ü", None, None),
    ],
)
def test_any_base(importer: Importer, base: str, name: str | None, digest: str | None) -> None:
    """A base without a name or a digest has null there; one that no datapack wrote is unknown."""
    result = importer(options=(f"-e=DATAPACK_BASE={base}",))
    assert result.last == importer.ok
    record = json.loads(importer.record.read_text())
    assert (record["base_name"], record["base_digest"]) == (name, digest)
    expected = base if name or digest else "unknown"
    assert f"\nbase      {expected}\n" in importer.receipt.read_text()


def test_a_damaged_image_is_described_only_by_its_name(importer: Importer, tmp_path: Path) -> None:
    """Of an image whose manifest is wrong, a receipt gives no digest, size or licence: nothing of it was verified."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    flip(tmp_path / "bag" / "manifest-sha256.txt")
    result = importer()
    record = record_of(importer)
    times(record)
    assert record.pop("base_name") == STAND_IN
    assert {key: value for key, value in record.items() if value is not None} == {
        "format": 1,
        "dataset": "reef@v1",
        "program_version": VERSION,
        "user": 0,
        "status": 5,
        "result": result.last,
    }
    assert importer.receipt.read_text() == f"{result.last}\n"


def test_a_payload_that_is_damaged_in_the_image(importer: Importer, tmp_path: Path) -> None:
    """The receipts say so, and no block in the log looks like that of a complete import."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    flip(tmp_path / "bag" / "data" / "images" / "007.png")
    result = importer()
    record = record_of(importer)
    assert (record["status"], record["result"], record["digest"]) == (5, result.last, importer.digest)
    assert BEGIN not in result.log


def test_too_little_space(importer: Importer, many: Path) -> None:
    """An import that never began to copy has no number of copied files."""
    importer = importer.carrying(many, MANY)
    with small_disk(importer.outputs, "size=8m"):
        importer()
        record = record_of(importer)
    assert (record["status"], record["copied"], record["already_there"]) == (4, None, None)


def test_a_disk_that_is_full_to_the_last_byte(importer: Importer) -> None:
    """Without space for a receipt there is none, and nothing half-written; the last line is said all the same."""
    with small_disk(importer.outputs, "size=512k,nr_inodes=200"):
        assert importer().last == importer.ok
        with contextlib.suppress(OSError), (importer.outputs / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        result = importer()
        assert result.last == importer.ok
        assert {path.name for path in importer.final.parent.iterdir()} <= {"v1", "v1.import.txt", "v1.import.json"}
        for path, end in ((importer.receipt, f"\n{importer.ok}\n"), (importer.record, "\n}\n")):
            assert not path.exists() or path.read_text().endswith(end)


def test_status_7_leaves_both_receipts(importer: Importer) -> None:
    """What is at the destination keeps its own receipts."""
    importer()
    before = importer.receipt.read_bytes(), importer.record.read_bytes()
    flip(importer.final / "data" / "images" / "005.png")
    assert importer().status == 7
    assert (importer.receipt.read_bytes(), importer.record.read_bytes()) == before


def test_nothing_is_written_where_nothing_may_be(anywhere: Importer) -> None:
    """On a read-only destination, and by --check, --list and --version, no receipt is written or changed."""
    assert anywhere(mount="ro").status == 3
    for argument in ("--check", "--list", "--version"):
        anywhere(argument)
    assert not list(anywhere.outputs.iterdir())
    anywhere()
    before = {path: path.stat().st_mtime_ns for path in anywhere.final.parent.iterdir()}
    checked = anywhere("--check")
    assert (checked.status, checked.log.count(BEGIN)) == (0, 1)
    assert {path: path.stat().st_mtime_ns for path in anywhere.final.parent.iterdir()} == before


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_a_stopped_import(importer: Importer, many: Path, signal: str) -> None:
    """A stop leaves receipts that say so; a kill leaves none, and neither leaves the success of an earlier one."""
    importer = importer.carrying(many, MANY)
    importer.signalled(signal)
    if signal == "KILL":
        assert not importer.record.exists()
    else:
        record = record_of(importer)
        assert (record["status"], record["result"]) == (143, "IMPORT FAILED: stopped by a signal")
    assert {path.name for path in importer.final.parent.iterdir()} <= {
        "v1.partial", "v1.import.txt", "v1.import.json", ".v1.lock"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["v1.import.txt", "v1.import.json"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "FIFO"])
def test_something_else_in_place_of_a_receipt(importer: Importer, name: str, kind: str) -> None:
    """A link is replaced and not followed, and nothing waits; where a folder is in the way there is no receipt."""
    (importer.outputs / "reef").mkdir()
    victim, path = importer.outputs / "victim", importer.outputs / "reef" / name
    victim.write_text("mine")
    if kind == "folder":
        (path / "x").mkdir(parents=True)
    elif kind == "FIFO":
        subprocess.run(["mkfifo", path], check=True)
    else:
        path.symlink_to("../victim" if kind == "link" else "../nothing")
    assert importer().last == importer.ok
    assert (victim.read_text(), (importer.outputs / "nothing").exists()) == ("mine", False)
    assert path.is_dir() if kind == "folder" else record_of(importer)["status"] == 0
    assert not re.findall(r"\.[0-9a-f]{8}-", " ".join(path.name for path in importer.final.parent.iterdir()))


def test_a_user_without_a_name(importer: Importer) -> None:
    """The receipt has the number of the user that ran the import, and belongs to that user."""
    importer.outputs.chmod(0o777)
    assert importer(options=(f"--user={STRANGER}:{STRANGER}",)).status == 0
    assert record_of(importer)["user"] == importer.record.stat().st_uid == int(STRANGER)
