"""Damaged bags and layers: a build finds them, names the file, and repairs what it can."""

import os
import shutil

import pytest

from datapack.oci.image import read_json
from tests.build.reef_build import layout
from tests.conftest import Catalog, fact


def test_flipped_byte_in_the_bag_is_found(built):
    """A changed file in the bag is named before it gets into an image, and a new fetch repairs it."""
    good = fact(built.ok("build", "reef@v1"), "image")
    shutil.rmtree(built.root / "dist")
    victim = built.root / "data/reef/v1/data/images/a b.png"
    victim.chmod(0o644)
    victim.write_bytes(b"b" + victim.read_bytes()[1:])
    error = built.fails("build", "reef@v1", status=3)
    assert "images/a b.png: the file differs from the bag's manifest" in error
    assert not (built.root / "dist/reef-v1").exists()
    error = built.fails("verify", "reef@v1", status=3)
    assert "  changed  data/images/a b.png" in error
    shutil.rmtree(built.root / ".dvc/cache")
    victim.unlink()
    assert fact(built.ok("build", "reef@v1"), "image") == good


def test_flip_that_keeps_the_time_is_found_by_verify(catalog):
    """`--verify` reads the bytes even if size and time are unchanged."""
    catalog.ok("build", "reef@v1")
    victim = catalog.root / "data/reef/v1/data/z"
    stat = victim.stat()
    victim.chmod(0o644)
    victim.write_bytes(b"Z")
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    catalog.ok("build", "reef@v1")
    assert "data/z" in catalog.fails("build", "reef@v1", "--verify", status=3)


def test_flipped_byte_in_a_layer_is_found(built):
    """A damaged blob is reported with its digest and its file, and a build repairs it."""
    image = read_json(layout(built), layout(built).image())
    blob = layout(built).blob(image["layers"][2]["digest"])
    content = blob.read_bytes()
    blob.write_bytes(content.replace(b"aaaa", b"aaba", 1))
    error = built.fails("verify", "oci:dist/reef-v1", status=3)
    assert "changed  data/images/a b.png" in error
    assert f"layer    {image['layers'][2]['digest']} is damaged" in error
    assert built.ok("verify", "--quick", "oci:dist/reef-v1").startswith("complete by names and sizes")
    built.ok("build", "reef@v1", "--verify")
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")


class NoneSmall(Catalog):
    """To this datapack, no blob is small."""

    change = "import datapack.targets.layout as layout; layout._SMALL = 0"


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_every_damaged_blob_is_repaired(built, options):
    """A build reads the small blobs of its target, with `--verify` all of them: what it says it built is there."""
    if options:
        built = NoneSmall(built.root)
    for blob in sorted(layout(built).blobs.iterdir()):
        content = blob.read_bytes()
        blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        built.ok("build", "reef@v1", *options)
        assert blob.read_bytes() == content
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")
