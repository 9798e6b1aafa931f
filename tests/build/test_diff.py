"""What differs between two versions, and what a push and a pull will cost."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from datapack.bag.changes import Changes
from datapack.build.diff import Amount, Diff, table
from datapack.reference import Reference
from tests.conftest import make_base, make_catalog
from tests.three_versions import CORRECTED, FIRST, IMAGES, LABELS, SECOND, Reef, make_labelled, make_reef


def make_changed(root: Path) -> Reef:
    """Make `reef@v1`, and v2, in which one file is removed, one added and one changed."""
    reef = make_reef(make_catalog(root).root)
    reef.write("v2", {"c": b"now with something in it"})
    os.utime(reef.root / "v2/c")
    return reef


@pytest.fixture
def reef(tmp_path):
    return make_changed(tmp_path / "catalog")


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    reef = make_changed(tmp_path_factory.mktemp("built") / "catalog")
    for version in ("v1", "v2"):
        reef.ok("build", f"reef@{version}")
    return reef


def blob_size(reef, version, digests) -> int:
    blobs = reef.root / f"dist/reef-{version}/blobs/sha256"
    return sum((blobs / digest.removeprefix("sha256:")).stat().st_size for digest in digests)


def test_files_and_layers(built):
    """Files are counted by kind, with their bytes; layer bytes equal the sizes of the blobs in one or both images."""
    found = json.loads(built.ok("diff", "reef@v1", "reef@v2", "--json"))
    assert (found["from"], found["to"], found["built"]) == ("reef@v1", "reef@v2", True)
    files = found["files"]
    assert files["added"] == {"count": 1, "bytes": len(SECOND["d"]), "paths": ["data/d"]}
    assert files["removed"] == {"count": 1, "bytes": len(FIRST["b/1"]), "paths": ["data/b/1"]}
    assert files["changed"] == {"count": 1, "bytes": 24, "paths": ["data/c"]}
    assert files["same"] == {"count": 3, "bytes": sum(len(FIRST[name]) for name in ("a/1", "a/2", "b/2"))}
    one, two = (built.layers(version)[1:] for version in ("v1", "v2"))  # without the base's
    shared, new = [d for d in two if d in one], [d for d in two if d not in one]
    assert found["layers"] == {
        "shared": {"count": len(shared), "bytes": blob_size(built, "v2", shared)},
        "new": {"count": len(new), "bytes": blob_size(built, "v2", new)},
    }


@pytest.mark.slow
def test_new_labels_for_the_same_images(catalog):
    """The cost is the layer with the labels plus the tag files, before the build and after it."""
    reef = make_labelled(catalog.root)
    reef.ok("build", "reef@v1")
    reef.ok("fetch", "reef@v2")
    planned = json.loads(reef.ok("diff", "reef@v1", "reef@v2", "--json"))
    reef.ok("build", "reef@v2")
    found = json.loads(reef.ok("diff", "reef@v1", "reef@v2", "--json"))
    assert found == {**planned, "built": True}
    assert found["files"]["changed"] == {
        "count": 1,
        "bytes": len(CORRECTED["train.json"]),
        "paths": ["data/train.json"],
    }
    unchanged = [*IMAGES.values(), LABELS["eval.json"]]
    assert found["files"]["same"] == {"count": len(unchanged), "bytes": sum(map(len, unchanged))}
    *shared, labels, tags = reef.layers("v2")[1:]  # without the base's
    assert len(shared) == 4  # the program and three layers of images
    assert found["layers"] == {
        "shared": {"count": 4, "bytes": blob_size(reef, "v2", shared)},
        "new": {"count": 2, "bytes": blob_size(reef, "v2", [labels, tags])},
    }
    assert "push: 2 of 6 layers, " in reef.ok("diff", "reef@v1", "reef@v2")


def test_reversed(built):
    """Added files become removed ones, and the cost is that of the first version in a registry that has the second."""
    there, back = (json.loads(built.ok("diff", *pair, "--json")) for pair in
                   (("reef@v1", "reef@v2"), ("reef@v2", "reef@v1")))  # fmt: skip
    assert back["files"]["added"] == there["files"]["removed"]
    assert back["files"]["removed"] == there["files"]["added"]
    assert back["files"]["changed"]["bytes"] == 0
    assert back["layers"]["shared"] == there["layers"]["shared"]


def test_table(built):
    """Columns are aligned, files are named, and the last lines give the cost."""
    lines = built.ok("diff", "reef@v1", "reef@v2").splitlines()
    assert lines[:7] == [
        "reef@v1 -> reef@v2",
        "",
        "FILES    NUMBER     SIZE",
        "added         1   1.6 kB",
        "removed       1     3 kB",
        "changed       1     24 B",
        "same          3   5.2 kB",
    ]
    assert lines[12:15] == ["added    data/d", "removed  data/b/1", "changed  data/c"]
    assert lines[16].startswith("push: 3 of 5 layers, ")
    assert " times less than the whole " in lines[16]
    assert lines[17:] == ["pull: the same for users who have reef@v1"]


@pytest.mark.slow
def test_the_cost_is_known_before_the_build(reef):
    """For a fetched version that is not built, the plan says what is shared; the build then makes exactly that."""
    for version in ("v1", "v2"):
        reef.ok("fetch", f"reef@{version}")
    before = (reef.root / "datasets.lock").read_bytes()
    planned = json.loads(reef.ok("diff", "reef@v1", "reef@v2", "--json"))
    assert not planned["built"]
    assert (reef.root / "datasets.lock").read_bytes() == before
    assert reef.ok("diff", "reef@v1", "reef@v2").endswith("reef@v2 is not built yet, so its layers are planned.\n")
    reef.ok("build", "reef@v1")
    reef.ok("build", "reef@v2")
    assert json.loads(reef.ok("diff", "reef@v1", "reef@v2", "--json")) == {**planned, "built": True}


def test_sizes_that_are_no_longer_known(built):
    """If a bag is gone, its manifest remains; sizes are not guessed, but those found in the other bag are used."""
    shutil.rmtree(built.bag("v1"))
    found = json.loads(built.ok("diff", "reef@v1", "reef@v2", "--json"))["files"]
    assert found["removed"] == {"count": 1, "bytes": None, "paths": ["data/b/1"]}
    assert found["same"]["bytes"] == 5200
    assert "removed       1  size unknown\n" in built.ok("diff", "reef@v1", "reef@v2")
    back = built.ok("diff", "reef@v2", "reef@v1")
    assert "push: 3 of 5 layers, size unknown\n" in back


def test_a_manifest_that_only_dvc_has(built):
    """If the bag and the cached manifest are gone, DVC's cache provides the manifest, and no bag is created."""
    before = built.ok("diff", "reef@v2", "reef@v1", "--json")
    for path in (built.bag("v2"), built.root / ".datapack"):
        shutil.rmtree(path)
    found = json.loads(built.ok("diff", "reef@v2", "reef@v1", "--json"))
    assert found["files"]["added"] == json.loads(before)["files"]["added"]
    assert not built.bag("v2").exists()


