"""Cutting a COCO file leaves the chosen rows as they were written, and everything else that is in the file."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.coco import rows as module
from datapack.coco.cut import Kept, cut
from datapack.errors import FetchError

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner), max_leaves=8
)
FATHOM = """{"info": {"version": 1.0, "π": "\\ud800"}, "own": [1.50, {"image_id": 9}], "images": [
  {"id":3,"width":1920,"file_name":"a.png","x":1e400}, {"id": 4, "file_name": "b.png"},
  {"id":5.0,"file_name":"c<script>.png"}],
 "licenses": [], "annotations": [{"id":1,"image_id":3,"bbox":[291.0,167.00,-0.0,1E2],"id2":12345678901234567890},
  {"id":2,"image_id":4,"bbox":[]},{"id":3,"image_id":5,"note":"\\u0041"}], "categories": [{"id":1,"name":"A"}]}"""


def make_cut(folder, text, **kept):
    path = folder / "train.json"
    path.write_text(text)
    return b"".join(cut(path, Kept(**kept))).decode()


def test_what_stays_is_written_as_before(tmp_path):
    """Numbers, escapes, unknown keys and lists, and their order, are those of the file."""
    images = {(3, "a.png"), (5, "c<script>.png")}
    text = make_cut(tmp_path, FATHOM, images=images, ids={3, 5})
    for part in ('"\\ud800"', "1.50", '"x":1e400', "[291.0,167.00,-0.0,1E2]", "12345678901234567890", '"\\u0041"'):
        assert part in text
    found = json.loads(text)
    whole = json.loads(FATHOM)
    assert list(found) == list(whole)
    assert [row["id"] for row in found["images"]] == [3, 5.0]
    assert [row["image_id"] for row in found["annotations"]] == [3, 5]
    assert all(found[key] == whole[key] for key in ("info", "own", "licenses", "categories"))


def test_boxes_that_are_dropped_go_by_their_position(tmp_path):
    """A dropped box goes, its image stays, and positions are those of the file that is cut."""
    text = make_cut(tmp_path, FATHOM, images={(4, "b.png"), (5, "c<script>.png")}, ids={4, 5}, dropped={1})
    assert [row["id"] for row in json.loads(text)["annotations"]] == [3]


def test_a_name_tells_images_with_one_id_apart(tmp_path):
    """Of two rows with one id, only the one with the chosen name stays."""
    text = '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}'
    assert json.loads(make_cut(tmp_path, text, images={(1, "b")}, ids={1}))["images"] == [{"id": 1, "file_name": "b"}]


@settings(deadline=None, max_examples=50)
@given(
    content=st.dictionaries(st.sampled_from(["info", "own", "images", "annotations", "categories"]), VALUES),
    block=st.sampled_from([1, 7, 1000]),
    indent=st.none() | st.integers(0, 2),
)
def test_whatever_is_in_a_file_the_cut_is_the_same_without_rows(tmp_path_factory, content, block, indent):
    """A file of odd rows and keys stays JSON, and loses nothing but rows of ``images`` and ``annotations``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        text = make_cut(tmp_path_factory.mktemp("cut"), json.dumps(content, indent=indent), images=(), ids=())
    lists = ("images", "annotations")
    expected = {key: [] if key in lists and isinstance(value, list) else value for key, value in content.items()}
    assert json.dumps(json.loads(text)) == json.dumps(expected)
    assert list(json.loads(text)) == list(content)


def test_a_cut_of_a_cut_is_the_same(tmp_path):
    """Cutting again with the same images changes no byte."""
    kept = {"images": {(4, "b.png")}, "ids": {4}}
    once = make_cut(tmp_path, FATHOM, **kept)
    assert make_cut(tmp_path, once, **kept) == once


def test_a_broken_file_is_an_error(tmp_path):
    """A file that ends early is named, not cut."""
    with pytest.raises(FetchError, match=r"train\.json: not a JSON file"):
        make_cut(tmp_path, FATHOM[:-40], images=(), ids=())


MEMORY = """
import json, resource, sys
from pathlib import Path
from datapack.coco.cut import Kept, cut
path = Path(sys.argv[1])
with path.open("w") as out:
    out.write('{"images": [')
    out.write(", ".join('{"id": %d, "file_name": "%d.png"}' % (n, n) for n in range(1000)))
    out.write('], "annotations": [')
    for n in range(300000):
        out.write(('%s{"id": %d, "image_id": %d, "category_id": 1, "bbox": [291.0, 167.0, 205.0, 144.0], '
        '"area": 29520.0, "iscrowd": 0, "segmentation": []}') % (", " if n else "", n, n % 1000))
    out.write("]}")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(part.count(b"image_id") for part in cut(path, Kept({(5, "5.png")}, {5})))
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_memory_is_flat(tmp_path):
    """A file of 40 MB is cut in a few MB of memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "a.json"], capture_output=True, text=True, check=True
    )
    rows, used = map(int, done.stdout.split())
    assert rows == 300
    assert used < 20
