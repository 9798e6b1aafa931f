"""A subset has the chosen images of another version, their rows, and links instead of copies."""

import json
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datapack.fetch.derived.order import in_order
from datapack.fetch.dvc.cache import DvcCache
from datapack.hashing import hash_file
from tests.conftest import fact
from tests.sea import INFO, RARE, Sea, below, make_sea, names, place, read


@pytest.fixture(scope="module")
def sea_once(tmp_path_factory) -> Sea:
    sea = make_sea(tmp_path_factory.mktemp("sea") / "catalog")
    sea.ok("fetch", "sea@v1")
    return sea


@pytest.fixture
def sea(sea_once, tmp_path) -> Sea:
    """The catalog, whose dataset is fetched."""
    return sea_once.copy(tmp_path / "catalog")


def test_a_subset_has_images_with_their_rows_and_all_other_files(sea):
    """As many images as asked for, each list cut to them, the README kept, and images that no list has left out."""
    payload = sea.derive({"subset": "sea@v1", "count": 12})
    chosen = {f"images/{kind}/{name}" for kind in ("train", "eval") for name in names(payload, f"{kind}.json")}
    assert below(payload) == {"README.md", "train.json", "eval.json", *chosen}
    assert len(chosen) == 12
    whole, cut = (read(sea.payload(reference), "train.json") for reference in ("sea@v1", "part@v1"))
    ids = {row["id"] for row in cut["images"]}
    assert cut["annotations"] == [row for row in whole["annotations"] if row["image_id"] in ids]
    assert cut["images"] == [row for row in whole["images"] if row["id"] in ids]
    assert {key: cut[key] for key in ("info", "licenses", "categories")} == {
        key: whole[key] for key in ("info", "licenses", "categories")
    }
    assert INFO in (payload / "train.json").read_text()  # as it was written
    assert "annotations" not in read(payload, "eval.json")


def test_files_are_links_and_keep_their_addresses(sea):
    """No image is stored twice, in no bag and not in DVC's cache; the lock names the origin and its digest."""
    payload = sea.derive({"subset": "sea@v1", "count": 5})
    images = list(payload.rglob("*.png"))
    for path in images:
        origin = sea.payload("sea@v1") / path.relative_to(payload)
        assert place(path) == place(origin)
    objects = {place(path) for path in (sea.root / ".dvc/cache/files/md5").glob("*/*")}
    assert {place(path) for path in images} <= objects
    lock = yaml.safe_load((sea.root / "datasets.lock").read_text())
    assert lock["part@v1"]["origins"] == {"sea@v1": lock["sea@v1"]["digest"]}
    cache, folder = DvcCache.of(sea.root), payload.parent
    paths = [path.relative_to(folder).as_posix() for path in payload.rglob("*.*")]
    known = cache.linked(folder, paths, [lock["sea@v1"]["dvc"]])  # so DVC need not read them again
    assert {folder / path for path in known} == {*images, payload / "README.md"}
    assert all(hash_file(folder / path, algorithm="md5") == md5 for path, md5 in known.items())


def test_a_larger_count_contains_the_smaller_one(sea):
    """The seed and the names decide, and every category and list that a choice of this size can have is in it."""
    few, more, others = (
        set(sea.derive({"subset": "sea@v1", **keys}, name=name).rglob("*.png"))
        for name, keys in (("few", {"count": 6}), ("more", {"count": 20}), ("others", {"count": 6, "seed": 1}))
    )
    few, more, others = ({path.name for path in images} for images in (few, more, others))
    assert few < more
    assert few != others
    boxes = read(sea.payload("few@v1"), "train.json")["annotations"]
    assert {box["category_id"] for box in boxes} == {1, 2, 3, 4, RARE}
    assert names(sea.payload("few@v1"), "eval.json")


@given(
    number=st.integers(1, 40),
    kinds=st.dictionaries(st.text(max_size=3), st.sets(st.integers(0, 39), min_size=1), max_size=6),
    seed=st.integers(0, 5),
)
def test_the_order_has_every_image_once_and_every_kind_early(number, kinds, seed):
    """It does not depend on the order of its input, and the first images have all kinds."""
    images = [f"{at}.png" for at in range(number)]
    kinds = {name: {images[at] for at in places if at < number} for name, places in kinds.items()}
    order = in_order(images, kinds, seed)
    assert sorted(order) == sorted(images)
    assert order == in_order(images[::-1], dict(reversed(kinds.items())), seed)
    first = set(order[: len(kinds)])
    assert all(first & members for members in kinds.values() if members)


