"""The lists of a whole job: images anywhere in the payload, boxes that are never read, odd images that are named."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.trainers.havens import Haven, small_files
from trainers import config
from trainers.context import RunContext
from trainers.dataset.prepare import check_data, prepare_data
from trainers.errors import TrainingError
from trainers.log import Log
from trainers.process import Place


class Job:
    def __init__(self, root, files, **data):
        haven = Haven(root, files)
        self.out = io.StringIO()
        self.config = config.load(haven.configure(data=data))
        self.context = RunContext(haven.data, haven.outputs, haven.scratch, Place(), Log(self.out))

    def check(self) -> str:
        check_data(self.config, self.context, decode=True)
        return self.out.getvalue()


def renamed(change) -> dict[str, bytes]:
    """Return the small payload with other file names in its list."""
    files = small_files()
    content = json.loads(files["train.json"])
    for row in content["images"]:
        row["file_name"] = change(row["file_name"])
    return files | {"train.json": json.dumps(content).encode()}


def beside() -> dict[str, bytes]:
    """Return the small payload with its images beside the list."""
    return {name.removeprefix("images/"): content for name, content in small_files().items()}


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (beside(), "."),
        (renamed("images/{}".format), "."),
        (renamed("images/{}".format), "images"),
        (small_files(), "images/"),
    ],
    ids=["beside", "full path", "full path in the folder", "folder"],
)
def test_images_may_be_anywhere(tmp_path, files, folder):
    """Images beside the COCO file, and names that are full paths, are found by a check and by a training."""
    job = Job(tmp_path, files, images=folder)
    assert "12 images were decoded" in job.check()
    assert len(prepare_data(job.config, job.context, "train").coco) == 12


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda name: f"0badcafe-{name}", "write '0.png' as the file_name, without Label Studio's prefix 0badcafe-"),
        (lambda name: f"images\\{name}", "write '0.png' as the file_name, with / between folders"),
    ],
)
def test_a_check_gives_advice(tmp_path, change, advice):
    """Names of Label Studio and of Windows end in one line that says what to write."""
    with pytest.raises(TrainingError, match=f"12 of 12 images are not in the dataset: .*{advice}"):
        Job(tmp_path, renamed(change)).check()


def test_the_boxes_of_the_list_to_predict_are_never_read(tmp_path):
    """Poison in its annotations and categories stops neither a check nor a prediction."""
    files = small_files()
    content = json.loads(files["train.json"])
    content["annotations"] = [{"image_id": 0, "category_id": "\ud800", "bbox": "poison", "iscrowd": "0"}, 5]
    content["categories"] = {"poison": True}
    job = Job(tmp_path, files | {"eval.json": json.dumps(content).encode()}, eval="eval.json", eval_images="images")
    assert "eval.json: its boxes are not read" in job.check()
    assert len(prepare_data(job.config, job.context, "eval").coco.bbox) == 0


def test_odd_images_are_named_in_the_log(tmp_path):
    """Images of one colour, and 16-bit images without a bright pixel, are counted and named."""
    files = small_files()
    grey = np.full((48, 64), 4095, np.uint16)
    grey[0] = 0
    for name, pixels in (("3", np.zeros((48, 64, 3), np.uint8)), ("4", np.zeros((48, 64), np.uint8)), ("5", grey)):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "png")
        files[f"images/{name}.png"] = out.getvalue()
    said = Job(tmp_path, files).check()
    assert "2 images of a single colour (data/images/3.png, data/images/4.png)" in said
    assert "1 images with 16 bits per channel but no value above 4095, almost black" in said


def test_pixels_without_a_fixed_range_end_a_check(tmp_path):
    """A fractional TIFF is a broken image: the check names it and says what to do."""
    files, out = small_files(), io.BytesIO()
    Image.fromarray(np.ones((48, 64), np.float32)).save(out, "tiff")
    with pytest.raises(TrainingError, match="1 of 12 images can't be used") as caught:
        Job(tmp_path, files | {"images/7.png": out.getvalue()}).check()
    assert "data/images/7.png: its pixels are fractions (mode F), which have no fixed range" in caught.value.details[0]


@pytest.mark.parametrize("name", ["data/e.png", "e.png"])
def test_skip_broken_knows_the_other_list_wherever_its_images_are(tmp_path, name):
    """A training accepts the name of an image to predict that is beside its list, by its full path or its own name."""
    rows = [{"id": 1, "file_name": "e.png", "width": 64, "height": 48}]
    files = small_files() | {"eval.json": json.dumps({"images": rows}).encode(), "e.png": small_files()["images/1.png"]}
    for folder in (".", "images"):
        job = Job(tmp_path, files, eval="eval.json", eval_images=folder, skip_broken=[name])
        assert len(prepare_data(job.config, job.context, "train").coco) == 12


def test_boxes_that_vanish_when_scaled_are_counted(tmp_path):
    """The log says how many boxes are too small once their images have the size that the model sees."""
    files = small_files()
    content = json.loads(files["train.json"])
    for row in content["annotations"][:3]:
        row["bbox"] = [5, 5, 2, 2]
    files["train.json"] = json.dumps(content).encode()
    assert "too small to learn" not in Job(tmp_path, files).check()
    haven = Haven(tmp_path, files)
    haven.configure(image={"min_size": 24, "max_size": 32})
    done = haven.run("check")
    assert "3 of these boxes are too small to learn once their images are scaled" in done.stdout
