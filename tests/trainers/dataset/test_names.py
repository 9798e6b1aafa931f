"""The images of a COCO file are found in the dataset, and an error says what to write if they are not."""

import pytest

from trainers.dataset.names import find_images
from trainers.errors import TrainingError

KNOWN = {"data/images/train/a.png", "data/images/train/b c.png", "data/top.png", "data/train.json"}


def find(*names, folder="images/train"):
    return find_images(names, folder, KNOWN, "data/train.json")


@pytest.mark.parametrize(
    ("folder", "name", "found"),
    [
        ("images/train", "a.png", "data/images/train/a.png"),
        ("images", "train/a.png", "data/images/train/a.png"),
        (".", "top.png", "data/top.png"),
        ("images/train", "top.png", "data/top.png"),
        (".", "images/train/a.png", "data/images/train/a.png"),
        ("images/train", "images/train/a.png", "data/images/train/a.png"),
    ],
)
def test_names_are_relative_to_the_folder_or_to_the_payload(folder, name, found):
    """Images may be beside the COCO file, and its names may be full paths within the payload."""
    assert find(name, folder=folder) == (found,)


def test_all_names_are_relative_to_the_same_folder():
    """A list that is half relative to the folder and half to the payload may name one image twice: it is refused."""
    with pytest.raises(TrainingError, match=r"1 of 2 images are not in the dataset.*write 'a.png' as the file_name"):
        find("b c.png", "images/train/a.png")


@pytest.mark.parametrize(
    ("folder", "name", "advice"),
    [
        ("images/eval", "a.png", "'images/train/a.png' is there: set data.images .* to 'images/train'$"),
        ("images/train", "1a2b3c4d-a.png", "write 'a.png' as the file_name, without Label Studio's prefix 1a2b3c4d-$"),
        ("images/train", "images/1a2b3c4d-b%20c.png", "write 'b c.png' as .* prefix 1a2b3c4d-$"),
        (".", "1a2b3c4d-a.png", "write 'images/train/a.png' as"),
        ("images/train", r"images\train\a.png", "write 'a.png' as the file_name, with / between folders$"),
        ("images/train", r"C:\data\A.PNG", "write 'a.png' as the file_name"),
        ("images/train", "../a.png", "write 'a.png' as the file_name"),
        ("images/train", "other.png", r"no 'data/images/train/other.png'; set data.images .* to the folder of the"),
        ("images/train", "x\nTRAINING OK", r"no 'data/images/train/x\\nTRAINING OK'"),
    ],
)
def test_the_error_says_what_to_write(folder, name, advice):
    """The file that was probably meant is named: whatever a program put before it, or has between folders."""
    with pytest.raises(TrainingError, match=advice):
        find(name, folder=folder)


def test_a_prefix_that_the_files_have_is_advised():
    """If the files have Label Studio's prefix and the list does not, the error names the file with it."""
    with pytest.raises(TrainingError, match=r"write '1a2b3c4d-a.png' as the file_name$"):
        find_images(["a.png"], "images", {"data/images/1a2b3c4d-a.png"}, "train.json")
