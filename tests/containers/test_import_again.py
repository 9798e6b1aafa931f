"""The import program with a destination that already has a complete, partial or foreign copy, and `--check`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bags import contents, write_bag
from tests.containers.importer import FILES, Importer, flip, identity

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def half_done(importer: Importer, tmp_path: Path) -> Importer:
    """An interrupted import: half of the files have arrived."""
    importer = importer.carrying(tmp_path / "bag", FILES)
    shutil.copytree(tmp_path / "bag", importer.partial)
    for number in range(20, 40):
        (importer.partial / "data" / "images" / f"{number:03}.png").unlink()
    return importer


def test_what_has_arrived_is_not_copied_again(half_done: Importer) -> None:
    """Complete files stay as they are; missing, changed and truncated ones are copied."""
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
    """A file in our folder that is not part of the dataset is neither removed nor published."""
    (half_done.partial / "data" / "notes on reefs.txt").write_text("mine")
    result = half_done()
    assert result.status == 6
    assert "data/notes on reefs.txt" in result.last
    assert (half_done.partial / "data" / "notes on reefs.txt").read_text() == "mine"
    assert not half_done.final.exists()


def test_a_folder_in_the_place_of_a_file(half_done: Importer) -> None:
    """If a file can't be copied correctly although the image is intact, the import ends with 6 and the reason."""
    (half_done.partial / "data" / "images" / "030.png").mkdir()
    result = half_done()
    assert result.status == 6
    assert "data/images/030.png" in result.last
    assert "cp: " in result.log
    assert not half_done.final.exists()


def test_a_link_does_not_lead_outside(half_done: Importer, tmp_path: Path) -> None:
    """A link in our folder ends the import with 7, and its target is not changed."""
    (half_done.outputs / "precious").write_text("mine")
    (half_done.partial / "data" / "images" / "030.png").symlink_to("../../../../precious")
    result = half_done()
    assert result.status == 7
    assert "030.png" in result.last
    assert (half_done.outputs / "precious").read_text() == "mine"


@pytest.mark.parametrize("place", ["reef", "reef/v1", "reef/v1.partial"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_something_else_instead_of_a_folder(importer: Importer, place: str, kind: str) -> None:
    """A file or a link where a folder should be ends the import with 7 and is left alone."""
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
    """A different dataset under the final name is not touched, and its receipt stays."""
    write_bag(importer.final, {"other.csv": b"1,2"})
    importer.receipt.write_text("IMPORT OK reef@v1 of last year\n")
    before = contents(importer.outputs)
    result = importer()
    assert result.status == 7
    assert "differs from the manifest" in result.last
    assert contents(importer.outputs) == before


def test_one_byte_of_an_earlier_import(importer: Importer) -> None:
    """A changed byte in an earlier import is found, and the file is named."""
    importer()
    flip(importer.final / "data" / "images" / "005.png")
    result = importer()
    assert result.status == 7
    assert "data/images/005.png" in result.last


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
    """--check verifies every imported file, and writes nothing."""
    anywhere()
    result = anywhere("--check", options=("--read-only",), mount="ro")
    assert (result.status, result.last) == (0, anywhere.ok)


@pytest.mark.parametrize("change", [add_file, remove_file, change_file, change_tag_file, make_link])
def test_check_finds_a_change(importer: Importer, change: Callable[[Path], None]) -> None:
    """--check ends with 6 if a file is new, missing, changed or a link, and it repairs nothing."""
    importer()
    change(importer.final)
    before = contents(importer.outputs)
    result = importer("--check")
    assert result.status == 6
    assert result.last.startswith("IMPORT FAILED: ")
    assert contents(importer.outputs) == before


def test_check_where_there_is_nothing(importer: Importer) -> None:
    """--check of a dataset that was not imported ends with 6 and creates nothing."""
    result = importer("--check")
    assert (result.status, result.last) == (6, "IMPORT FAILED: there is no /safe_outputs/reef/v1")
    assert not list(importer.outputs.iterdir())