CHOICES = [
    ({"categories": ["animal 7"]}, {"train 29.png"}),
    ({"categories": [RARE]}, {"train 29.png"}),
    ({"names": ["train 3.png", "images/eval/eval 4.png"]}, {"train 3.png", "eval 4.png"}),
    ({"sequences": ["Doc R/0001"]}, {f"train {number}.png" for number in range(5, 10)}),
    ({"min_size": 30, "names": ["train 1.png"]}, {"train 1.png"}),
    ({"coco": ["eval.json"], "names": ["eval 1.png"]}, {"eval 1.png"}),
    ({"categories": ["animal 1"], "names": ["train 1.png", "train 4.png", "train 7.png"]}, {"train 7.png"}),
]


@pytest.mark.parametrize(("keys", "expected"), CHOICES)
def test_conditions_choose_images(sea, keys, expected):
    """Categories by name or id, names, sequences, sizes and lists; an image must fit all of them."""
    payload = sea.derive({"subset": "sea@v1", **keys})
    assert {path.name for path in payload.rglob("*.png")} == expected
    lists = {path.name for path in payload.glob("*.json")}
    assert lists == {f"{name.split()[0]}.json" for name in expected}


def test_so_many_sequences_are_chosen_whole(sea):
    """Each chosen sequence has all its images."""
    payload = sea.derive({"subset": "sea@v1", "sequences": 2, "coco": ["train.json"]})
    assert len(names(payload)) == 10
    assert len({row["coco_url"].split("/")[-2] for row in read(payload, "train.json")["images"]}) == 2


@pytest.mark.parametrize("where", ["lists/mini.txt", "source/mini.txt"])
def test_names_may_be_in_a_text_file(sea, where):
    """The file is beside the catalog, or in the other version's payload, with line ends and a mark of any kind."""
    path = sea.root / where
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\ufefftrain 3.png\r\n\r\ntrain 5.png\n".encode())
    if where.startswith("source"):
        sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    payload = sea.derive({"subset": "sea@v1", "names": where.removeprefix("source/")})
    assert names(payload) == ["train 3.png", "train 5.png"]


def test_exclude_and_into(sea):
    """Excluded images and other files are left out, with their rows; ``into`` moves everything."""
    source = {"subset": "sea@v1", "coco": ["train.json"], "exclude": ["*.md", "train 1*"], "into": "deep/sea"}
    payload = sea.derive(source)
    assert all(path.startswith("deep/sea/") for path in below(payload))
    assert not {name for name in names(payload, "deep/sea/train.json") if name.startswith("train 1")}
    assert len(names(payload, "deep/sea/train.json")) == 19
    assert not (payload / "deep/sea/README.md").exists()


def test_a_list_of_names_is_no_way_out_of_the_folder(sea):
    """A link to another place is not followed: the error would show what is in the file there."""
    (sea.root / "names.txt").symlink_to("/etc/passwd")
    assert "names.txt: a link that leads out of the folder" in sea.refuses({"subset": "sea@v1", "names": "names.txt"})


def test_two_sources_may_bring_the_same_file(sea):
    """Subsets of two lists both have the README; two cuts of one list are an error."""
    payload = sea.derive(*({"subset": "sea@v1", "coco": [f"{kind}.json"], "count": 4} for kind in ("train", "eval")))
    assert len(list(payload.rglob("*.png"))) == 8
    assert (payload / "README.md").exists()
    error = sea.refuses(*({"subset": "sea@v1", "count": count} for count in (4, 5)), name="twice")
    assert "two files would be eval.json" in error


def test_a_list_that_loses_nothing_stays_the_same_file(sea):
    """Without any condition, the COCO files are links like the images."""
    payload = sea.derive({"subset": "sea@v1"})
    assert place(payload / "train.json") == place(sea.payload("sea@v1") / "train.json")
    assert len(list(payload.rglob("*.png"))) == 60  # without the stray one


def test_data_without_lists(sea):
    """Without COCO files a subset chooses among images; without images among all files."""
    for number in range(5):
        (sea.root / "tables").mkdir(exist_ok=True)
        (sea.root / f"tables/{number}.csv").write_text(f"a,b\n{number},2\n")
    sea.add("tables", {"local": "tables"})
    sea.add("plain", {"local": "source", "exclude": ["*.json"]})
    assert len(below(sea.derive({"subset": "tables@v1", "count": 2}, name="two"))) == 2
    some = sea.derive({"subset": "plain@v1", "count": 2, "min_size": 10}, name="some")
    assert len(list(some.rglob("*.png"))) == 2
    assert (some / "README.md").exists()


