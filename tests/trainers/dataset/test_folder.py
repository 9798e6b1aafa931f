"""Images in a folder: which are found, in which order, and what happens to those that can't be used."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.bags import write_bag
from tests.trainers.havens import png
from trainers.dataset.folder import FolderPixels, Measured, find_images, measure
from trainers.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from pathlib import Path


def look(folder: Path, notes: list[str] | None = None) -> Measured:
    found = find_images(folder, (notes if notes is not None else []).append)
    return measure(found, 2, lambda _: None)


def encoded(form: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, form, **options)
    return out.getvalue()


def test_images_of_every_depth_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    """Names are sorted by their bytes, whatever the disk gives; hidden files, links and other files are left out."""
    (tmp_path / "b" / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("z.png", "B.PNG", "b/deep/er/ö.png", "b/a b.png", ".hidden.png", ".git/x.png", "notes.txt"):
        (tmp_path / name).write_bytes(png(8, 6))
    (tmp_path / "link.png").symlink_to(tmp_path / "z.png")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    os.mkfifo(tmp_path / "pipe.png")
    found = find_images(tmp_path, print)
    assert found.names == ("B.PNG", "b/a b.png", "b/deep/er/ö.png", "z.png")
    assert found.others == {".txt": 1}
    assert found.key == find_images(tmp_path, print).key


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM"])
def test_every_format_that_trainers_decode(tmp_path: Path, form: str) -> None:
    """The size comes from the file, and so do the pixels, scaled to what the model wants."""
    ending = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}.get(form, form.lower())
    (tmp_path / f"a.{ending}").write_bytes(encoded(form))
    measured = look(tmp_path)
    assert measured.given.tolist() == [[40, 30]]
    pixels = FolderPixels(measured, 15, 20)
    assert pixels.sizes.tolist() == [[20, 15]]
    image = pixels.read(0)
    assert image.shape == (15, 20, 3)
    assert image[..., 0].mean() > 240
    assert measured.broken == {}
    assert len(measured.hashes["a." + ending]) == 64


def test_an_image_on_its_side_is_upright(tmp_path: Path) -> None:
    """Its size and its pixels are those that a viewer shows."""
    picture = Image.new("RGB", (40, 30), "black")
    picture.paste("white", (0, 0, 40, 10))
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    measured = look(tmp_path)
    assert measured.given.tolist() == [[30, 40]]
    image = FolderPixels(measured, 30, 40).read(0)
    assert image.shape == (40, 30, 3)
    assert image[:, -5:].mean() > 200
    assert image[:, :5].mean() < 50


def test_broken_images_are_remembered_not_left_out_in_silence(tmp_path: Path) -> None:
    """What is not an image, cut off, too large or unreadable has a reason and its hash; the others are read."""
    (tmp_path / "a.png").write_bytes(png(40, 30))
    (tmp_path / "b.png").write_bytes(png(40, 30)[:-700])
    (tmp_path / "c.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "d.png").touch()
    bomb = bytearray(png(4, 4))
    bomb[16:24] = (1 << 30).to_bytes(4, "big") * 2
    (tmp_path / "e.png").write_bytes(bomb)
    measured = look(tmp_path)
    pixels = FolderPixels(measured, 30, 40)
    images = [pixels.read(index) for index in range(len(measured.names))]
    assert measured.names == ("a.png", "b.png")
    assert measured.broken.keys() == {"b.png", "c.jpg", "d.png", "e.png"}
    assert "truncated" in measured.broken["b.png"]
    assert "not an image in a known format" in measured.broken["c.jpg"]
    assert images[0].any()
    assert not images[1].any()
    assert all(len(measured.hashes[f"{name}"]) == 64 for name in ("a.png", "b.png", "c.jpg", "d.png"))


def test_an_image_that_vanishes_is_broken(tmp_path: Path) -> None:
    """Between the first look and the decoding a file may go; the job goes on."""
    (tmp_path / "a.png").write_bytes(png(40, 30))
    measured = look(tmp_path)
    (tmp_path / "a.png").unlink()
    FolderPixels(measured, 30, 40).read(0)
    assert "can't read this file" in measured.broken["a.png"]


def test_a_large_header_is_read_to_its_end(tmp_path: Path) -> None:
    """A JPEG whose size follows half a megabyte of metadata is measured all the same."""
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", icc_profile=b"x" * 500_000))
    assert look(tmp_path).given.tolist() == [[40, 30]]


@pytest.mark.parametrize("files", [(), ("readme.txt", "model.pt")])
def test_no_image_at_all_is_one_line(tmp_path: Path, files: tuple[str, ...]) -> None:
    """The error says what was looked for, what is there instead, and what to do."""
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match=r"there are no images: expected files that end with .*; put images there"):
        find_images(tmp_path, print)
    with pytest.raises(ConfigError, match="there is no folder of images"):
        find_images(tmp_path / "nowhere", print)


def bag(folder: Path) -> str:
    return write_bag(folder, {"images/a.png": png(40, 30), "images/b.png": png(40, 30, 1), "train.json": b"{}"})


def test_a_bag_is_compared_with_its_manifest(tmp_path: Path) -> None:
    """The log names it; each of its images is compared when it is read."""
    digest = bag(tmp_path / "reef" / "v1")
    (tmp_path / "own.png").write_bytes(png(8, 6))
    notes: list[str] = []
    measured = look(tmp_path, notes)
    assert notes == [
        f"reef/v1/ is a bag, {digest}: each of its images is compared with its manifest".replace("/ is", " is")
    ]
    pixels = FolderPixels(measured, 30, 40)
    for index in range(3):
        pixels.read(index)
    changed = tmp_path / "reef" / "v1" / "data" / "images" / "b.png"
    changed.write_bytes(png(40, 30, 2))
    with pytest.raises(MismatchError, match=r"b.png: this image differs from the manifest of its bag"):
        pixels.read(measured.names.index("reef/v1/data/images/b.png"))


@pytest.mark.parametrize("change", ["missing", "extra", "other file", "manifest"])
def test_a_bag_that_differs_ends_the_job(tmp_path: Path, change: str) -> None:
    """A missing, an additional or a changed file of the bag is found before a detector runs."""
    bag(tmp_path)
    if change == "missing":
        (tmp_path / "data" / "images" / "b.png").unlink()
    elif change == "extra":
        (tmp_path / "data" / "images" / "c.png").write_bytes(png(8, 6))
    elif change == "other file":
        (tmp_path / "data" / "train.json").write_text("[]")
    else:
        (tmp_path / "manifest-sha256.txt").write_text("nonsense\n")
    with pytest.raises(MismatchError):
        find_images(tmp_path, print)


def test_a_bag_of_another_kind_is_said_to_be_unchecked(tmp_path: Path) -> None:
    """Without a manifest of sha256 its images are used, and the log says that nothing was compared."""
    bag(tmp_path)
    (tmp_path / "manifest-sha256.txt").rename(tmp_path / "manifest-sha512.txt")
    notes: list[str] = []
    find_images(tmp_path, notes.append)
    assert "not compared with anything" in notes[0]


def test_names_that_are_not_text(tmp_path: Path) -> None:
    """A name with bytes that are not UTF-8 has its bytes spelled out where it is written."""
    with (tmp_path / os.fsdecode(b"\xff.png")).open("wb") as file:
        file.write(png(8, 6))
    measured = look(tmp_path)
    coco = measured.coco([(7, "crab")])
    assert coco.file_names == ("\\xff.png",)
    assert coco.ids.tolist() == [1]
    assert np.asarray(FolderPixels(measured, 6, 8).read(0)).shape == (6, 8, 3)


def test_links_are_named(tmp_path: Path) -> None:
    """Nobody thinks that the images behind a link were looked at; a folder with only links says what it has."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(png(8, 6))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "dive").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"there are no images: .* found 1 link;"):
        look(tmp_path / "images")
    (tmp_path / "images" / "b.png").write_bytes(png(8, 6))
    (tmp_path / "images" / "c.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    notes: list[str] = []
    assert look(tmp_path / "images", notes).names == ("b.png",)
    assert notes == ["2 links there are not followed: copy what is meant"]


@pytest.mark.parametrize("content", [b"no image any more", b""])
def test_an_image_of_a_bag_that_is_broken_now_differs_from_its_manifest(tmp_path: Path, content: bytes) -> None:
    """Damage at the beginning is no mere broken image; one that was broken when the bag was made is."""
    write_bag(tmp_path / "bag", {"a.png": png(8, 6), "b.png": b"never was one"})
    assert look(tmp_path).broken.keys() == {"bag/data/b.png"}
    (tmp_path / "bag" / "data" / "a.png").write_bytes(content)
    with pytest.raises(MismatchError, match="differs from the manifest of its bag"):
        look(tmp_path)


def test_an_image_in_two_bags_is_compared_with_both(tmp_path: Path) -> None:
    """A bag within a bag can't replace what the outer one says, nor the other way round."""
    write_bag(tmp_path / "inner", {"a.png": png(8, 6, 1)})
    files = {f"in/{path.relative_to(tmp_path / 'inner')}": path for path in (tmp_path / "inner").rglob("*")}
    content = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    for name in content:
        (tmp_path / "inner" / name.removeprefix("in/")).unlink()
    write_bag(tmp_path / "images", {**content, "in/data/a.png": png(8, 6, 2)})
    image = tmp_path / "images" / "data" / "in" / "data" / "a.png"
    for number in (1, 2):
        image.write_bytes(png(8, 6, number))
        measured = look(tmp_path / "images")
        with pytest.raises(MismatchError, match="differs from the manifest of its bag"):
            FolderPixels(measured, 6, 8).read(0)


def test_names_that_the_results_could_not_tell_apart(tmp_path: Path) -> None:
    """A byte that is not UTF-8, and a name that has it spelled out already, are one line instead of two rows."""
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(png(8, 6))
    assert look(tmp_path).coco([(1, "crab")]).file_names == ("\\xff.png",)
    (tmp_path / "\\xff.png").write_bytes(png(8, 6))
    with pytest.raises(ConfigError, match="two images have the same name in the results"):
        look(tmp_path)
