"""COCO files are read as the tools write them, and nothing in one can stop the reading."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.bag.bagit import PayloadFile
from datapack.inspect.check import check
from datapack.inspect.coco import may_be_coco, read_coco
from datapack.inspect.locate import locate
from datapack.inspect.model import NO_ID
from tests.inspect.planted import box_row, coco_file, find, image_row, look, picture, read


def test_columns_are_those_of_the_file(tmp_path):
    """Each box knows its image and category by their places; floats, numbers as names and missing keys are fine."""
    images = [image_row(7), {"id": 3.0, "file_name": "b.png"}, image_row(5, width=None)]
    boxes = [box_row(0, 3, category_id=2.0), box_row(4, 7, iscrowd=1), {**box_row(0, 99, category_id=8), "id": None}]
    categories = [{"id": 2, "name": 12}, {"id": 1, "name": "crab", "supercategory": "x"}]
    coco = read(tmp_path, {"train.json": coco_file(images, boxes, categories)})
    assert coco.names == ("7.png", "b.png", "5.png")
    assert coco.ids.tolist() == [7, 3, 5]
    assert coco.sizes.tolist() == [[80, 60], [0, 0], [0, 0]]
    assert coco.owners.tolist() == [1, 0, -1]
    assert coco.labels.tolist() == [0, 1, -1]
    assert coco.crowd.tolist() == [False, True, False]
    assert coco.box_ids.tolist() == [0, 4, NO_ID]
    assert [category.name for category in coco.categories] == ["12", "crab"]
    assert not coco.bad_rows


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (None, "None is not an object"),
        ([], "[] is not an object"),
        ({"id": 1}, "no file_name"),
        ({"file_name": "a.png"}, "no id"),
        ({"id": "1", "file_name": "a.png"}, "the id '1' is not a whole number"),
        ({"id": True, "file_name": "a.png"}, "the id True is not a whole number"),
        ({"id": 1.5, "file_name": "a.png"}, "the id 1.5 is not a whole number"),
        ({"id": 2**63, "file_name": "a.png"}, "is not a whole number"),
        ({"id": 1, "file_name": ["a.png"]}, "the file_name ['a.png'] is not a text"),
        ({"id": 1, "file_name": "\ud800"}, "is not a text"),
        ({"id": 1, "file_name": "a" * 6000}, "is not a text"),
        ({"id": 1, "file_name": "a.png", "width": 0, "height": 1}, "the width 0 is not a number of pixels"),
        ({"id": 1, "file_name": "a.png", "width": "80", "height": 60}, "the width '80' is not a whole number"),
        ({"id": 1, "file_name": "a.png", "width": float("nan"), "height": 60}, "the width nan is not a whole number"),
    ],
)
def test_invalid_image_row_is_named_and_left_out(tmp_path, row, problem):
    """The other rows are read."""
    coco = read(tmp_path, {"train.json": coco_file([image_row(1), row, image_row(2)])})
    assert coco.ids.tolist() == [1, 2]
    (bad,) = coco.bad_rows
    assert bad.place == "images[1]"
    assert problem in bad.problem
    assert coco.bad_count == 1


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": None},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, "4"]},
        {"bbox": [1, 2, 3, True]},
        {"bbox": [1, 2, 3, 10**400]},
        {"bbox": {"x": 1}},
        {"image_id": "1"},
        {"image_id": None},
        {"category_id": None},
        {"id": "x"},
        {"id": 2**64},
    ],
)
def test_invalid_box_row_is_named_and_left_out(tmp_path, change):
    """All columns have the same length, and each box its place in the file."""
    boxes = [box_row(1, 1), box_row(2, 1) | change, box_row(3, 1)]
    coco = read(tmp_path, {"train.json": coco_file([image_row(1)], boxes)})
    assert [bad.place for bad in coco.bad_rows] == ["annotations[1]"]
    assert coco.rows.tolist() == [0, 2]
    for column in (coco.boxes, coco.owners, coco.labels, coco.crowd, coco.box_ids):
        assert len(column) == 2


def test_many_invalid_rows_are_counted_and_some_are_kept(tmp_path):
    """A file of points has no boxes: a million such rows must not need memory."""
    boxes = [{"id": number, "image_id": 1, "keypoints": [1, 2, 2]} for number in range(3000)]
    coco = read(tmp_path, {"points.json": coco_file([image_row(1)], boxes)})
    assert coco.bad_count == 3000
    assert len(coco.bad_rows) == 1000
    assert coco.bad_rows[0] == ("annotations[0]", "no bbox")


def test_list_that_is_there_twice(tmp_path):
    """Every program takes the last one, and the first is reported."""
    text = b'{"images": [{"id": 1, "file_name": "a.png"}], "images": [{"id": 2, "file_name": "b.png"}]}'
    coco = read(tmp_path, {"train.json": text})
    assert coco.names == ("b.png",)
    assert coco.bad_rows == (("images", "the file has this list twice"),)


OTHER_JSON = [
    b"",
    b"{}",
    b"[]",
    b'"images"',
    b'{"images": 5}',
    b'{"images": ["a.png", "b.png"]}',
    b'{"images": []}',
    b'{"images": {"a": 1}}',
    b'{"images": [',
    b"{broken",
    b'{"images": []} {"images": []}',
    b"\xff\xfe{}",
    b'{"version": "5.0", "shapes": [], "imagePath": "images"}',
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("content", OTHER_JSON, ids=range(len(OTHER_JSON)))
def test_other_json_is_no_coco_file(tmp_path, content):
    """It is neither read as one nor reported as a broken one."""
    assert look(tmp_path, {"x.json": content, "a.txt": coco_file([image_row(1)])}).cocos == ()


@pytest.mark.parametrize("content", OTHER_JSON, ids=range(len(OTHER_JSON)))
def test_file_that_the_catalog_calls_coco_is_reported(tmp_path, content):
    """Whatever is in it instead."""
    found = find(tmp_path, {"x.txt": content}, folders={"x.txt": "images"})
    assert {"DP300", "DP324"} & found.keys()


WHOLE = {"images": [image_row(1)], "annotations": [box_row(1, 1)], "categories": [{"id": 1, "name": "Höhle"}]}
BROKEN = {
    "Latin-1": (json.dumps(WHOLE, ensure_ascii=False).encode("latin-1"), "DP300", "not UTF-8"),
    "cut in its first row": (json.dumps(WHOLE).encode()[:50], "DP300", "the end of the file"),
    "images by id": (json.dumps({**WHOLE, "images": {"1": image_row(1)}}).encode(), "DP300", "'images' is not a list"),
    "no images": (
        json.dumps({**WHOLE, "images": None}).replace('"images"', '"x"').encode(),
        "DP300",
        "no list 'images'",
    ),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_coco_file_of_which_no_image_can_be_read_is_reported(tmp_path, content):
    """Silence would mean that the data has no labels."""
    text, code, shown = content
    assert shown in find(tmp_path, {"x.json": text})[code].examples[0]


def test_broken_coco_file_is_reported(tmp_path):
    """A download that was cut off has rows, and is no other kind of file."""
    found = find(tmp_path, {"train.json": coco_file([image_row(number) for number in range(100)])[:-500]})
    assert found["DP300"].examples[0].startswith("train.json: not a JSON file: ")


def test_a_bom_and_a_late_list_are_no_obstacle(tmp_path):
    """The images may come after megabytes of annotations."""
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf \n" + json.dumps({"annotations": ["x" * 3_000_000], "images": []}).encode())
    assert may_be_coco(path)
    assert read_coco(path, "x.json") is not None


def exported(folder, listed, there, at, **options):
    """Return where the images of a COCO file at this path are found."""
    images = [image_row(number, name) for number, name in enumerate(listed)]
    files = {path: picture(number) for number, path in enumerate(there)}
    return list(read(folder, {at: coco_file(images, [box_row(0, 0)]), **files}, **options).images)


@pytest.mark.parametrize(
    ("at", "listed", "there"),
    [  # CVAT, Label Studio, Roboflow and others
        ("annotations/instances_default.json", ["a.jpg", "sub/b c.jpg"], ["images/a.jpg", "images/sub/b c.jpg"]),
        ("result.json", ["images/0f-a.jpg", "images/1e-b.jpg"], ["images/0f-a.jpg", "images/1e-b.jpg"]),
        ("result.json", ["images\\0f-a.jpg", "images\\é.jpg"], ["images/0f-a.jpg", "images/é.jpg"]),
        ("x/result.json", ["/data/local-files/?d=reef/a%20b.jpg"], ["x/images/a b.jpg"]),
        ("x/result.json", ["/home/me/reef/images/a.jpg", "/home/me/reef/images/s/b.jpg"], ["i/a.jpg", "i/s/b.jpg"]),
        ("x/result.json", ["../../files/media/upload/1/a.jpg"], ["x/images/a.jpg"]),
        ("train/_annotations.coco.json", ["a_jpg.rf.0a.jpg"], ["train/a_jpg.rf.0a.jpg"]),
        ("train.json", ["./a.png"], ["a.png"]),
        ("train.json", ["a.png"], ["deep/down/here/a.png"]),
        ("train.json", ["https://host.example/x/a.png"], ["images/a.png"]),
        ("train.json", ["C:\\data\\a.png"], ["images/a.png"]),
    ],
)  # fmt: skip
def test_images_are_found_where_tools_put_them(tmp_path, at, listed, there):
    """CVAT, Label Studio, Roboflow, and paths of other machines."""
    assert exported(tmp_path, listed, there, at) == there


def test_of_two_folders_with_the_same_names_the_nearest_counts(tmp_path):
    """Roboflow's train, valid and test, and torchvision's instances_train beside images/train, have a 1.jpg each."""
    there = [f"{folder}/1.jpg" for folder in ("images/train", "images/val", "train", "valid")]
    assert exported(tmp_path / "a", ["1.jpg"], there, "valid/_annotations.coco.json") == ["valid/1.jpg"]
    assert exported(tmp_path / "b", ["1.jpg"], there[:2], "annotations/instances_val.json") == ["images/val/1.jpg"]
    assert exported(tmp_path / "c", ["1.jpg"], there[:2], "train.json") == ["images/train/1.jpg"]


def test_the_folder_of_the_catalog_counts_first(tmp_path):
    """Only if none of the images is there, they are looked for elsewhere."""
    there = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert exported(tmp_path / "x", ["1.jpg", "2.jpg"], there, "t.json", folders={"t.json": "b"}) == ["b/1.jpg", ""]
    assert exported(tmp_path / "y", ["1.jpg", "2.jpg"], there, "t.json", folders={"t.json": "c"}) == there[:2]


LETTERS = st.characters(codec="utf-8") | st.sampled_from("/\\.:?=%")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=9)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))
SIDES = st.integers(-5, 100) | st.floats() | VALUES
BOX = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 3) | VALUES,
        "image_id": st.integers(0, 3) | VALUES,
        "category_id": st.integers(0, 2) | VALUES,
        "bbox": st.lists(SIDES, min_size=3, max_size=5) | VALUES,
        "iscrowd": st.integers(0, 1) | VALUES,
    },
)
NAMES = st.sampled_from(["1.png", "images/2.png", "../x/frame_1.png", "00_01_02_03.png", "/?d=", "20200101T000000.png"])
IMAGE = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 3) | VALUES,
        "file_name": NAMES | VALUES,
        "width": st.integers(0, 90) | VALUES,
        "height": st.integers(0, 90) | VALUES,
        "coco_url": NAMES.map("http://h/s/".__add__) | VALUES,
    },
)
CATEGORY = st.fixed_dictionaries({}, optional={"id": st.integers(0, 2) | VALUES, "name": VALUES})


def rows_of(row):
    return st.lists(row | VALUES, max_size=5) | VALUES


@settings(deadline=None, max_examples=200)
@given(
    lists=st.lists(
        st.fixed_dictionaries(
            {"images": rows_of(IMAGE)}, optional={"annotations": rows_of(BOX), "categories": rows_of(CATEGORY)}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_content_can_stop_the_checks(tmp_path_factory, lists):
    """Arbitrary JSON in place of lists, rows and values gives findings, never an exception."""
    files = {"images/1.png": picture(1), "images/2.png": picture(2)}
    files |= {f"{number}.json": json.dumps(content).encode() for number, content in enumerate(lists)}
    seen = look(tmp_path_factory.mktemp("any"), files, folders={"0.json": "images"})
    for coco in seen.cocos:
        count = len(coco.rows)
        assert coco.boxes.shape == (count, 4)
        assert {len(column) for column in (coco.owners, coco.labels, coco.crowd, coco.box_ids)} == {count}
        assert len(coco.images) == len(coco.ids) == len(coco.times) == len(coco.names)
        assert np.all(coco.owners < len(coco))
    for finding in check(seen):
        assert finding.count > 0
        assert all(isinstance(example, str) for example in finding.examples)


def test_the_same_name_in_many_folders_takes_little_time(tmp_path):
    """A folder for each sequence, each with a frame 1: every name fits every file, and only some are compared."""
    names = [f"{number:05}/1.png" for number in range(20_000)]
    files = {path: PayloadFile(path, 1, "") for path in (f"frames/{name}" for name in names)}
    assert locate("train.json", names, files) == tuple(files)
    assert locate("train.json", [f"/home/me/{name}" for name in names], files) == tuple(files)


def test_large_files_are_reported_and_not_read(tmp_path, monkeypatch):
    """A COCO file beyond any real one, and a foreign missing.csv."""
    monkeypatch.setattr("datapack.inspect.survey._LARGEST_COCO", 50)
    monkeypatch.setattr("datapack.inspect.survey._LARGEST_LIST", 5)
    found = find(tmp_path, {"train.json": coco_file([image_row(1)]), "missing.csv": b"path,url,reason\n"})
    assert found["DP300"].examples[0].endswith(" B, and at most 50 B are read")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (coco_file([image_row(1)], [], [{"id": 1, "name": "?"}]).replace(b"?", b"\xe9"), "UTF-8"),
        (b'{"annotations": [1,, "categories": [], "images": []}', "not a JSON file: line 1"),
        (coco_file({"1": image_row(1)}, [box_row(1, 1)]), "'images' is not a list"),
    ],
)  # fmt: skip
def test_coco_file_that_is_broken_before_its_first_image_is_reported(tmp_path, content, problem):
    """A file that mentions all lists is meant to be one, though no row of it can be read."""
    found = find(tmp_path, {"train.json": content, "1.png": picture(1)})
    assert problem in found["DP300"].examples[0]


@pytest.mark.parametrize(
    "row", [{"caption": "a crab"}, {"file_name": "1.png", "segments_info": [{"id": 1, "category_id": 1}]}]
)
def test_captions_and_panoptic_segments_are_no_invalid_boxes(tmp_path, row):
    """COCO's other files are sound; a note says that they are not checked."""
    content = coco_file([image_row(1)], [{"id": 1, "image_id": 1, **row}])
    found = find(tmp_path, {"captions.json": content, "1.png": picture(1)})
    assert {code: finding.examples for code, finding in found.items()} == {
        "DP326": ("captions.json: 1 row with captions or panoptic segments",)
    }


def test_labels_in_other_forms_are_named_as_unchecked(tmp_path):
    """YOLO, Pascal VOC, LabelMe, JSON lines, and a COCO file that is compressed; other text is no label."""
    names = ["labels/1.txt", "labels/2.txt", "voc/1.xml", "lm/2.json", "a.jsonl", "train.json.gz"]
    files = {**dict.fromkeys([*names, "readme.txt", "meta.json"], b"{}"), "1.png": picture(1), "i/2.png": picture(2)}
    found = find(tmp_path / "a", files)["DP326"]
    assert found.count == 6
    assert "text files with names of images, such as those of YOLO: 2, such as labels/1.txt" in found.examples
    assert "DP326" not in find(tmp_path / "b", {"readme.txt": b"x", "1.png": picture(1), "train.json": b"{}"})
    assert "DP326" not in find(tmp_path / "c", {"a.jsonl": b"{}", "1.txt": b"x"})
