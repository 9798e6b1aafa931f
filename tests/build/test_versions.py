"""Versions that share layers: what the next one keeps, what it costs, and how it is built without its parent."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from datapack.bag.manifest import Manifest
from datapack.build import plan as planning
from datapack.build.build import Options, build
from datapack.errors import ImageError
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.workspace.folder import Workspace
from tests.conftest import fact, make_catalog
from tests.fetch.dvc.test_tracking import clone, copy_published, dvc, git
from tests.servers import Reply, Server
from tests.three_versions import FIRST, SECOND, THIRD, Reef, make_labelled, make_reef

pytestmark = pytest.mark.slow  # DVC starts in each test, in many of them several times


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """The content, modification time and inode of each file."""
    stats = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), s.st_mtime_ns, s.st_ino) for path, s in stats}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def reef(catalog):
    return make_reef(catalog.root)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    """A catalog with v1 and v2 built, to be copied."""
    reef = make_reef(make_catalog(tmp_path_factory.mktemp("built") / "catalog").root)
    for version in ("v1", "v2"):
        reef.ok("build", f"reef@{version}")
    return reef


def test_layers_of_the_parent_are_kept_bit_for_bit(built):
    """Layers whose files are all still there have the same digests as in the parent; the others are new."""
    one, two = built.data("v1"), built.data("v2")
    assert (len(one), len(two)) == (3, 4)
    assert two[:2] == [one[0], one[2]]  # a/1 and a/2, and c, which is at the top level
    assert not set(two[2:]) & set(one)
    assert built.layers("v2")[:2] == built.layers("v1")[:2]
    assert built.ok("verify", "oci:dist/reef-v2").startswith("verified, every byte")
    assert built.lock["reef@v1"]["packing"] == "0*2 1*2 2*1"
    assert built.lock["reef@v2"]["packing"] == "0*2 2*1 1*1 3*1"
    assert "parent" not in built.lock["reef@v1"]
    assert built.lock["reef@v2"]["parent"] == "v1"


def test_new_labels_for_the_same_images_send_no_image(catalog):
    """If only a file at the top level changes, all layers are the parent's except the one that holds it."""
    reef = make_labelled(catalog.root)
    reef.ok("build", "reef@v1")
    reef.ok("build", "reef@v2")
    one, two = reef.data("v1"), reef.data("v2")
    assert reef.lock["reef@v1"]["packing"] == reef.lock["reef@v2"]["packing"] == "3*1 0*3 1*3 2*1 3*1"
    assert two[:-1] == one[:-1]
    assert two[-1] not in one
    assert reef.ok("verify", "oci:dist/reef-v2").startswith("verified, every byte")


def test_a_withdrawn_file_is_nowhere(reef):
    """Its bytes are in no blob of the next version and its name is not in the bag; the parent stays as it was."""
    reef.ok("build", "reef@v1")
    before = contents(reef.bag("v1")) | contents(reef.root / "dist/reef-v1")
    reef.ok("build", "reef@v2")
    assert FIRST["b/1"] in reef.blobs("v1")
    assert b"withdrawn" not in reef.blobs("v2")
    assert {path for path in contents(reef.bag("v2")) if path.startswith("data/")} == {f"data/{n}" for n in SECOND}
    assert contents(reef.bag("v1")) | contents(reef.root / "dist/reef-v1") == before
    for version in ("v1", "v2"):
        assert reef.ok("verify", f"reef@{version}").startswith("verified, every byte")


def test_a_changed_file_does_not_change_the_parent(reef):
    """The versions' bags share their files on disk, but a file that changed in the next version is two files."""
    reef.write("v2", {"a/1": b"ONE " * 400, "c": b"no longer empty"})
    os.utime(reef.root / "v2/a/1")
    reef.ok("build", "reef@v1")
    before = contents(reef.bag("v1"))
    reef.ok("build", "reef@v2")
    assert contents(reef.bag("v1")) == before
    assert (reef.bag("v2") / "data/a/1").read_bytes() == b"ONE " * 400
    assert (reef.bag("v2") / "data/a/2").stat().st_ino == (reef.bag("v1") / "data/a/2").stat().st_ino
    assert not set(reef.data("v1")) & set(reef.data("v2"))  # each of the parent's layers lost a file


