"""`datapack plan`: what a build would fetch, write and push, known before it runs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from datapack.errors import UsageError
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.versions.cost import Amount
from datapack.versions.plan import Plan, plan
from datapack.versions.plan_table import table
from datapack.workspace.folder import Workspace
from tests.conftest import Catalog, make_catalog
from tests.registries import push, serve
from tests.servers import Reply, Server, png
from tests.three_versions import make_reef

if TYPE_CHECKING:
    from pathlib import Path

REEF = Reference("reef", "v1")


def make(catalog: Catalog, target: str | None = None, reference: Reference = REEF, **options) -> Plan:
    return plan(Workspace(catalog.root), reference, target, Silent(), **options)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def place(found: Plan, name: str) -> int | None:
    (needed,) = (each.needed for each in found.places if each.name == name)
    return needed


def write_sources(catalog: Catalog, sources: str) -> None:
    text = (catalog.root / "datasets.yml").read_text()
    (catalog.root / "datasets.yml").write_text(text.replace("          - local: source\n", sources))


@pytest.mark.parametrize("state", ["catalog", "fetched", "built"])
def test_a_plan_changes_nothing(state: str, request: pytest.FixtureRequest) -> None:
    """Whatever is here already, a plan leaves every file as it is, and makes none."""
    catalog = request.getfixturevalue(state)
    before = files(catalog.root)
    catalog.ok("plan", "reef@v1")
    assert files(catalog.root) == before


def test_a_plan_of_local_files_says_what_the_build_then_needs(catalog: Catalog) -> None:
    """Files, bytes and disk are what they are after the build; a link to DVC's cache takes no room."""
    found = make(catalog)
    assert found.version.way == "sources"
    assert found.version.whole == Amount(4, 3003)
    assert found.fetched == Amount(0, 0)
    assert (place(found, "bag"), place(found, "cache")) == (3003, 0)
    assert found.image.whole.estimated
    catalog.ok("build", "reef@v1")
    assert make(catalog).version.whole == found.version.whole


def test_a_bag_that_is_here_is_not_fetched(fetched: Catalog) -> None:
    """With the bag here, the layers are known, and their sizes are those of the blobs that the build writes."""
    found = make(fetched)
    assert found.version.way == "here"
    assert not found.image.whole.estimated
    fetched.ok("build", "reef@v1")
    blobs = fetched.root / "dist/reef-v1/blobs/sha256"
    sizes = [path.stat().st_size for path in blobs.iterdir()]
    layers = json.loads((blobs / found_manifest(fetched)).read_bytes())["layers"][1:]
    assert found.image.whole == Amount(len(layers), sum(layer["size"] for layer in layers))
    assert {layer["size"] for layer in layers} <= set(sizes)
    assert make(fetched).image.new == Amount(0, 0)
    assert place(make(fetched), "image") == 0


def found_manifest(catalog: Catalog) -> str:
    index = json.loads((catalog.root / "dist/reef-v1/index.json").read_bytes())
    return index["manifests"][0]["digest"].removeprefix("sha256:")


def test_a_bag_in_dvcs_cache_is_restored(built: Catalog) -> None:
    """Without the bag, DVC's cache gives it back, with links that take no room."""
    shutil.rmtree(built.root / "data/reef/v1")
    found = make(built)
    assert found.version.way == "cache"
    assert place(found, "bag") == 0
    assert found.image.new == Amount(0, 0)
    next(
        path for path in (built.root / ".dvc/cache/files").rglob("*") if path.is_file() and path.stat().st_size == 3000
    ).unlink()
    assert make(built).version.way == "sources"


def test_changed_sources_are_asked_again(built: Catalog) -> None:
    """If the catalog's sources changed, the bag here does not count; files that are the same are not copied again."""
    (built.root / "source/new").write_bytes(b"n" * 10)
    assert make(built).version.way == "here"
    write_sources(built, "          - {local: source, exclude: [z]}\n")
    found = make(built)
    assert found.version.way == "sources"
    assert found.version.whole == Amount(4, 3012)
    assert found.version.written == Amount(1, 10)


def test_a_refresh_is_planned_without_what_is_here(built: Catalog) -> None:
    """`--refresh` fetches everything again."""
    assert make(built).version.written == Amount(0, 0)
    from datapack.fetch.job import FetchOptions

    assert make(built, options=FetchOptions(refresh=True)).version.written == Amount(4, 3003)


