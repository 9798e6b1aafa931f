"""The page of a report: it holds what it shows, loads nothing, and no name can change it."""

import hashlib
import re
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest

from datapack.inspect.findings import Finding
from datapack.inspect.model import Category, Column, Table
from datapack.page.cells import Listing, code, name
from datapack.report.page import make_page
from tests.report.surveys import DIGEST, EVIL, NO_SAMPLES, RULE, Page, a_coco, a_file, a_head, a_page, a_survey

RNG_SEED = 3


def many(images: int, boxes: int, categories: int):
    """A COCO file with as many of everything, spread at random but the same each time."""
    rng = np.random.default_rng(RNG_SEED)
    coco = a_coco(
        images={f"dive/{number:06}-0123456789abcdef0123456789abcdef.png": (1920, 1080) for number in range(images)},
        boxes=[],
        categories=tuple(f"category {number}" for number in range(categories)),
        sequences=[f"dive {number // 50}" for number in range(images)],
    )
    box = np.column_stack([rng.uniform(0, 900, (boxes, 2)), rng.uniform(1, 200, (boxes, 2))])
    return {
        "coco": coco,
        "owners": np.sort(rng.integers(0, images, boxes)),
        "labels": rng.integers(0, categories, boxes),
        "boxes": box,
    }


def with_boxes(made):
    from dataclasses import replace

    coco = made.pop("coco")
    count = len(made["boxes"])
    return replace(coco, **made, crowd=np.zeros(count, bool), rows=np.arange(count))


def test_the_same_values_give_the_same_bytes():
    """A page is a function of its values; it has no time and no random part."""
    first, second = (
        make_page(a_head(), a_survey(a_coco()), [Finding(RULE, 1, ("x",))], NO_SAMPLES, deep=False) for _ in range(2)
    )
    assert first == second


def test_the_page_shows_the_digest_at_its_top_and_its_end():
    """A reader can compare the page with the data that they have."""
    page = a_page(a_survey(a_coco()))
    assert page.text.index(DIGEST) < page.text.index("Version")
    assert page.text.rindex(DIGEST) > page.text.index("Folders")