def test_what_the_parent_has_is_stored_once(reef):
    """Only the new file and the changed tag files are added to DVC's cache."""
    reef.ok("fetch", "reef@v1")
    before = reef.objects()
    reef.ok("fetch", "reef@v2")
    new = reef.objects() - before
    tags = ("bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")
    pointer = yaml.safe_load((reef.root / "data/reef/v2.dvc").read_text())["outs"][0]["md5"]
    assert new == {md5(SECOND["d"]), pointer, *(md5((reef.bag("v2") / name).read_bytes()) for name in tags)}


def test_what_the_parent_has_is_not_fetched_again(reef):
    """Only URLs that the parent does not name, or that must have another hash, are requested."""
    with Server({f"/{name}": Reply(f"content of {name}".encode()) for name in "abcd"}) as server:
        a, b, c, d = ({"url": f"{server.url}/{name}", "name": f"{name}.txt"} for name in "abcd")
        other_c = {**c, "sha256": hashlib.sha256(b"another").hexdigest()}
        document = yaml.safe_load((reef.root / "datasets.yml").read_text())
        versions = {"v1": {"sources": [a, b, c]}, "v2": {"parent": "v1", "sources": [a, other_c, d]}}
        document["datasets"]["reef"]["versions"] = versions
        (reef.root / "datasets.yml").write_text(json.dumps(document))  # which is YAML, without aliases
        reef.ok("fetch", "reef@v1")
        server.reply("/c", Reply(b"another"))
        reef.ok("fetch", "reef@v2")
        assert server.requests == {"/a": 1, "/b": 1, "/c": 2, "/d": 1}
    assert sorted(path.name for path in (reef.bag("v2") / "data").iterdir()) == ["a.txt", "c.txt", "d.txt"]
    assert (reef.bag("v2") / "fetch.txt").read_text().count("\n") == 3
    assert (reef.bag("v1") / "fetch.txt").read_text().count("\n") == 3
    assert (reef.bag("v1") / "data/c.txt").read_bytes() == b"content of c"


def test_what_the_parent_has_is_not_hashed_again(reef):
    """Hashes are cached by size and time: a fetch does not notice a change that keeps both; `--verify` does."""
    reef.ok("fetch", "reef@v1")
    victim = reef.bag("v1") / "data/a/1"
    stat = victim.stat()
    victim.chmod(0o644)
    victim.write_bytes(b"ONE " * 400)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    reef.ok("fetch", "reef@v2")
    assert Manifest.read(reef.bag("v2")).hashes["data/a/1"] == hashlib.sha256(FIRST["a/1"]).hexdigest()
    assert "data/a/1: the file differs from the bag's manifest" in reef.fails("build", "reef@v2", "--verify", status=3)


def test_a_damaged_file_of_the_parent_is_not_taken_over(reef):
    """A file that differs from the parent's manifest is fetched from the source."""
    reef.ok("fetch", "reef@v1")
    victim = reef.bag("v1") / "data/a/1"
    victim.chmod(0o644)
    victim.write_bytes(b"ONE " * 400)
    shutil.rmtree(reef.root / ".dvc/cache")
    done = reef.run("fetch", "reef@v2")
    assert "data/reef/v1/data/a/1: differs from the manifest, so it is not reused" in done.stderr
    assert (reef.bag("v2") / "data/a/1").read_bytes() == FIRST["a/1"]


def test_a_missing_parent_is_fetched_first(reef):
    """A chain can be built from its end: each parent is fetched before its child, and shares its layers once built."""
    reef.ok("build", "reef@v3")
    assert set(reef.lock) == {"reef@v1", "reef@v2", "reef@v3"}
    assert reef.lock["reef@v3"]["packing"] == "0*2 2*1 1*1 3*1 4*1"
    for version in ("v1", "v2"):
        reef.ok("build", f"reef@{version}")
    assert reef.data("v3")[:-1] == reef.data("v2")
    assert reef.data("v3")[0] == reef.data("v1")[0]


def test_a_child_is_the_same_however_its_parent_came(reef, tmp_path):
    """The image is the same whether the parent was built before or only fetched for this build."""
    other = Reef(shutil.copytree(reef.root, tmp_path / "other"))
    for version in ("v1", "v2"):
        reef.ok("build", f"reef@{version}")
    images = {fact(place.ok("build", "reef@v3"), "image") for place in (reef, other)}
    assert len(images) == 1