def test_images_of_a_coco_file_are_counted_and_estimated(catalog: Catalog) -> None:
    """The number of images is exact; their size is an estimate from those that a stopped fetch left."""
    images = [png(seed=number) for number in range(4)]
    with Server({f"/{number}.png": Reply(image) for number, image in enumerate(images[:2])}) as server:
        rows = [{"id": n, "file_name": f"{n}.png", "coco_url": f"{server.url}/{n}.png"} for n in range(4)]
        (catalog.root / "list.json").write_text(json.dumps({"images": rows}))
        images_of_list = f"{{coco: list.json, into: images, hosts: ['{server.url[7:]}']}}"
        write_sources(catalog, f"          - local: list.json\n          - {images_of_list}\n")
        found = make(catalog)
        assert found.version.sources[1].whole == Amount(4, None)
        assert found.fetched == Amount(4, None)
        catalog.fails("fetch", "reef@v1")
    found = make(catalog)
    assert found.version.sources[1].here == Amount(2, len(images[0]) + len(images[1]))
    assert found.fetched == Amount(2, len(images[0]) + len(images[1]), estimated=True)
    text = "\n".join(table(found, catalog.root))
    assert "2 files, about" in text
    assert "but the real rate is unknown" in text


def test_a_file_from_another_url_is_not_here(catalog: Catalog) -> None:
    """As in a fetch, a file of an earlier run counts only if its URL is the same."""
    with Server({"/a/x.bin": Reply(b"abc"), "/b/x.bin": Reply(b"abc")}) as server:
        write_sources(catalog, f"          - url: {server.url}/a/x.bin\n")
        catalog.ok("fetch", "reef@v1")
        text = (catalog.root / "datasets.yml").read_text()
        (catalog.root / "datasets.yml").write_text(text.replace("/a/", "/b/"))
        assert make(catalog).fetched == Amount(1, None)
        (catalog.root / "datasets.yml").write_text(text)
        assert make(catalog).fetched == Amount(0, 0)


def test_no_room_is_a_problem_and_status_1(catalog: Catalog) -> None:
    """What does not fit is marked, and the command ends with 1."""
    huge = catalog.root / "source/huge"
    with huge.open("wb") as file:
        file.truncate(shutil.disk_usage(catalog.root).total)  # without taking room
    done = catalog.run("plan", "reef@v1")
    assert done.returncode == 1
    assert "DOES NOT FIT" in done.stdout
    assert "not enough space on the disk: expected" in done.stdout


def test_a_missing_source_is_a_problem(catalog: Catalog) -> None:
    """A local source that is not there is known before anything runs."""
    shutil.rmtree(catalog.root / "source")
    done = catalog.run("plan", "reef@v1")
    assert done.returncode == 1
    assert "problem   local source: no such file; it must be below" in done.stdout


def test_a_missing_kaggle_credential_is_a_problem(catalog: Catalog, tmp_path: Path) -> None:
    """The places where a credential may be are named."""
    write_sources(catalog, "          - {kaggle: reef, files: [a.csv]}\n")
    catalog.env = {"HOME": str(tmp_path), "KAGGLE_API_TOKEN": "", "KAGGLE_USERNAME": "", "KAGGLE_KEY": ""}
    done = catalog.run("plan", "reef@v1")
    assert done.returncode == 1
    assert "kaggle reef: no Kaggle credential in KAGGLE_API_TOKEN" in done.stdout


@pytest.mark.parametrize("target", ["oci:", "nothing", "docker://x"])
def test_a_wrong_target_is_refused_as_in_a_build(catalog: Catalog, target: str) -> None:
    """A plan of a target that a build would refuse is a usage error."""
    with pytest.raises(UsageError):
        make(catalog, target)


def test_a_child_counts_what_its_parent_has(tmp_path: Path) -> None:
    """Before v1 is fetched, a build of v2 fetches both; afterwards only what is new, and it shares v1's layers."""
    reef = make_reef(make_catalog(tmp_path / "catalog").root)
    v2 = Reference("reef", "v2")
    first = make(reef, reference=v2)
    assert [str(version.reference) for version in first.versions] == ["reef@v1", "reef@v2"]
    reef.ok("build", "reef@v1")
    second = make(reef, reference=v2)
    assert [str(version.reference) for version in second.versions] == ["reef@v2"]
    assert second.version.written == Amount(1, 1600)
    reef.ok("fetch", "reef@v2")
    assert make(reef, reference=v2).image.whole.files > 0


