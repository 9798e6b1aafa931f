"""Each rule of COCO files finds the fault that is planted for it, and nothing where there is none."""

import json

import pytest
import yaml

from datapack.bag.missing import Missing, format_missing
from datapack.catalog.codes import CODES
from datapack.inspect.check import RULES, check, open_findings
from datapack.inspect.reference import reference
from datapack.inspect.survey import survey
from datapack.progress import Silent
from tests.inspect.planted import CATEGORIES, box_row, coco_file, find, image_row, look, open_bag, picture
from tests.test_architecture import ROOT


def dataset(images=None, boxes=None, categories=CATEGORIES, *, there=None, **more):
    """Return a sound dataset of two images with a box each, or what a test puts in its place."""
    images = [image_row(1), image_row(2)] if images is None else images
    boxes = [box_row(1, 1), box_row(2, 2)] if boxes is None else boxes
    there = {"images/1.png": picture(1), "images/2.png": picture(2)} if there is None else there
    return {"train.json": coco_file(images, boxes, categories), **there, **more}


def with_boxes(*boxes):
    """Return the dataset with more boxes."""
    return dataset(boxes=[box_row(1, 1), box_row(2, 2), *boxes])


THREE = [box_row(number, number) for number in (1, 2, 3)]
FAULTS = {
    "DP300": dataset() | {"val.json": coco_file([image_row(n) for n in range(50)])[:-900]},
    "DP301": with_boxes({"id": 3}),
    "DP302": dataset([image_row(1), image_row(2), image_row(3)], THREE),
    "DP303": dataset(
        [image_row(1), image_row(2), image_row(3)],
        THREE,
        **{"missing.csv": format_missing({"images/3.png": Missing("http://h/3.png", "404")})},
    ),
    "DP304": dataset() | {"images/3.png": picture(3)},
    "DP305": dataset() | {"images/2.png": picture(2, 40, 30)},
    "DP307": dataset([image_row(1), image_row(2), image_row(3, "1.png")], THREE),
    "DP308": with_boxes(box_row(2, 1, (1, 2, 30, 40))),
    "DP309": with_boxes(box_row(4, 2)),
    "DP310": with_boxes(box_row(3, 1, (80, 0, 9, 9))),
    "DP311": with_boxes(box_row(3, 1, (60, 10, 22, 9))),
    "DP312": with_boxes(box_row(3, 1, (60, 10, -5, 9)), box_row(4, 1, (60, 10, 5, 0))),
    "DP313": with_boxes(box_row(3, 1, (float("nan"), 10, 5, 9)), box_row(4, 1, (0, 1, float("inf"), 3))),
    "DP314": with_boxes(box_row(3, 1, (60, 10, 3, 9))),
    "DP315": with_boxes(box_row(3, 1, (0, 0, 80, 60))),
    "DP316": with_boxes(box_row(3, 1, (0, 0, 70, 50), iscrowd=1)),
    "DP317": with_boxes(box_row(3, 77)),
    "DP318": with_boxes(box_row(3, 1, (1, 1, 9, 9), category_id=9)),
    "DP319": dataset([image_row(1), image_row(2), image_row(3)]) | {"images/3.png": picture(3)},
    "DP320": dataset(categories=[{"id": 0, "name": "reef", "supercategory": "none"}, *CATEGORIES]),
    "DP321": dataset(boxes=[box_row(1, 1), box_row(2, 2), box_row(3, 1, (1, 1, 9, 9), category_id=3)],
                     categories=[*CATEGORIES, {"id": 3, "name": "Crab "}]),
    "DP322": dataset([image_row(1), image_row(2, width=None)]),
    "DP323": dataset() | {"images/2.png": picture(1)},
    "DP324": dataset() | {"val.json": coco_file([], [])},
    "DP325": dataset() | {"val.json": coco_file([image_row(3)], []), "images/3.png": picture(3)},
    "DP327": dataset(boxes=[box_row(1, 1, (0.1, 0.2, 0.3, 0.4)), box_row(2, 2, (0, 0, 1, 1))]),
}  # fmt: skip


@pytest.mark.parametrize("code", FAULTS)
def test_planted_fault_is_found(tmp_path, code):
    """It is found, and no other fault, with an example; the sound dataset has none."""
    assert find(tmp_path / "sound", dataset()) == {}
    found = find(tmp_path / "faulty", FAULTS[code])
    assert [other for other in found if other >= "DP3"] == [code]
    assert all(found[other].rule.severity != "error" for other in found if other != code)
    assert found[code].examples
    assert found[code].count >= len(found[code].examples)


