"""A training with nothing to learn is refused in one line, before torch is imported; so is its check."""

import json

import pytest

from tests.trainers.havens import Haven, small_files

ONLY_CROWDS = {"iscrowd": 1}
TOO_SMALL = {"bbox": [5, 5, 1, 30]}
OUTSIDE = {"bbox": [70, 50, 10, 10]}
TOO_SMALL_LATER = {"bbox": [5, 5, 8, 8]}  # of 64 x 48 pixels; the model sees 4 x 3


def haven_with(root, change, *, some=slice(None), **settings):
    files = small_files()
    content = json.loads(files["train.json"])
    for row in content["annotations"][some]:
        row.update(change)
    haven = Haven(root, files | {"train.json": json.dumps(content).encode()})
    haven.configure(**settings)
    return haven


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize(
    ("change", "image", "found"),
    [
        (ONLY_CROWDS, {}, "found 12 images, 0 boxes to learn"),
        (TOO_SMALL, {}, "found 12 images, 0 boxes to learn"),
        (OUTSIDE, {}, "found 12 images, 0 boxes to learn"),
        (TOO_SMALL_LATER, {"min_size": 3, "max_size": 4}, "there is nothing to learn"),
    ],
)
def test_it_is_refused_before_torch(tmp_path, command, change, image, found):
    """Crowds, boxes without an extent or outside their image, and boxes that vanish when scaled are not learnt."""
    haven = haven_with(tmp_path, change, image=image)
    broken = tmp_path / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemExit('torch was imported')")
    path = f"{broken.parent}:{haven.environment()['PYTHONPATH']}"
    done = haven.run(command, PYTHONPATH=path)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 1
    assert found in last
    assert last.startswith(("TRAINING FAILED: ", "CHECK FAILED: "))


def test_the_number_of_crowds_is_checked(tmp_path):
    """A check says how many crowds there are, and a list whose iscrowd is a text is refused with the row's place."""
    done = haven_with(tmp_path, ONLY_CROWDS, some=slice(3, 7)).run("check")
    assert "train.json: 4 crowds, which are not trained on" in done.stdout
    assert done.returncode == 0
    done = haven_with(tmp_path, {"iscrowd": "0"}, some=slice(3, 7)).run("check")
    assert "train.json: annotations[3]: invalid row: found the iscrowd '0', which is neither 0 nor 1" in done.stdout
    assert done.returncode == 1