def test_json_is_the_same_plan(fetched: Catalog) -> None:
    """`--json` has every figure, and null for what nobody knows."""
    value = json.loads(fetched.ok("plan", "reef@v1", "--json"))
    assert value["versions"][0]["from"] == "here"
    assert value["versions"][0]["whole"] == {"files": 4, "bytes": 3003, "estimated": False}
    assert value["layers"]["count"] == value["new_layers"]["count"] == 4
    assert value["disks"][0]["fits"] is True
    assert value["problems"] == []


def test_the_bag_is_linked_only_where_dvc_can_link(fetched: Catalog) -> None:
    """With copies, DVC's cache needs the data once more."""
    shutil.rmtree(fetched.root / "data")
    shutil.rmtree(fetched.root / ".dvc")
    (fetched.root / "datasets.lock").unlink()
    assert place(make(fetched), "cache") == 0
    (fetched.root / ".dvc").mkdir()
    (fetched.root / ".dvc/config").write_text("[core]\n    no_scm = True\n[cache]\n    type = copy\n")
    assert place(make(fetched), "cache") == 3003


class TestRegistry:
    """A registry that is the target is asked which layers it has."""

    pytestmark = pytest.mark.registry

    def test_a_push_sends_what_the_plan_says(self, fetched: Catalog, tmp_path: Path) -> None:
        with serve(tmp_path) as registry:
            target = f"docker://{registry}/demo/reef"
            before = make(fetched, target)
            assert before.image.new == before.image.whole
            fetched.ok("push", "reef@v1", target)
            assert make(fetched, target).image.new == Amount(0, 0)
            shutil.rmtree(fetched.root / "data/reef/v1")
            assert make(fetched, target).image.new == Amount(0, 0)

    def test_a_name_that_is_taken_is_a_problem(self, built: Catalog, tmp_path: Path) -> None:
        with serve(tmp_path) as registry:
            push(built.root / "base", registry, "demo/reef:v1")
            done = built.run("plan", "reef@v1", f"docker://{registry}/demo/reef")
            assert done.returncode == 1
            assert "the registry has another image of this name" in done.stdout

    def test_a_registry_that_does_not_answer_is_a_problem(self, fetched: Catalog, tmp_path: Path) -> None:
        done = fetched.run("plan", "reef@v1", "docker://127.0.0.1:9/demo/reef")
        assert done.returncode == 1
        assert "127.0.0.1:9/demo/reef" in done.stdout


def test_a_subset_takes_no_room_but_needs_its_origin(catalog: Catalog) -> None:
    """The version that a subset is made from is planned first; its files are links."""
    text = (catalog.root / "datasets.yml").read_text()
    small = "  small: {title: A part, licence: CC0-1.0, versions: {v1: {sources: [{subset: reef@v1, count: 1}]}}}\n"
    (catalog.root / "datasets.yml").write_text(text + small)
    found = make(catalog, reference=Reference("small", "v1"))
    assert [str(version.reference) for version in found.versions] == ["reef@v1", "small@v1"]
    assert found.version.written.bytes == 0
    assert found.fetched == Amount(0, 0)
    catalog.ok("fetch", "small@v1")
    assert make(catalog, reference=Reference("small", "v1")).version.way == "here"
    assert "made into   small@v1" in catalog.ok("show", "reef@v1")
    assert "copies that stay: the versions that it is made from" in catalog.ok("remove", "small@v1")


def test_linked_local_files_take_no_room(catalog: Catalog) -> None:
    """With `link: true` the bag has links to the local files."""
    write_sources(catalog, "          - {local: source, link: true}\n")
    found = make(catalog)
    assert found.version.whole == Amount(4, 3003)
    assert place(found, "bag") == 0


def test_a_list_is_counted_with_its_sizes(catalog: Catalog) -> None:
    """A list of URLs that is here says how many files there are, and often how large they are."""
    (catalog.root / "list.csv").write_text("url,path,size\nhttps://a.example/1,one,10\nhttps://a.example/2,two,20\n")
    write_sources(catalog, "          - local: list.csv\n          - {list: list.csv, into: files, exclude: [two]}\n")
    assert make(catalog).fetched == Amount(1, 10)


def test_a_variable_that_is_not_set_is_a_problem(catalog: Catalog) -> None:
    """A header's variable that has no value is named before anything runs."""
    headers = "{Authorization: 'Bearer ${TOKEN_OF_A_TEST}'}"
    write_sources(catalog, f"          - {{url: https://a.example/1, headers: {headers}}}\n")
    done = catalog.run("plan", "reef@v1")
    assert done.returncode == 1
    assert "TOKEN_OF_A_TEST" in done.stdout
