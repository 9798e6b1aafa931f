"""What `fetch` and `build` say about the data, what `check` says, and what a catalog silences."""

import json
import shutil

import pytest

from tests.conftest import Catalog, make_base
from tests.inspect.planted import CATEGORIES, box_row, coco_file, image_row, picture

SOUND = [box_row(1, 1), box_row(2, 2)]
FAULTY = [*SOUND, box_row(3, 1, (200, 10, 5, 5)), box_row(4, 2, (10, 10, 20, 20)), box_row(5, 2, (0, 0, 80, 60))]


def write(catalog, boxes, *, silence="{}"):
    """Write the source of ``crabs@v1``, and the catalog."""
    images = [image_row(1), image_row(2)]
    for name, content in {
        "train.json": coco_file(images, boxes, CATEGORIES),
        "images/1.png": picture(1),
        "images/2.png": picture(2),
    }.items():
        path = catalog.root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    text = f"""\
defaults: {{base: "oci:base"}}
datasets:
  crabs:
    title: Crabs
    licence: CC0-1.0
    versions:
      v1:
        sources: [{{local: source}}]
        silence: {silence}
"""
    (catalog.root / "datasets.yml").write_text(text)


@pytest.fixture
def crabs(tmp_path):
    """A catalog with ``crabs@v1``, whose boxes have an error, a warning and a note."""
    (tmp_path / "catalog").mkdir()
    make_base(tmp_path / "catalog/base")
    catalog = Catalog(tmp_path / "catalog")
    write(catalog, FAULTY)
    return catalog


def test_fetch_notes_errors_and_warnings(crabs):
    """A line each with an example, the errors first, and what shows more; the bag is there; notes are not shown."""
    noted = crabs.run("fetch", "crabs@v1").stderr.splitlines()[-3:]
    assert noted[1].startswith("crabs@v1: warning DP309: duplicate boxes: 1, such as train.json: annotations[3]")
    assert noted[0].startswith(
        "crabs@v1: error DP310: boxes outside their image: 1, such as train.json: annotations[2]"
    )
    assert noted[2] == "'datapack check crabs@v1' shows what to do about them"
    assert (crabs.root / "data/crabs/v1/bagit.txt").exists()


def test_sound_data_give_no_note(crabs):
    """Nobody reads a line that always comes."""
    write(crabs, SOUND)
    assert "DP" not in crabs.run("fetch", "crabs@v1").stderr


def test_findings_are_kept_by_the_digest_of_the_data(crabs):
    """The same data is not looked at again; a damaged copy, other data and other rules are."""
    before = crabs.run("fetch", "crabs@v1").stderr.splitlines()[-3:]
    (kept,) = (crabs.root / ".datapack/findings").iterdir()
    content = json.loads(kept.read_bytes())
    content[0]["title"] = "boxes from the cache"
    kept.write_text(json.dumps(content))
    assert "boxes from the cache" in crabs.run("fetch", "crabs@v1").stderr
    wrong = [json.dumps([{**content[0], key: value}]) for key in content[0] for value in ([], {}, None, 1.5)]
    for damage in ("", "{}", "[{}]", "[1]", "null", '[{"code": "DP1"}]', '[{"count": 1e999}]', *wrong):
        kept.write_text(damage)
        assert crabs.run("fetch", "crabs@v1").stderr.splitlines()[-3:] == before
    write(crabs, [*FAULTY, box_row(6, 77)])
    assert "DP317" in crabs.run("fetch", "crabs@v1", "--refresh", "--update-lock").stderr
    assert len([*kept.parent.iterdir()]) == 2


def test_strict_stops_a_build_before_its_image(crabs):
    """One clear error with a line per finding; the bag stays, so that `check` can look at it."""
    for command in (("build", "crabs@v1", "--strict"), ("fetch", "crabs@v1", "--strict")):
        error = crabs.fails(*command)
        assert (
            "error: crabs@v1: --strict does not accept what the checks found: found 1 error and 1 warning; "
            "'datapack check crabs@v1' shows how to fix or silence them" in error
        )
        assert "  warning DP309: duplicate boxes" in error
    assert not (crabs.root / "dist").exists()
    assert (crabs.root / "data/crabs/v1/bagit.txt").exists()
    crabs.ok("build", "crabs@v1")


