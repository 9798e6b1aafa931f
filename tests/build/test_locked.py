"""A build whose result differs from the lock stops; ``--update-lock`` accepts it, and what was withdrawn is gone."""

import shutil

from datapack.oci.image import read_json
from tests.build.reef_build import layout, state
from tests.conftest import fact, make_base

OCI = "org.opencontainers.image"


def test_lock_that_differs_stops_the_build(built):
    """Each file that differs from the lock is listed, and accepted only with `--update-lock`."""
    shutil.rmtree(built.root / "data")
    (built.root / "source/z").write_bytes(b"Z")
    (built.root / "source/new").write_bytes(b"")
    (built.root / "source/train.json").unlink()
    before = state(built.root / "dist")
    error = built.fails("build", "reef@v1", status=3)
    assert "reef@v1: the data differs from the lock" in error
    assert "  added    data/new\n  removed  data/train.json\n  changed  data/z\n" in error
    assert state(built.root / "dist") == before
    assert not (built.root / "data/reef/v1").exists()
    built.ok("build", "reef@v1", "--update-lock")
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")
    built.ok("build", "reef@v1")


def test_changed_catalog_entry_is_noticed(built):
    """Sources that changed since the lock are fetched again; the bag on disk stays until the result is accepted."""
    text = (built.root / "datasets.yml").read_text()
    (built.root / "datasets.yml").write_text(text + "          - {local: extra, into: more}\n")
    (built.root / "extra").write_bytes(b"x")
    error = built.fails("build", "reef@v1", status=3)
    assert "added    data/more/extra" in error
    assert not (built.root / "data/reef/v1/data/more").exists()
    built.ok("build", "reef@v1", "--update-lock")
    assert (built.root / "data/reef/v1/data/more/extra").read_bytes() == b"x"
    assert "verified" in built.ok("verify", "reef@v1")


def test_changed_base_stops_the_build(built):
    """A base whose digest differs from the lock's is reported before anything is fetched or written."""
    locked = read_json(layout(built), layout(built).image())["annotations"][f"{OCI}.base.digest"]
    shutil.rmtree(built.root / "base")
    shutil.rmtree(built.root / "data")
    shutil.rmtree(built.root / "source")
    before = state(built.root / "dist")
    digest = make_base(built.root / "base", label="another")
    error = built.fails("build", "reef@v1", status=3)
    assert (
        f"error: reef@v1: the base is not the one in the lock: expected {locked}, found {digest} (oci:base); "
        "restore the locked base, or accept the new one with --update-lock\n"
    ) in error
    assert not (built.root / "data").exists()
    assert state(built.root / "dist") == before


def test_changed_base_is_accepted_on_request(built):
    """Another base gives another image; `--update-lock` accepts it and writes it to the lock."""
    first = fact(built.ok("build", "reef@v1"), "image")
    make_base(built.root / "base", label="another")
    second = fact(built.ok("build", "reef@v1", "--update-lock"), "image")
    assert first != second
    assert fact(built.ok("build", "reef@v1"), "image") == second


def test_another_image_of_the_same_layers_stops_the_build(built):
    """A change that only the image's configuration shows, such as a new title, is checked against the lock too."""
    path = built.root / "datasets.yml"
    path.write_text(path.read_text().replace("A small reef", "A large reef"))
    error = built.fails("build", "reef@v1", status=3)
    assert "the image is not the one in the lock" in error
    assert "  changed  the image's configuration" in error


def test_a_withdrawn_file_is_in_no_layer(built):
    """After an accepted change the layout holds no blob of the former image."""
    (built.root / "source/images/a b.png").unlink()
    built.ok("build", "reef@v1", "--refresh", "--update-lock")
    blobs = list(layout(built).blobs.iterdir())
    assert not any(b"a" * 3000 in blob.read_bytes() for blob in blobs)
    assert len(blobs) == 7  # manifest, config, the base's layer and four of ours


def test_a_withdrawn_file_does_not_outlive_a_kill(built):
    """A blob that a killed build did not get to remove is removed by the next one, even if nothing changed."""
    stale = layout(built).blob("sha256:" + "0" * 64)
    stale.write_bytes(b"withdrawn")
    built.ok("build", "reef@v1")
    assert not stale.exists()