def test_the_page_loads_nothing_and_runs_only_the_script_that_sorts():
    """Its policy forbids everything but its own style sheet and script; only links lead outside."""
    page = a_page(a_survey(a_coco()), (Finding(RULE, 1, ("x",)),))
    (policy,) = [value for value in page.values("content", "meta") if "default-src" in value]
    hashes = {
        tag: f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for tag, content in re.findall(r"<(style|script)>(.*?)</\1>", page.html, re.DOTALL)
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src {hashes['style']}; script-src {hashes['script']}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "unsafe" not in policy
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not {"link", "iframe", "object", "embed", "base", "form", "image", "use"} & {*page.tags}
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    outside = [value for value in page.values("href") if not value.startswith("#")]
    assert outside == []
    assert not [key for _, key, _ in page.attributes if key.startswith("on") or key in {"style", "srcset"}]
    assert "Its only script sorts tables" in page.text


def test_names_can_neither_add_markup_nor_hide_text():
    """Titles, categories, files, folders, findings, columns and reasons are text; control characters are visible."""
    table = Table("a.csv", 3, (Column(EVIL, EVIL, 1),), problem=EVIL)
    coco = a_coco(
        path=f"{EVIL}.json",
        categories=(EVIL, "crab"),
        boxes=[(0, 0, (1, 1, 9, 9)), (1, 1, (1, 1, 9, 9))],
        sequences=[EVIL] * 2,
    )
    survey = a_survey(coco, a_coco("b.json", sequences=[EVIL] * 2), tables=(table,), files=(a_file(f"{EVIL}/{EVIL}"),))
    findings = (Finding(RULE, 9, (EVIL,), EVIL), Finding(RULE, 1, (), silenced=EVIL))
    listing = Listing(EVIL, (EVIL, "b"), [(name(EVIL), code(EVIL))])
    page = a_page(survey, findings, title=EVIL, reference=EVIL, warning=EVIL, sources=listing, missing_reasons=EVIL)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert page.text.count("<script>alert('x')</script>") > 15
    assert not set("\x1b\u202e") & set(page.html)
    assert r"\x1b[2J\u202egnp" in page.text


def test_a_name_from_right_to_left_is_kept_apart():
    """It is isolated, so that the numbers after it stay where they are."""
    page = a_page(
        a_survey(a_coco(categories=("قنديل البحر", "crab"), boxes=[(0, 0, (1, 1, 9, 9)), (0, 1, (1, 1, 9, 9))]))
    )
    assert "<bdi>قنديل البحر</bdi>" in page.html
    assert "\u2068قنديل البحر\u2069 50 %" in page.text


def test_a_category_without_a_name_can_be_seen():
    """An empty name, or one of spaces, is shown as such."""
    page = a_page(a_survey(a_coco(categories=("", "  "))))
    assert page.text.count("(no name)") >= 4


def test_findings_come_the_gravest_first_and_silenced_ones_with_their_reasons():
    """A finding has its count, examples and catalog lines; a silenced one is in a table with the reason."""
    note = RULE.__class__("DP101", "note", "junk files", "They are noise.", "Exclude them.")
    findings = (
        Finding(note, 2, (".DS_Store",)),
        Finding(RULE, 12, ("annotations[3]",), "drop: [DP311]"),
        Finding(note, 1, (), silenced="a test needs it"),
    )
    page = a_page(a_survey(a_coco()), findings)
    assert "1 error, 1 note, 1 silenced in the catalog." in page.text
    assert page.text.index("error DP311 boxes outside their image: 12") < page.text.index("note DP101 junk files: 2")
    assert "annotations[3] and 11 more Lines for the catalog: drop: [DP311]" in page.text
    assert "DP101 junk files 1 a test needs it" in page.text


def test_a_bag_without_images_says_nothing_of_images():
    """Other data has no parts about boxes, and no word of images that were not decoded."""
    page = a_page(a_survey(files=(a_file("a.txt"),)))
    assert "Nothing found." in page.text
    assert "decoded" not in page.text
    assert not {"boxes", "images", "tables", "samples"} & {*page.values("id")}


@pytest.mark.parametrize("boxes", [0, 1])
def test_one_image_is_enough_for_a_page(boxes):
    """With one image, and one box or none, every sentence still says something true."""
    coco = a_coco(images={"1.png": (640, 480)}, boxes=[(0, 0, (1, 1, 9, 9))] * boxes, categories=("fish",))
    page = a_page(a_survey(coco))
    assert f"1 image in 1 COCO file, with {boxes} box{'' if boxes else 'es'} of 1 category." in page.text
    assert "All images are 640 × 480 pixels" in page.text  # noqa: RUF001
    assert "nan" not in page.text


def test_the_page_of_many_images_is_small():
    """10,744 images and 70,000 boxes of 18 categories in three lists take under 200 kB, all plots under 150 kB."""
    coco = with_boxes(many(10_744, 70_000, 18))
    page = a_page(a_survey(coco, a_coco("val.json"), a_coco("test.json")))
    assert len(page.html.encode()) < 200_000
    drawings = re.findall("<svg .*?</svg>", page.html, re.DOTALL)
    assert len(drawings) == 7
    assert sum(len(drawing.encode()) for drawing in drawings) < 150_000


def test_5000_categories_are_summed_up():
    """A plot shows the 40 largest and how many more there are, the table 200."""
    page = a_page(a_survey(with_boxes(many(2000, 40_000, 5000))))
    assert "and 4,960 more categories" in page.text
    assert "And 4,800 more categories, each with fewer boxes." in page.text
    assert len(page.html.encode()) < 300_000


def test_200_lists_keep_the_page_small():
    """Of many COCO files the plots show the largest ones, and the others together."""
    cocos = [a_coco(f"{number:03}.json") for number in range(200)]
    page = a_page(a_survey(*cocos))
    assert "195 other files" in page.text
    assert "And 160 more files." in page.text
    assert len(page.html.encode()) < 200_000


def test_broken_rows_do_not_stop_the_page():
    """Boxes without an image or a category, without an area, or with impossible numbers, are left out of plots."""
    boxes = [
        (-1, 0, (1, 1, 9, 9)),
        (0, -1, (1, 1, 9, 9)),
        (0, 0, (1e308, 1e308, 1e308, 1e308)),
        (0, 0, (0, 0, 0, -5)),
        (0, 0, (float("inf"), float("nan"), 5, 5)),
        (1, 1, (10, 10, 80, 80)),
    ]
    coco = a_coco(images={"1.png": (0, 0), "2.png": (800, 800)}, boxes=boxes)
    page = a_page(a_survey(coco))
    assert "with 6 boxes of 2 categories" in page.text
    assert "nan" not in page.text
    assert "inf" not in page.text.replace("info", "")


def test_a_coco_file_that_cannot_be_read_is_named_with_its_problem():
    """It has no rows, so its problem stands beside its name."""
    coco = a_coco("labels.json", {}, [], (), problem="not a JSON file")
    assert "labels.json not a JSON file 0 0 0" in a_page(a_survey(coco)).text


def test_categories_with_one_name_count_as_one():
    """Lists may give a category different ids; a list may have a name twice."""
    one = a_coco("a.json", categories=("fish", "fish"), boxes=[(0, 0, (1, 1, 9, 9)), (0, 1, (1, 1, 9, 9))])
    other = a_coco("b.json", categories=("crab", "fish"), boxes=[(0, 1, (1, 1, 9, 9))])
    page = a_page(a_survey(one, other))
    assert one.categories == (Category(0, "fish"), Category(1, "fish"))
    assert "fish 3 100 %" in page.text
    assert isinstance(page, Page)


def test_many_findings_have_a_table_of_their_own():
    """Otherwise whoever looks for the last of fifty scrolls through all of them; few need none."""
    found = tuple(Finding(replace(RULE, code=f"DP3{number:02}"), 1, ("x",)) for number in range(20, 27))
    assert "All findings" in a_page(a_survey(a_coco()), found).text
    assert "All findings" not in a_page(a_survey(a_coco()), found[:5]).text


def test_box_of_a_category_from_right_to_left_keeps_its_numbers_in_order():
    """Without marks around the name, browsers show the numbers behind it in reverse."""
    page = a_page(a_survey(a_coco()), (Finding(RULE, 1, ("'نجم البحر': [1, 2, 30, 40]",)),))
    assert "&#39;<bdi>نجم البحر</bdi>&#39;: [1, 2, 30, 40]" in page.html


def test_data_without_images_does_not_say_that_they_are_broken():
    """A folder of tables has none to show."""
    assert "shows no images: the data has none." in a_page(a_survey(), shown=replace(NO_SAMPLES, why_not="")).text
