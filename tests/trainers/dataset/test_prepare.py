"""One pass checks and decodes: it names broken images, and without room in scratch the run is only slower."""

import io
import json
import os
import subprocess
import threading

import numpy as np
import pytest

from tests.trainers.havens import Haven, png, small_files
from tests.workplace import mount
from trainers import config
from trainers.context import RunContext
from trainers.dataset import reading
from trainers.dataset.cache import Cached
from trainers.dataset.pixels import Decoded
from trainers.dataset.prepare import prepare_data
from trainers.errors import ConfigError, MismatchError, TrainingError
from trainers.log import Log
from trainers.process import Place


class Job:
    """A haven, and the log of its job."""

    def __init__(self, haven, **changes):
        self.out = io.StringIO()
        self.config = config.load(haven.configure(**changes))
        self.context = RunContext(haven.data, haven.outputs, haven.scratch, Place(), Log(self.out))

    def prepare_data(self, part="train"):
        return prepare_data(self.config, self.context, part)

    @property
    def said(self):
        return self.out.getvalue()


def test_one_pass_checks_and_decodes(haven):
    """After the pass the decoded images are in scratch, and the log says that every byte was verified."""
    job = Job(haven)
    data = job.prepare_data()
    assert isinstance(data.pixels, Cached)
    assert "verified, every byte" in job.said
    assert "12 images in 12 sequences, 12 boxes of 2 categories: 10 to train on, 2 for validation" in job.said
    assert (data.pixels.read(3) == data.pixels.source.read(3)).all()


def test_each_file_is_read_once(haven, monkeypatch):
    """Neither the check nor the decoding reads an image a second time."""
    read = []
    import trainers.dataset.verify as check

    original = check.read_file
    monkeypatch.setattr(check, "read_file", lambda path: read.append(path.name) or original(path))
    job = Job(haven)
    job.prepare_data()
    images = [name for name in read if name.endswith(".png")]
    assert sorted(images) == sorted(f"{i}.png" for i in range(12))


def test_a_second_job_finds_the_decoded_images(haven, monkeypatch):
    """With the same scratch nothing is decoded again, but every byte is checked again."""
    Job(haven).prepare_data()
    monkeypatch.setattr("trainers.dataset.reading.decode", None)
    job = Job(haven)
    assert isinstance(job.prepare_data().pixels, Cached)
    assert "already" in job.said
    assert "verified, every byte" in job.said
    haven.image().write_bytes(png(64, 48, seed=99))
    with pytest.raises(MismatchError):
        Job(haven).prepare_data()


def test_quick_checks_only_what_it_decodes(haven):
    """`verify: quick` reads images to decode them, compares these bytes with the manifest, and says so."""
    job = Job(haven, verify="quick")
    assert isinstance(job.prepare_data().pixels, Cached)
    assert "of the bytes those of the 12 images that were decoded (verify: quick)" in job.said
    assert "verified" not in job.said
    again = Job(haven, verify="quick")
    again.prepare_data()
    assert "no byte was checked" in again.said


@pytest.mark.parametrize("verify", ["full", "quick"])
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_no_changed_image_is_ever_decoded(haven, verify, cache):
    """An image that differs from the manifest ends the job, if it is replaced before the check or after it."""
    data = Job(haven, verify=verify, image={"cache": cache}).prepare_data()
    haven.image().write_bytes(png(64, 48, seed=99).ljust(haven.image().stat().st_size, b"\0"))
    if cache == "off":
        with pytest.raises(MismatchError, match=r"/3\.png: this file does not match"):
            data.pixels.read(3)
    else:
        assert (data.pixels.read(3) == png_pixels(3)).all()
    for path in haven.scratch.iterdir():
        path.unlink()
    with pytest.raises(MismatchError, match=r"3\.png" if verify == "quick" else "found 1 changed"):
        Job(haven, verify=verify, image={"cache": cache}).prepare_data()


def png_pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def test_a_cache_that_is_off_is_not_read(haven):
    """`image.cache: off` decodes the images, even if there is a file of them."""
    Job(haven).prepare_data()
    assert isinstance(Job(haven, image={"cache": "off"}).prepare_data().pixels, Decoded)