@pytest.fixture(scope="module")
def published_once(tmp_path_factory):
    """v1 and v2 are built; git and DVC's remote have v2, and only the files of v1 that v2 shares."""
    reef = make_reef(make_catalog(tmp_path_factory.mktemp("published") / "catalog").root)
    git(reef, "init", "-q")
    dvc(reef, "init", "-q")
    dvc(reef, "remote", "add", "--default", "shelf", "../remote")
    (reef.root / ".gitignore").write_text(".datapack/\ndist/\n*.partial/\n")
    reef.ok("build", "reef@v1")
    reef.image = fact(reef.ok("build", "reef@v2", "--push-data"), "image")
    git(reef, "add", "datasets.yml", "datasets.lock", ".gitignore", ".dvc", "data", "base")
    git(reef, "commit", "-qm", "reef@v2")
    return reef


@pytest.fixture
def published(published_once, tmp_path):
    """A copy of that catalog and of its remote."""
    return copy_published(published_once, tmp_path)


def test_a_clone_makes_the_same_image_without_the_parent(published, tmp_path):
    """The lock is enough, even if nothing of the parent is there and a later datapack has other limits."""
    there = Reef(clone(published, tmp_path / "clone").root, layer=2000)
    shutil.rmtree(published.root)
    assert fact(there.ok("build", "reef@v2"), "image") == published.image
    assert not there.bag("v1").exists()
    assert md5(FIRST["b/1"]) not in there.objects()
    assert git(there, "status", "--porcelain") == ""


def test_a_parent_that_is_gone_for_good_changes_nothing(published):
    """If the parent was withdrawn everywhere, even in the lock, a build that knows the layers does not need it."""
    for path in (published.bag("v1"), published.root / "v1", published.root / ".datapack", published.root / "dist"):
        shutil.rmtree(path)
    (published.root / "data/reef/v1.dvc").unlink()
    lock = {reference: entry for reference, entry in published.lock.items() if reference != "reef@v1"}
    (published.root / "datasets.lock").write_text(yaml.safe_dump(lock))
    assert fact(published.ok("build", "reef@v2"), "image") == published.image


def test_of_a_parent_only_the_manifest_is_fetched(published, tmp_path):
    """A clone that builds the next version fetches one file of the parent from DVC's remote, and shares its layers."""
    there = Reef(clone(published, tmp_path / "clone").root)
    there.write("v3", {name: content for name, content in THIRD.items() if name != "d"})
    done = there.run("build", "reef@v3")
    assert done.returncode == 0, done.stderr
    assert "fetching data/reef/v2/manifest-sha256.txt from DVC's remote" in done.stderr
    assert not there.bag("v2").exists()
    assert md5(SECOND["d"]) not in there.objects()
    assert there.data("v3")[0] == published.data("v2")[0]


def test_a_damaged_manifest_in_the_cache_is_not_used(published):
    """The parent's manifest in DVC's cache is used only if it matches the lock; otherwise the whole bag is fetched."""
    content = (published.bag("v2") / "manifest-sha256.txt").read_bytes()
    cached = published.root / ".dvc/cache/files/md5" / md5(content)[:2] / md5(content)[2:]
    for path in (published.bag("v2"), published.root / ".datapack"):
        shutil.rmtree(path)
    cached.chmod(0o644)
    cached.write_bytes(content.replace(b"data/d", b"data/e"))
    published.ok("build", "reef@v3")
    assert published.data("v3")[:-1] == published.data("v2")


def test_another_parent_is_another_image(built):
    """A changed parent stops the build, which names it; once accepted, the layers are planned again."""
    before, lock = contents(built.root / "dist/reef-v2"), (built.root / "datasets.lock").read_bytes()
    built.describe(v1=None, v2=None, v3="v2")
    error = built.fails("build", "reef@v2", status=3)
    assert "reef@v2: the image is not the one in the lock" in error
    assert "  changed  the parent: v1 is now none\n" in error
    assert (built.root / "datasets.lock").read_bytes() == lock
    assert {path: before[path] for path in before} == {
        path: found for path, found in contents(built.root / "dist/reef-v2").items() if path in before
    }
    built.ok("build", "reef@v2", "--update-lock")
    assert "parent" not in built.lock["reef@v2"]
    assert built.lock["reef@v2"]["packing"] == "0*3 1*2"
    assert not set(built.data("v2")) & set(built.data("v1"))
    built.describe(v1=None, v2="v1", v3="v2")
    assert "  changed  the parent: none is now v1\n" in built.fails("build", "reef@v2", status=3)


