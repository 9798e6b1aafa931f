"""The import program in a damaged image."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.containers.importer import FILES, Importer, flip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
    """In a damaged image, the import ends with 5, names the file, and gives nothing the final name."""
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
