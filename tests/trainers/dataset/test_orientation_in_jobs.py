"""Training, evaluation, prediction and check turn the same images, with a cache or without."""

import io
import json

import pytest

from tests.trainers.dataset.test_orientation import SQUARE, UPRIGHT, WIDE, drawing, photo, same
from tests.trainers.havens import Haven
from trainers import config
from trainers.context import RunContext
from trainers.dataset.cache import Cached
from trainers.dataset.pixels import Decoded
from trainers.dataset.prepare import check_data, prepare_data
from trainers.errors import ConfigError
from trainers.log import Log
from trainers.process import Place

UPSIDE_DOWN = {"down.png": (3, WIDE), "mirror.png": (2, SQUARE), "side.png": (6, SQUARE)}


def files(extra=None) -> dict[str, bytes]:
    """Return a payload: six plain images, some whose size shows nothing, and ``extra`` with the size in the list."""
    photos = {f"plain-{i}.png": (photo(1), WIDE) for i in range(6)}
    photos |= {name: (photo(*how), how[1]) for name, how in UPSIDE_DOWN.items()}
    photos |= extra or {}
    rows = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, (name, (_, size)) in enumerate(photos.items())
    ]
    boxes = [{"image_id": row["id"], "category_id": 1, "bbox": [2, 2, 9, 9]} for row in rows]
    lists = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "crab"}]}
    only_images = {"images": rows}
    return {
        **{f"images/{name}": content for name, (content, _) in photos.items()},
        "train.json": json.dumps(lists).encode(),
        "eval.json": json.dumps(only_images).encode(),
    }


TURNED, STORED = (photo(6), WIDE[::-1]), (photo(6), WIDE)  # the size in the list shows where the boxes are


class Job:
    def __init__(self, root, payload, **image):
        haven = Haven(root, payload, {"data": {"eval": "eval.json", "eval_images": "images", "validation": 0.7}})
        self.out = io.StringIO()
        self.config = config.load(haven.configure(image={"min_size": 32, "max_size": 1000, **image}))
        self.context = RunContext(haven.data, haven.outputs, haven.scratch, Place(), Log(self.out))

    def images(self, part):
        """Return the pixels of the images of a part, by name."""
        data = prepare_data(self.config, self.context, part)
        assert isinstance(data.pixels, Cached if self.config.image.cache == "auto" else Decoded)
        return {name: data.pixels.read(index) for index, name in enumerate(data.coco.file_names)}


@pytest.mark.parametrize("cache", ["auto", "off"])
@pytest.mark.parametrize("part", ["train", "validation", "eval"])
@pytest.mark.parametrize(("witness", "turned"), [(TURNED, True), (STORED, False)], ids=["turned", "stored"])
def test_all_commands_turn_the_same_images(tmp_path, part, witness, turned, cache):
    """One image whose size shows it decides for all whose size does not, even if it is in another part of its list."""
    images = Job(tmp_path, files({"witness.png": witness}), cache=cache).images(part)
    assert images.keys() & UPSIDE_DOWN
    for name, (orientation, size) in UPSIDE_DOWN.items():
        if name in images:
            expected = UPRIGHT[orientation](drawing(size)) if turned else drawing(size)
            assert same(images[name], expected)


def test_the_log_counts_the_turned_images(tmp_path):
    """The number of turned images is in the log, with some of their names, and how that was decided."""
    job = Job(tmp_path, files({"witness.png": TURNED}))
    check_data(job.config, job.context, decode=True)
    said = job.out.getvalue()
    assert "EXIF orientation is applied, as the sizes of 1 images show" in said
    assert "4 images turned, as their EXIF orientation says (data/images/down.png, data/images/mirror.png, " in said


@pytest.mark.parametrize("extra", [{}, {"one.png": TURNED, "other.png": STORED}], ids=["none", "both"])
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_the_run_stops_if_nothing_decides(tmp_path, extra, cache):
    """If no size shows it, or sizes do not agree, training and check ask for `image.exif`; with it they run."""
    job = Job(tmp_path, files(extra), cache=cache)
    for attempt in (lambda: job.images("train"), lambda: check_data(job.config, job.context, decode=True)):
        with pytest.raises(ConfigError, match=r"set image\.exif to apply if .* or to ignore"):
            attempt()
    for exif, expected in (("apply", UPRIGHT[3](drawing(WIDE))), ("ignore", drawing(WIDE))):
        job = Job(tmp_path, files(extra), cache=cache, exif=exif)
        assert same(job.images("train")["down.png"], expected)
        assert "reading all images" not in job.out.getvalue()


def test_a_part_in_the_cache_belongs_to_its_whole_list(tmp_path):
    """The same validation images have other pixels if the rest of their list shows another rule: no cache is shared."""
    pixels = []
    for witness in (TURNED, STORED):
        job = Job(tmp_path, files({"witness.png": witness}))
        data = prepare_data(job.config, job.context, "validation")
        pixels.append({name: data.pixels.read(index) for index, name in enumerate(data.coco.file_names)})
    assert pixels[0].keys() == pixels[1].keys()
    changed = {name for name in pixels[0] if not same(pixels[0][name], pixels[1][name])}
    assert changed
    assert changed == pixels[0].keys() & (UPSIDE_DOWN.keys() | {"witness.png"})