def test_boxes_and_files_of_a_finding_are_named(tmp_path):
    """A derived dataset leaves them out by these places and paths."""
    boxes = [box_row(1, 1), None, box_row(3, 1), box_row(2, 2), box_row(4, 2), box_row(5, 1)]
    files = dataset(boxes=boxes) | {"images/2.png": picture(2, 40, 30), "images/x.png": picture(9)}
    found = find(tmp_path, files)
    assert {path: rows.tolist() for path, rows in found["DP309"].boxes.items()} == {"train.json": [2, 4, 5]}
    assert found["DP309"].count == 3
    assert found["DP309"].examples[0] == "train.json: annotations[2] 'fish': [10, 10, 20, 20] in 1.png (80 x 60)"
    assert found["DP309"].catalog == "sources:  # of a new version\n  - subset: reef@v1\n    drop: [DP309]"
    assert found["DP304"].files == {"images/x.png"}
    assert found["DP305"].files == {"images/2.png"}
    assert found["DP305"].examples == ("train.json: 80 x 60; images/2.png: 40 x 30",)


def test_long_names_are_cut_in_examples(tmp_path):
    """A page or a terminal can't show a name of thousands of characters."""
    found = find(tmp_path, dataset([image_row(1, "a" * 4000)], [box_row(1, 1, (200, 0, 9, 9)), box_row(2, 1)]))
    assert {len(found[code].examples[0]) for code in ("DP302", "DP310")} == {503}


def test_rounding_at_an_edge_is_no_finding(tmp_path):
    """Most tools write boxes that reach a fraction of a pixel too far."""
    assert find(tmp_path, with_boxes(box_row(3, 1, (-0.5, 40.2, 30, 20.5)))) == {}