REFUSED = [
    ({"count": 61}, "larger than sea@v1: expected a count of at most 60, found 61"),
    ({"count": 2, "categories": ["animal 7"]}, "larger than what fits its conditions: expected a count of at most 1"),
    ({"names": ["nobody.png", "train 1.png"]}, "sea@v1 has no such image: found nobody.png"),
    ({"names": [f"no {number}" for number in range(9)]}, "no 0, no 1, no 2 and 6 more"),
    ({"names": "no.txt"}, "no.txt: can't read the file"),
    ({"categories": ["animl 7"]}, "sea@v1 has no category animl 7; did you mean 'animal 7'?"),
    ({"categories": [77]}, "sea@v1 has no category 77"),
    ({"categories": ["animal 9"]}, "no image fits all conditions"),
    ({"sequences": ["Doc R/0099"]}, "sea@v1 has no such sequence: found Doc R/0099; did you mean 'Doc R/0"),
    ({"sequences": 99}, "sea@v1 has fewer sequences: expected at most 12 sequences, found 99"),
    ({"min_size": 4000}, "no image fits all conditions"),
    ({"coco": ["test.json"]}, "sea@v1 has no COCO file test.json: expected one of eval.json, train.json"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_can_not_be_chosen_is_one_line(sea, keys, message):
    """The line says what does not exist, or how many there are; nothing half-made stays under the final name."""
    assert message in sea.refuses({"subset": "sea@v1", **keys})


MISTAKES = [
    (
        {"subset": "sea@v2"},
        "subset: no such version in the catalog: expected one of sea@v1, found sea@v2; did you mean",
    ),
    ({"subset": "sea"}, "not a version of a dataset"),
    ({"subset": "sea@v1", "count": 0}, "a number of at least 1"),
    ({"subset": "sea@v1", "names": []}, "expected"),
    ({"subset": "sea@v1", "names": "../a.txt"}, "not a path below the catalog's folder"),
    ({"subset": "sea@v1", "cout": 3}, "unknown key 'cout': expected one of categories,"),
    ({"subset": "sea@v1", "drop": ["DP3O9"]}, "a finding's code"),
    ({"subset": "sea@v1", "drop": ["DP399"]}, "no finding has this code"),
    ({"subset": "part@v1"}, "a version can't be derived from itself: found part@v1 -> part@v1"),
    ({"subset": "sea@v1", "split": "sea@v1"}, "the source has more than one kind"),
]


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes_are_found_when_the_catalog_is_read(sea, source, message):
    """Before anything is fetched, with the line of the catalog."""
    error = sea.refuses(source, status=2)
    assert message in error
    assert "datasets.yml:" in error


def test_circles_and_open_parts_of_private_data_are_refused(sea):
    """Versions can't be derived from each other in a circle; a part of private data must be private."""
    sea.add("a", {"subset": "b@v1"})
    sea.add("b", {"subset": "c@v1"})
    sea.add("c", {"subset": "a@v1"})
    assert "found a@v1 -> b@v1 -> c@v1 -> a@v1" in sea.fails("list", status=2)
    document = sea.document()
    for name in "abc":
        del document["datasets"][name]
    (sea.root / "datasets.yml").write_text(yaml.safe_dump(document))
    error = sea.refuses({"subset": "sea@v1"}, private=False, status=2)
    assert "sea@v1 is private, so what is derived from it must be private too; add 'private: true' to part" in error


def test_a_licence_without_derivatives_is_noted(sea):
    """The note says that the part must not be shared, each time that it is fetched or built."""
    text = (sea.root / "datasets.yml").read_text().replace("CC-BY-4.0", "CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0")
    (sea.root / "datasets.yml").write_text(text)
    reference = sea.add("part", {"subset": "sea@v1", "count": 2})
    for _ in range(2):
        assert "part@v1 is an adaptation of sea@v1, whose licence does not let you share adaptations" in sea.notes(
            reference
        )


def test_a_damaged_file_is_not_linked(sea):
    """A file of the other bag that changed is read, and named; with the right bytes again it is linked."""
    path = sea.payload("sea@v1") / "images/train/train 3.png"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"x")
    source = {"subset": "sea@v1", "names": ["train 3.png"]}
    error = sea.refuses(source)
    assert "train 3.png: the file is not what the bag's manifest says; remove it" in error
    path.write_bytes(content)
    assert place(sea.fetch("part@v1") / "images/train/train 3.png") == place(path)


def test_a_damaged_list_is_not_cut(sea):
    """The COCO file is checked before its rows are taken over."""
    path = sea.payload("sea@v1") / "train.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("30.5", "31.5"))
    assert "train.json: the file is not what the bag's manifest says" in sea.refuses({"subset": "sea@v1", "count": 3})


def test_a_list_that_contradicts_the_images(sea):
    """Rows without a file go, and are counted; a list without any file is an error, and so is a broken one."""
    path = sea.root / "source/train.json"
    whole = json.loads(path.read_text())
    whole["images"] += [{"id": 900, "file_name": "gone <script>.png"}, {"id": "x"}, 7]
    path.write_text(json.dumps(whole))
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    reference = sea.add("part", {"subset": "sea@v1", "coco": ["train.json"]})
    assert "1 of the 31 images that train.json lists are left out or not there, such as gone <script>" in sea.notes(
        reference
    )
    assert len(names(sea.payload(reference))) == 30
    sea.add("lists", {"local": "source", "exclude": ["images"]})
    error = sea.refuses({"subset": "lists@v1"}, name="none")
    assert "of the images that the COCO files list, none is there, or all are left out" in error
    path.write_text(path.read_text()[:-9])
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    error = sea.refuses({"subset": "sea@v1"}, name="broken")
    assert "the COCO file train.json can't be cut: found not a JSON file" in error
    assert "leave it out with 'exclude: [train.json]'" in error


def test_the_whole_chain_works(sea):
    """Build, verify, list, diff, and the provenance, which names the version that the part is from."""
    one = sea.add("part", {"subset": "sea@v1", "count": 5})
    two = sea.add("part", {"subset": "sea@v1", "count": 8}, version="v2", parent="v1")
    built = sea.ok("build", one)
    assert sea.ok("verify", "oci:dist/part-v1").startswith("verified")
    assert fact(sea.ok("build", one), "image") == fact(built, "image")
    sea.ok("build", two)
    assert "removed       0" in sea.ok("diff", one, two)
    assert "part@v2" in sea.ok("list")
    statement = json.loads((sea.root / "dist/part-v1.provenance.json").read_text())
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    lock = yaml.safe_load((sea.root / "datasets.lock").read_text())
    digest = lock["sea@v1"]["digest"].removeprefix("sha256:")
    assert {"name": "sea@v1", "digest": {"sha256": digest}} in found
    subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=sea.payload(one).parent, check=True)


