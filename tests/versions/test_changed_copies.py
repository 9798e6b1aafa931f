"""A copy that somebody changed is none: `datapack remove` keeps what is left, also where files are links."""

import pytest

from tests.conftest import Catalog


def change(catalog: Catalog, name: str = "z") -> None:
    """Change a file in place, as an editor may; its links change too."""
    with (catalog.root / "source" / name).open("r+b") as file:
        file.write(b"!")


@pytest.fixture
def linked(catalog: Catalog) -> Catalog:
    """A version of links, and one that is made from it, both built."""
    path = catalog.root / "datasets.yml"
    path.write_text(
        path.read_text().replace("local: source\n", "local: source\n            link: true\n")
        + "  part: {title: t, licence: CC0-1.0, versions: {v1: {sources: [{subset: reef@v1}]}}}\n"
    )
    catalog.ok("build", "part@v1")
    catalog.ok("build", "reef@v1")
    return catalog


@pytest.mark.parametrize("reference", ["reef@v1", "part@v1"])
def test_links_of_a_changed_file_are_no_copies(linked, reference):
    """The image may be the last that holds the old bytes."""
    assert "copies that stay: " in linked.ok("remove", reference)
    change(linked)
    assert "no other copy of this version is known" in linked.run("remove", reference).stdout
    assert "no other copy of this version is known" in linked.fails("remove", reference, "--yes")
    image = linked.root / "dist" / reference.replace("@", "-")
    assert linked.run("verify", f"oci:{image}").returncode == 0


def test_a_changed_bag_is_no_copy_but_not_removed_unasked(catalog):
    """DVC's cache is not removed because a damaged bag stays, and a damaged bag not as if it were nothing."""
    catalog.ok("fetch", "reef@v1")
    path = catalog.root / "data/reef/v1/data/z"
    path.unlink()
    path.write_bytes(b"!")
    (catalog.root / "source/z").unlink()
    assert "no other copy" in catalog.fails("remove", "reef@v1", "--cache", "--yes")
    assert "no other copy" in catalog.fails("remove", "reef@v1", "--yes")
    assert "copies that stay: DVC's cache" in catalog.ok("remove", "reef@v1", "--bag", "--yes")
    catalog.ok("fetch", "reef@v1")
    catalog.ok("verify", "reef@v1")


def test_without_a_cache_of_hashes_files_are_read(catalog):
    """Whoever removes .datapack still learns what is a copy."""
    catalog.ok("fetch", "reef@v1")
    (catalog.root / ".datapack/hashes.sqlite").unlink()
    assert "copies that stay: the local sources" in catalog.ok("remove", "reef@v1")
