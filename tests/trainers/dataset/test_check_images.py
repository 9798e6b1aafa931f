"""`check --decode`: a job on the CPU finds every image that would stop a job on a GPU."""

import json

import pytest

from tests.trainers.havens import Haven, png, small_files


def last(done) -> str:
    return done.stdout.splitlines()[-1]


def listed(done) -> list[str]:
    """Return what the log says about each broken image."""
    lines = [line[10:].strip() for line in done.stdout.splitlines()]
    return [line for line in lines if line.startswith("data/images/") and ": " in line]


def two_lists(tmp_path, broken=True) -> Haven:
    """Make a dataset with two lists; two images of the first and one of the second are broken."""
    rows = [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 40} for i in range(3)]
    files = small_files() | {f"images/eval/{i}.png": png(32, 40, 50 + i) for i in range(3)}
    files |= {"eval.json": json.dumps({"images": rows, "annotations": "poison"}).encode()}
    if broken:
        files |= {"images/10.png": png(64, 40), "images/2.png": b"<html>", "images/eval/1.png": png(32, 40)[:700]}
    return Haven(tmp_path, files, {"data": {"eval": "eval.json"}})


@pytest.mark.parametrize("verify", ["full", "quick"])
def test_every_broken_image_of_both_lists_is_reported(tmp_path, verify):
    """The log lists the broken images of both lists, sorted, with their number; the job fails."""
    haven = two_lists(tmp_path)
    haven.configure(verify=verify)
    assert haven.run("check").returncode == 0
    done = haven.run("check", "--decode")
    assert done.returncode == 1
    assert "3 of 15 images can't be used" in last(done)
    first, second, third = listed(done)
    assert first == "data/images/10.png: expected 64 x 48 pixels, found 64 x 40"
    assert second == "data/images/2.png: can't be decoded: not an image in a known format"
    assert third.startswith("data/images/eval/1.png: can't be decoded: ")
    assert not [path for path in haven.scratch.iterdir() if path.name.startswith("pixels")]


def test_skip_broken_leaves_out_images_of_both_lists(tmp_path):
    """Images that skip_broken names, in any of its forms, do not count, and nothing but them is left out."""
    haven = two_lists(tmp_path)
    haven.configure(data={"eval": "eval.json", "skip_broken": ["10.png", "images/2.png", "data/images/eval/1.png"]})
    done = haven.run("check", "--decode")
    assert done.returncode == 0, done.stdout
    assert "12 images were decoded: none is broken" in done.stdout
    assert "10 images in 10 sequences" in done.stdout
    assert last(done) == f"CHECK OK reef@v1 {haven.digest}"


def test_a_name_in_the_other_list_is_known_and_any_other_is_not(tmp_path):
    """A training accepts the name of an image to predict in skip_broken, and refuses one that is in no list."""
    haven = two_lists(tmp_path, broken=False)
    haven.configure(data={"eval": "eval.json", "skip_broken": ["images/eval/1.png", "images/eval/9.png"]})
    done = haven.run("check")
    assert done.returncode == 2
    assert last(done) == ("CHECK FAILED: train.yml: data.skip_broken names an unknown image: found images/eval/9.png")
    haven.configure(data={"eval": "eval.json", "skip_broken": ["images/eval/1.png"]})
    done = haven.run("check", "--decode")
    assert "14 images were decoded" in done.stdout


def test_a_name_of_both_lists_leaves_out_both(tmp_path):
    """A plain file name leaves out an image of each list that has one of this name."""
    haven = two_lists(tmp_path, broken=False)
    haven.configure(data={"eval": "eval.json", "skip_broken": ["1.png"]})
    assert "13 images were decoded" in haven.run("check", "--decode").stdout


def test_a_change_is_reported_before_broken_images(tmp_path):
    """If files differ from the manifest, that is the error, with every difference: exit 3."""
    haven = two_lists(tmp_path)
    haven.configure()
    haven.image("4.png").write_bytes(b"")
    done = haven.run("check", "--decode")
    assert done.returncode == 3
    assert "changed  data/images/4.png" in done.stdout


def test_only_a_check_takes_decode(haven):
    """--decode with another command is one line: exit 2."""
    haven.configure()
    done = haven.run("train", "--decode")
    assert done.returncode == 2
    assert "--decode is for check" in last(done)