def test_the_other_version_is_fetched_first_from_its_sources_or_from_dvc(sea):
    """Its lock entry is written; if its sources are gone, it comes from DVC, and the part is the same."""
    first = (sea.derive({"subset": "sea@v1", "count": 5}).parent / "manifest-sha256.txt").read_bytes()
    subprocess.run(["rm", "-r", sea.root / "data/part", sea.root / "data/sea/v1", sea.root / "source"], check=True)
    assert (sea.fetch("part@v1").parent / "manifest-sha256.txt").read_bytes() == first
    assert (sea.root / "data/sea/v1").is_dir()


def test_a_part_comes_from_dvc_without_the_other_version(sea):
    """A part that DVC has needs nothing else."""
    sea.derive({"subset": "sea@v1", "count": 5})
    subprocess.run(["rm", "-r", sea.root / "data/part/v1", sea.root / "data/sea", sea.root / "source"], check=True)
    sea.fetch("part@v1")
    assert not (sea.root / "data/sea").exists()


def test_a_change_of_the_other_version_makes_its_parts_stale(sea):
    """After an update of the lock, parts of parts are made again, and the difference shows."""
    sea.derive({"subset": "sea@v1", "coco": ["train.json"]})
    sea.derive({"subset": "part@v1", "names": ["train 3.png"]}, name="small")
    (sea.root / "source/images/train/train 3.png").write_bytes(b"\x89PNG other")
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    error = sea.fails("fetch", "small@v1", status=3)
    assert "part@v1, which it is derived from, can't be fetched" in error
    assert "changed  data/images/train/train 3.png" in error
    error = sea.fails("fetch", "part@v1", status=3)
    assert "changed  data/images/train/train 3.png" in error
    sea.ok("fetch", "--update-lock", "part@v1")
    sea.ok("fetch", "--update-lock", "small@v1")
    assert (sea.payload("small@v1") / "images/train/train 3.png").read_bytes() == b"\x89PNG other"


def test_a_changed_entry_of_the_other_version_is_noticed(sea):
    """The part is asked for again, and the error names the version whose data would change."""
    sea.derive({"subset": "sea@v1", "count": 3})
    sea.add("sea", {"local": "source", "exclude": ["README.md"]})
    error = sea.fails("fetch", "part@v1", status=3)
    assert "sea@v1, which it is derived from, can't be fetched" in error
    assert "removed  data/README.md" in error


def test_a_kill_leaves_nothing_that_harms(sea):
    """An unfinished part is finished by the next run, whatever it holds."""
    reference = sea.add("part", {"subset": "sea@v1", "count": 5})
    partial = sea.root / "data/part/v1.partial/data"
    (partial / "images/train").mkdir(parents=True)
    (partial / "images/train/train 3.png").write_bytes(b"half")
    (partial / "train.json").write_text("{")
    (partial / "images/train/.datapack-0").write_bytes(b"half")
    expected = sea.derive({"subset": "sea@v1", "count": 5}, name="other")
    assert {path: (expected / path).read_bytes() for path in below(expected)} == {
        path: (sea.fetch(reference) / path).read_bytes() for path in below(expected)
    }