def test_silenced_findings_are_no_obstacle(crabs):
    """With a reason for each; they are neither noted nor counted, and `check` lists them last."""
    write(crabs, FAULTY, silence="{DP310: 'drawn by hand', DP309: 'two crabs', DP312: 'none any more'}")
    done = crabs.run("build", "crabs@v1", "--strict")
    assert done.returncode == 0, done.stderr
    assert "DP3" not in done.stderr
    lines = crabs.ok("check", "crabs@v1", "--strict").splitlines()
    assert lines[0].split(maxsplit=3) == ["note", "DP315", "1", "boxes that cover their whole image"]
    assert "silenced  DP310        1  boxes outside their image: drawn by hand" in lines
    assert "silenced  DP312        0  nothing to silence: remove this line from the catalog" in lines


def test_check_shows_findings_with_the_way_out(crabs):
    """The worst first; each with its examples and, where the catalog can help, the lines for it."""
    assert crabs.fails("check", "crabs@v1", status=2).endswith("not fetched yet; run 'datapack fetch crabs@v1' first\n")
    crabs.ok("fetch", "crabs@v1")
    done = crabs.run("check", "crabs@v1")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["error", "DP310", "1"],
        ["warning", "DP309", "1"],
        ["note", "DP315", "1"],
    ]
    assert "    train.json: annotations[2] 'fish': [200, 10, 5, 5] in 1.png (80 x 60)" in lines
    assert "      - subset: crabs@v1" in lines
    assert lines[-2:] == [
        "checked crabs@v1: 3 files, 2 images, 5 boxes in 1 COCO file",
        "found 1 error, 1 warning, 1 note",
    ]


def test_check_of_sound_data_says_what_it_checked(crabs):
    """Also of a bag's folder, outside any catalog."""
    write(crabs, SOUND)
    crabs.ok("fetch", "crabs@v1")
    shutil.move(crabs.root / "data/crabs/v1", crabs.root / "bag")
    (crabs.root / "datasets.yml").unlink()
    assert crabs.ok("check", "bag", "--strict").splitlines() == [
        "checked bag: 3 files, 2 images, 2 boxes in 1 COCO file",
        "nothing found",
    ]
    assert "neither a version nor a folder" in crabs.fails("check", "bags", status=2)
    (crabs.root / "crabs").mkdir(exist_ok=True)
    assert "crabs: not a bag: expected a folder with bagit.txt; give the version too" in crabs.fails(
        "check", "crabs", status=2
    )


def test_check_answers_in_json(crabs):
    """Everything that the text says, and whether the check passed."""
    write(crabs, [*SOUND, box_row(4, 2)], silence="{DP309: 'two crabs'}")
    crabs.ok("fetch", "crabs@v1")
    found = json.loads(crabs.ok("check", "crabs@v1", "--json"))
    assert found["passed"]
    assert found["checked"] == {
        "files": 3,
        "images": 2,
        "coco_files": 1,
        "boxes": 3,
        "tables": 0,
        "weights": 0,
        "decoded": 0,
    }
    (finding,) = found["findings"]
    assert (finding["code"], finding["severity"], finding["count"], finding["silenced"]) == (
        "DP309",
        "warning",
        1,
        "two crabs",
    )
    write(crabs, [*SOUND, box_row(4, 2)])
    assert crabs.run("check", "crabs@v1", "--json", "--strict").returncode == 1


def test_silence_is_validated(crabs):
    """A misspelt code would silence nothing, and a finding without a reason is not accepted."""
    for silence, message in (
        ("{DP908: x}", "silence.DP908: no finding has this code"),
        ("{DP390: x}", "did you mean 'DP320'?"),
        ("{DP309: ''}", "silence.DP309: invalid value: expected some text"),
        ("[DP309]", "silence: invalid value: expected keys with values, found a list"),
    ):
        write(crabs, SOUND, silence=silence)
        assert message in crabs.fails("list", status=2)