def test_a_version_that_is_not_here(built):
    """A version that was never fetched can't be compared: one line says how to fetch it."""
    error = built.fails("diff", "reef@v2", "reef@v3")
    unknown = "the version is not on this machine, and its content is unknown"
    assert f"reef@v3: {unknown}; run 'datapack fetch reef@v3' first" in error
    assert "did you mean" in built.fails("diff", "reef@v1", "reef@v22", status=2)
    assert "the versions are of different datasets" in built.fails("diff", "reef@v1", "atoll@v1", status=2)
    assert "the two versions are the same" in built.fails("diff", "reef@v1", "reef@v1", status=2)


def test_a_bag_that_is_not_the_locked_one(built):
    """A bag that replaced the locked one is not compared."""
    document = yaml.safe_load((built.root / "datasets.lock").read_text())
    document["reef@v2"]["digest"] = "sha256:" + "0" * 64
    (built.root / "datasets.lock").write_text(yaml.safe_dump(document))
    assert "reef@v2: the bag is not the one in the lock" in built.fails("diff", "reef@v1", "reef@v2", status=3)


def test_another_base_is_reported(built):
    """The plan does not include base layers, so a line reports that the bases differ."""
    shutil.rmtree(built.root / "base")
    make_base(built.root / "base", label="another")
    built.ok("build", "reef@v2", "--update-lock")
    assert "different bases" in built.ok("diff", "reef@v1", "reef@v2")


def difference(**options) -> Diff:
    names = tuple(f"data/{n}" for n in range(12))
    facts = {
        "before": Reference("reef", "v1"),
        "after": Reference("reef", "v2"),
        "changes": Changes(added=names, removed=names[:2]),
        "added": Amount(12, 10**6),
        "removed": Amount(2, None),
        "changed": Amount(0, 0),
        "same": Amount(10_000, 20_000_000_000),
        "shared": Amount(38, 19_080_000_000),
        "new": Amount(2, 1_020_000_000),
        "is_built": True,
        "other_base": False,
    }
    return Diff(**{**facts, **options})


def test_a_few_names_or_all():
    """Three files of each kind are named, then the number of others; --all names every file."""
    few, every = table(difference()), table(difference(), all_names=True)
    assert "added    data/2\n         and 9 more; use --all to list them\nremoved  data/0" in few
    assert few.count("data/") == 5
    assert every.count("data/") == 14


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (1_020_000_000, "push: 2 of 40 layers, 1.02 GB, about 20 times less than the whole 20.1 GB"),
        (10_000_000_000, "push: 2 of 40 layers, 10 GB, about 2.9 times less than the whole 29.1 GB"),
        (10**13, "push: 2 of 40 layers, 10 TB, nearly the whole 10 TB"),
        (None, "push: 2 of 40 layers, size unknown\n"),
    ],
)
def test_the_cost(new, says):
    """The cost says how much smaller a push is than the whole image, in two digits."""
    assert says in table(difference(new=Amount(2, new)))