def test_other_limits_change_a_version_only_on_request(built):
    """A datapack with smaller layers makes the locked image; `--update-lock` plans it again."""
    image = fact(built.ok("build", "reef@v1"), "image")
    built.layer = 2000
    shutil.rmtree(built.root / "dist")
    assert fact(built.ok("build", "reef@v1"), "image") == image
    built.ok("build", "reef@v1", "--update-lock")
    assert len(built.data("v1")) == 5
    built.ok("build", "reef@v1")
    assert len(built.data("v1")) == 5


def test_a_lock_without_a_packing_gets_one(reef):
    """If the lock has no packing, the layers are planned and the packing is written to the lock."""
    reef.ok("build", "reef@v1")
    path = reef.root / "datasets.lock"
    text = path.read_text()
    path.write_text(re.sub(r"  packing: .*\n", "", text))
    assert path.read_text() != text
    reef.ok("build", "reef@v1")
    assert path.read_text() == text


def test_a_packing_that_does_not_fit_is_reported(reef):
    """A wrongly merged lock gives one error line, for the version's packing as for its parent's."""
    reef.ok("build", "reef@v1")
    path = reef.root / "datasets.lock"
    path.write_text(path.read_text().replace("packing: 0*2 1*2 2*1", "packing: 0*2 1*2"))
    for version in ("v1", "v2"):
        error = reef.fails("build", f"reef@{version}", status=2)
        assert "reef@v1: the packing does not fit the files: expected 5 files, as in the manifest, found 4" in error
    assert not (reef.root / "dist/reef-v2").exists()


def test_a_parent_that_cannot_be_fetched(reef):
    """One line names the child, the parent, the reason and what to do, wherever in the chain the parent is."""
    shutil.rmtree(reef.root / "v1")
    error = reef.fails("build", "reef@v3")
    assert f"reef@v2: its parent reef@v1 is needed and can't be fetched: found {reef.root / 'v1'}: can't read" in error
    assert "remove 'parent' from the catalog" in error
    assert not (reef.root / "dist").exists()
    assert not (reef.root / "datasets.lock").exists()


def test_a_cycle_is_refused(reef):
    """Parents that form a cycle are refused before anything is done."""
    reef.describe(v1="v3", v2="v1", v3="v2")
    assert "circular parents" in reef.fails("build", "reef@v1", status=2)
    assert not (reef.root / "data").exists()


@pytest.mark.parametrize("moment", [f"{n / 100:.2f}" for n in (40, 60, 80, 110, 140, 180)])
def test_killed_at_any_moment(reef, moment):
    """The same command resumes, and both versions are complete: the child keeps nothing that only its parent has."""
    reef.ok("build", "reef@v1")
    before = contents(reef.bag("v1"))
    process = reef.start("build", "reef@v2")
    time.sleep(float(moment))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reef.ok("build", "reef@v2")
    assert reef.data("v2")[0] == reef.data("v1")[0]
    assert b"withdrawn" not in reef.blobs("v2")
    assert contents(reef.bag("v1")) == before
    assert not reef.leftovers()
    assert not list(reef.root.rglob("*.partial"))


def test_a_bag_that_a_kill_left_half_linked_is_started_again(reef):
    """Links to the parent's files count only if all of them are there."""
    reef.ok("fetch", "reef@v1")
    staging = reef.bag("v2").with_name("v2+staging.partial") / "data/a"
    staging.mkdir(parents=True)
    (staging / "1").write_bytes(b"half")
    reef.ok("fetch", "reef@v2")
    assert reef.ok("verify", "reef@v2").startswith("verified")
    assert (reef.bag("v2") / "data/a/1").stat().st_ino == (reef.bag("v1") / "data/a/1").stat().st_ino
    assert not list(reef.root.rglob("*.partial"))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            {"LAYER_BYTES": 2000, "MAX_DATA_LAYERS": 2},
            r"^reef@v1: the version needs 3 images: .*, found 5 layers; split it into 3 versions",
        ),
        ({"LAYER_LIMIT": 6000}, r"^reef@v1: data/b/1 is too large for a layer: expected at most 6 kB, found 3 kB"),
    ],
)
def test_a_version_too_large_for_an_image_writes_nothing(reef, monkeypatch, limits, says):
    """The error comes before any byte of an image is on disk."""
    for name, value in limits.items():
        monkeypatch.setattr(planning, name, value)
    with pytest.raises(ImageError, match=says):
        build(Workspace(reef.root), Reference("reef", "v1"), Options(), Silent())
    assert not (reef.root / "dist").exists()