def broken_haven(tmp_path, count=2):
    files = small_files()
    files["images/3.png"] = b"<html>"
    files["images/5.png"] = png(64, 40)
    return Haven(tmp_path, files)


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_broken_images_stop_the_run_and_are_named(tmp_path, cache):
    """An image that can't be decoded, or differs in size from its row, stops the run before training."""
    job = Job(broken_haven(tmp_path), image={"cache": cache})
    with pytest.raises(TrainingError, match="2 of 12 images can't be used") as caught:
        job.prepare_data()
    first, second = caught.value.details
    assert first.startswith("data/images/3.png: can't be decoded")
    assert second == "data/images/5.png: expected 64 x 48 pixels, found 64 x 40"
    assert not list(job.context.scratch.iterdir())


def test_broken_images_in_skip_broken_are_left_out(tmp_path):
    """`skip_broken` leaves out images by name, and the log counts them; an unknown name is an error."""
    haven = broken_haven(tmp_path)
    job = Job(haven, data={"skip_broken": ["3.png", "5.png"]})
    assert len(job.prepare_data().coco) == 10
    assert "2 images left out" in job.said
    with pytest.raises(ConfigError, match=r"found 99\.png"):
        Job(haven, data={"skip_broken": ["99.png"]}).prepare_data()


def test_images_in_missing_csv_are_left_out(tmp_path):
    """An image in missing.csv is left out; any other absent image stops the run."""
    files = small_files()
    del files["images/3.png"]
    with pytest.raises(TrainingError, match=r"1 of 12 images are not in the dataset: found no .*3\.png"):
        Job(Haven(tmp_path, files)).prepare_data()
    files["missing.csv"] = b"path,url,reason\nimages/3.png,https://example.org/3.png,404 Not Found\n"
    assert len(Job(Haven(tmp_path, files)).prepare_data().coco) == 11


@pytest.mark.parametrize("content", [b"patient,answers missing\n1,3\n", b"\xff\xfe", b""])
def test_another_file_called_missing_csv_is_none_of_the_trainers_business(tmp_path, content):
    """A source may bring a table of that name."""
    files = small_files() | {"missing.csv": content}
    assert len(Job(Haven(tmp_path, files)).prepare_data().coco) == 12


def test_a_full_scratch_does_not_stop_the_run(haven):
    """The log says how much room is needed, and images are decoded in every epoch."""
    if not mount(haven.scratch, "size=64k"):
        pytest.skip("only root mounts")
    try:
        job = Job(haven)
        data = job.prepare_data()
    finally:
        subprocess.run(["umount", haven.scratch], check=True)
    assert isinstance(data.pixels, Decoded)
    assert "has 65.5 kB free, the decoded images need 111 kB: each image is decoded again" in job.said
    assert data.pixels.read(0).shape == (48, 64, 3)


def test_a_missing_scratch_does_not_stop_the_run(haven):
    """Without scratch, images are decoded in every epoch."""
    haven.scratch.rmdir()
    job = Job(haven)
    assert isinstance(job.prepare_data().pixels, Decoded)
    assert "can't be written to: No such file or directory" in job.said


def test_a_scratch_that_fills_up_does_not_stop_the_run(haven, monkeypatch):
    """If scratch fills up during the run, no partial file is left, and the run continues."""
    written, original = [], os.pwrite

    def pwrite(descriptor, content, at):
        written.append(at)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return original(descriptor, content, at)

    monkeypatch.setattr("os.pwrite", pwrite)
    job = Job(haven)
    assert isinstance(job.prepare_data().pixels, Decoded)
    assert f"{haven.scratch} is full" in job.said
    assert [path.name.partition("-")[0] for path in haven.scratch.iterdir()] == ["checked"]


def test_only_what_is_evaluated_is_decoded(haven):
    """`evaluate` decodes only the validation images, the same as in training."""
    trained = Job(haven).prepare_data()
    data = Job(haven).prepare_data("validation")
    assert data.coco.file_names == tuple(trained.coco.file_names[i] for i in trained.split.validation)
    assert data.split.validation.tolist() == [0, 1]
    assert not len(data.split.train)