def turned_jpeg(orientation):
    """Return a JPEG of 80 x 60 pixels that a viewer turns."""
    import io

    from PIL import Image

    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.new("RGB", (80, 60)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_turned_image_is_not_a_resized_one(tmp_path):
    """The list has the size that a viewer shows: that is another finding than a size that fits neither."""
    images = [image_row(1, "1.jpg", width=60, height=80)]
    found = find(tmp_path / "turned", dataset(images, [box_row(1, 1)], there={"images/1.jpg": turned_jpeg(6)}))
    assert found["DP306"].files == {"images/1.jpg"}
    assert "DP305" not in found
    found = find(tmp_path / "upside", dataset(images, [box_row(1, 1)], there={"images/1.jpg": turned_jpeg(3)}))
    assert "DP306" not in found
    assert found["DP305"].examples == ("train.json: 60 x 80; images/1.jpg: 80 x 60, orientation 3",)


def lists(train, val, **more):
    """Return a dataset with two lists; each image is its name, its URL and the number of its picture."""
    files = {}
    for name, rows in (("train", train), ("val", val)):
        images = [image_row(n, image, coco_url=url) for n, (image, url, _) in enumerate(rows, 1)]
        files |= {f"{name}/{image}": picture(number) for image, _, number in rows}
        files[f"{name}.json"] = coco_file(
            images, [box_row(n, n, category_id=1 + n % 2) for n in range(1, len(rows) + 1)]
        )
    return files | more


DIVE = "http://h/ship/0861/00_13_{:02}_00.png"


def test_neighbouring_frames_in_different_lists_are_leakage(tmp_path):
    """Frames of one dive, seconds apart; those of other dives, or minutes apart, are none."""
    train = [(f"{n}.png", DIVE.format(n), n) for n in (10, 12, 40)] + [("z.png", "http://h/ship/9/00_13_30_00.png", 99)]
    val = [
        ("a.png", DIVE.format(20), 20),
        ("b.png", DIVE.format(30), 30),
        ("c.png", "http://h/x/1/00_13_10_00.png", 31),
    ]
    found = find(tmp_path, lists(train, val))
    assert found["DP402"].count == 2
    assert found["DP402"].examples == (
        "val.json and train.json: 2 images, such as val/a.png and train/12.png, 8 s apart",
    )
    assert found["DP402"].files == {"train/10.png", "train/12.png", "train/40.png"}
    assert "split: reef@v1" in found["DP402"].catalog
    assert {code for code in found if code > "DP4"} == {"DP402"}
    assert find(tmp_path / "far", lists(train, [("b.png", DIVE.format(55), 55), ("d.png", DIVE.format(59), 59)])) == {}


def test_neighbouring_numbers_are_a_warning(tmp_path):
    """They may be frames, or just numbers."""
    train = [(f"frame_{n:05}.png", "", n) for n in (1, 2, 30)]
    found = find(tmp_path, lists(train, [("frame_00009.png", "", 9), ("frame_00099.png", "", 99)]))
    assert found["DP403"].rule.severity == "warning"
    assert found["DP403"].count == 1
    assert found["DP403"].examples[0].endswith("val/frame_00009.png and train/frame_00002.png, number 7 away")


def test_equal_numbers_of_two_videos_are_no_leakage(tmp_path):
    """CVAT names the frames of each video frame_000000 and so on; one frame that both lists have shows the opposite."""
    train = [(f"frame_{n:06}.PNG", "", n) for n in (0, 25, 50)]
    val = [(f"frame_{n:06}.PNG", "", n + 100) for n in (0, 25, 30)]
    assert "DP403" not in find(tmp_path / "two", lists(train, val))
    assert "DP403" in find(tmp_path / "one", lists(train, [*val[1:], train[0]]))


def test_copies_that_roboflow_made_of_one_image_are_leakage(tmp_path):
    """In one list they are what augmentation is for; in two, the same image is learnt and tested."""
    train = [(f"east_jpg.rf.{n:032x}.jpg", "", n) for n in (1, 2)] + [(f"west_jpg.rf.{3:032x}.jpg", "", 3)]
    val = [(f"east_jpg.rf.{4:032x}.jpg", "", 4)]
    assert "DP407" not in find(tmp_path / "sound", lists(train, [(f"north_jpg.rf.{4:032x}.jpg", "", 4)]))
    found = find(tmp_path / "leak", lists(train, val))["DP407"]
    assert (found.count, found.files) == (1, {f"val/{val[0][0]}"})


def test_name_that_is_written_in_another_way_is_shown(tmp_path):
    """In capitals, with accents of another Unicode form, or as part of a URL."""
    names = {"1.PNG": "1.png", "cafe\u0301.png": "caf\u00e9.png", "my%20reef.png": "my reef.png"}
    files = {f"images/{name}": picture(n) for n, name in enumerate(names.values(), 1)}
    found = find(tmp_path, dataset([image_row(n, name) for n, name in enumerate(names, 1)], THREE, there=files))
    assert found["DP302"].examples == (
        "train.json: 1.PNG; there is images/1.png",
        "train.json: cafe\u0301.png; there is images/caf\u00e9.png, with its accents in another Unicode form",
        "train.json: my%20reef.png; there is images/my reef.png",
    )


def test_leftover_of_another_program_is_no_image(tmp_path):
    """macOS adds a file beside each image of an archive; one that a list names is an image that can't be read."""
    junk = {"images/._1.png": b"\0\5\x16\7", "__MACOSX/._2.png": b"\0\5\x16\7\0"}
    assert list(find(tmp_path / "junk", dataset() | junk)) == ["DP102"]
    listed = dataset([image_row(1), image_row(2), image_row(3, "._1.png")], THREE)
    assert find(tmp_path / "listed", listed | junk)["DP201"].examples == ("images/._1.png: not a PNG file",)


def test_same_image_in_two_lists_is_leakage(tmp_path):
    """Under another name too, and also if every image of the evaluation is in the training list."""
    train = [("1.png", "", 1), ("2.png", "", 2)]
    found = find(tmp_path / "one", lists(train, [("x.png", "", 2), ("y.png", "", 3)]))
    assert found["DP401"].examples == ("train.json and val.json: 1 image, such as train/2.png, which is val/x.png",)
    assert found["DP401"].files == {"val/x.png"}
    found = find(tmp_path / "all", lists(train, [("x.png", "", 2)]))
    assert (found["DP401"].count, found["DP401"].files) == (1, {"train/2.png"})
    files = lists(train, []) | {"test.json": coco_file([image_row(1, "2.png")], [box_row(1, 1)])}
    found = find(tmp_path / "same", {name: content for name, content in files.items() if name != "val.json"})
    assert (found["DP401"].count, found["DP401"].files) == (1, frozenset())
    assert "drop" not in found["DP401"].catalog


def test_lines_for_the_catalog_are_yaml(tmp_path):
    """Whatever the names of the files are."""
    files = lists([(f"{n}.png", "", n) for n in (1, 2, 3)], [("x.png", "", 2), ("y.png", "", 4)])
    files = {name.replace("train.json", "#a: 'b'.json"): content for name, content in files.items()}
    (lines,) = {one.catalog.partition("# or")[0] for one in find(tmp_path, files).values() if "split" in one.catalog}
    assert yaml.safe_load(lines)["sources"][0]["coco"] == "#a: 'b'.json"


def test_sample_of_a_list_is_no_leakage(tmp_path):
    """A list that has all images of another one is a warning of its own, and its neighbours do not count."""
    train = [(f"{n}.png", DIVE.format(n), n) for n in (1, 2, 3)]
    files = lists(train, train)
    files["small.json"] = coco_file(
        [image_row(1, coco_url=DIVE.format(1))], [box_row(1, 1), box_row(2, 1, (1, 1, 9, 9))]
    )
    del files["val.json"]
    found = find(tmp_path, {name: content for name, content in files.items() if not name.startswith("val/")})
    assert list(found) == ["DP406"]
    assert found["DP406"].examples == ("small.json is a part of train.json",)


def test_categories_that_differ_between_lists(tmp_path):
    """Ids with another meaning are an error; categories that one list lacks are a note."""
    val = coco_file([image_row(3)], [box_row(2, 3)], [{"id": 1, "name": "fish"}])
    found = find(tmp_path / "ids", dataset(**{"val.json": val, "images/3.png": picture(3)}))
    assert found["DP404"].examples[0] == "id 1 is 'crab' in train.json, 'fish' in val.json"
    val = coco_file([image_row(3)], [box_row(2, 3)], CATEGORIES[:1])
    found = find(tmp_path / "fewer", dataset(**{"val.json": val, "images/3.png": picture(3)}))
    assert found["DP405"].examples == ("'fish' is in train.json, not in val.json",)
    other = coco_file([image_row(3)], [box_row(2, 3, category_id=9)], [{"id": 9, "name": "crab"}])
    files = {"images/3.png": picture(3)} | {f"val{n}.json": other for n in range(3)}
    found = find(tmp_path / "many", dataset(**files))
    assert found["DP404"].examples == ("'crab' has id 1 in train.json, id 9 in val0.json, val1.json and val2.json",)


def test_a_name_that_both_lists_use_twice_in_the_same_way_is_no_conflict(tmp_path):
    """It is a fault of each list, which has its own code, and the ids mean the same in both."""
    twice = [*CATEGORIES, {"id": 3, "name": "crab"}]
    more = {"val.json": coco_file([image_row(3)], [box_row(2, 3)], twice), "images/3.png": picture(3)}
    found = find(tmp_path, dataset(categories=twice, **more))
    assert "DP321" in found
    assert "DP404" not in found


def test_the_reef_is_clean(tmp_path):
    """The example dataset has images without animals on purpose, which is a note, and nothing else."""
    reef = ROOT / "examples/reef"
    files = {f"images/{path.name}": path.read_bytes() for path in (reef / "images").iterdir()}
    found = find(tmp_path, {"train.json": (reef / "train.json").read_bytes(), **files})
    assert [(finding.rule.code, finding.count) for finding in found.values()] == [("DP319", 8)]


def test_data_without_coco_files_has_no_such_findings(tmp_path):
    """A dataset may be anything."""
    assert find(tmp_path, {"a.csv": b"a,b\n1,2\n", "b.txt": b"x", "images/1.png": picture(1)}) == {}


def test_silenced_finding_keeps_its_reason_and_does_not_fail_a_check(tmp_path):
    """It is still there, so that a report can say what was accepted and why."""
    seen = look(tmp_path, FAULTS["DP310"] | {"images/9.png": picture(9)})
    found = check(seen, {"DP310": "drawn by hand"})
    assert [(one.rule.code, one.silenced) for one in found] == [("DP304", ""), ("DP310", "drawn by hand")]
    assert open_findings(found, strict=True) == ()
    assert [one.rule.code for one in open_findings(check(seen))] == ["DP310"]
    assert open_findings(check(look(tmp_path / "w", FAULTS["DP309"]))) == ()
    assert len(open_findings(check(look(tmp_path / "s", FAULTS["DP309"])), strict=True)) == 1


def test_the_same_bag_gives_the_same_findings(tmp_path):
    """Whatever the order in which the disk lists its files."""
    files = FAULTS["DP309"] | FAULTS["DP325"] | {f"images/{n}.png": picture(n) for n in (9, 8, 7)}
    turned = dict(reversed(files.items()))
    assert str(check(look(tmp_path / "a", files))) == str(check(look(tmp_path / "b", turned)))


def test_every_rule_has_a_code_that_the_catalog_knows():
    """The catalog validates codes without loading the checks."""
    assert set(RULES) == CODES
    for code, rule in RULES.items():
        assert code == rule.code
        for text in (rule.why, rule.fix):
            assert text.endswith("."), code
        assert not rule.title.endswith("."), code


def test_foreign_missing_csv_and_unreadable_json_are_no_obstacle(tmp_path):
    """A source can bring a file of that name."""
    files = dataset(**{"missing.csv": b"\xff\0name,reason\n", "x.json": json.dumps([1]).encode()})
    assert survey(open_bag(tmp_path, files), Silent()).missing == {}


def test_the_docs_explain_every_rule():
    """docs/reference/findings.md is what `make reference` writes."""
    written = (ROOT / "docs/reference/findings.md").read_text()
    assert written == reference(), "run 'make reference'"
    assert all(f"### {code}\n" in written for code in RULES)