def test_the_images_to_predict_need_no_boxes(tmp_path):
    """`predict` uses the list that data.eval names; without one there is an error."""
    files = small_files()
    rows = [{"id": 900 + i, "file_name": f"e{i}.png", "width": 32, "height": 32} for i in range(3)]
    files |= {"eval.json": json.dumps({"images": rows}).encode()}
    files |= {f"images/eval/e{i}.png": png(32, 32, i) for i in range(3)}
    haven = Haven(tmp_path, files)
    data = Job(haven, data={"eval": "eval.json"}).prepare_data("eval")
    assert data.coco.ids.tolist() == [900, 901, 902]
    assert data.split.validation.tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"data\.eval names no list"):
        Job(haven).prepare_data("eval")
    with pytest.raises(ConfigError, match=r"the dataset has no val\.json: expected one of eval\.json, train\.json"):
        Job(haven, data={"eval": "val.json"}).prepare_data("eval")


def test_folders_with_equal_file_names_do_not_share_pixels(tmp_path):
    """Images to train on and to predict may have equal names and sizes: each list has its own decoded images."""
    files = small_files()
    rows = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(12)]
    files |= {"eval.json": json.dumps({"images": rows}).encode()}
    files |= {f"images/eval/{i}.png": png(64, 48, 70 + i) for i in range(12)}
    haven = Haven(tmp_path, files)
    data = {"images": "images", "eval": "eval.json"}
    for _ in range(2):
        train, evaluated = (Job(haven, data=data).prepare_data(part) for part in ("train", "eval"))
        assert (train.pixels.read(3) == png_pixels(3)).all()
        assert (evaluated.pixels.read(3) == png_pixels(73)).all()
    assert len(list(haven.scratch.glob("pixels-*.u8"))) == 2


def test_other_processes_of_a_node_wait_for_the_first(haven):
    """The second process continues when the first is done, with its decoded images, and reads none itself."""
    first, second = Job(haven), Job(haven)
    first.context = RunContext(haven.data, haven.outputs, haven.scratch, Place(0, 2, 0, 2), Log(first.out))
    second.context = RunContext(
        haven.data, haven.outputs, haven.scratch, Place(1, 2, 1, 2), Log(second.out, quiet=True)
    )
    got = []
    waiting = threading.Thread(target=lambda: got.append(second.prepare_data()))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    first.prepare_data()
    waiting.join(10)
    assert isinstance(got[0].pixels, Cached)
    assert np.array_equal(got[0].split.train, first.prepare_data().split.train)


def test_other_processes_of_a_node_stop_with_the_first(haven):
    """If the first process refuses the data, the others stop too, and say where to look."""
    haven.image().write_bytes(png(64, 48, seed=99))
    first, second = Job(haven), Job(haven)
    first.context = RunContext(haven.data, haven.outputs, haven.scratch, Place(0, 2, 0, 2), Log(first.out))
    second.context = RunContext(
        haven.data, haven.outputs, haven.scratch, Place(1, 2, 1, 2), Log(second.out, quiet=True)
    )
    with pytest.raises(MismatchError):
        first.prepare_data()
    with pytest.raises(TrainingError, match="the first process of this node failed"):
        second.prepare_data()


@pytest.mark.parametrize(("here", "processes", "threads"), [(8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_processes_of_a_node_share_its_cores(haven, monkeypatch, here, processes, threads):
    """The reading threads of all processes together are as many as the cores, but at least one each."""
    monkeypatch.setattr(reading, "cores", lambda: here)
    assert reading.workers(config.load(haven.configure()), processes) == threads
    assert reading.workers(config.load(haven.configure(workers=5)), processes) == 5


def test_copies_of_images_in_both_parts_are_reported(tmp_path):
    """A copy of an image to train on, under another name, is no test: the log says how many there are."""
    files = small_files()
    job = Job(Haven(tmp_path, files))
    job.prepare_data()
    assert "the same bytes" not in job.said
    copies = files | {f"images/{number}.png": files["images/0.png"] for number in range(12)}
    (tmp_path / "copies").mkdir()
    job = Job(Haven(tmp_path / "copies", copies))
    count = len(job.prepare_data().split.validation)
    assert f"{count:,} images for validation have the same bytes as images to train on: the detector has" in job.said
