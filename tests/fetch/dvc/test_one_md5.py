"""Two different files with one md5, which anybody can make: DVC would keep only the first, and datapack says so."""

import hashlib

import pytest

from datapack.fetch.dvc.repository import set_up
from tests.conftest import Catalog

# Found by Wang, Feng, Lai and Yu in 2004: 128 bytes that differ in six bits.
FIRST = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99fd91d"
    "bdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bc"
    "b6a8839396f9652b6ff72a70"
)
TWINS = [FIRST, bytes(byte ^ (0x80 * (place in {19, 45, 59, 83, 109, 123})) for place, byte in enumerate(FIRST))]


def write_twins(catalog: Catalog) -> None:
    for name, content in zip(("first.bin", "second.bin"), TWINS, strict=True):
        (catalog.root / "source" / name).write_bytes(content)


def test_they_are_twins():
    """They differ, and have one md5."""
    assert len(set(TWINS)) == 2
    assert {hashlib.md5(twin).hexdigest() for twin in TWINS} == {"79054025255fb1a26e4bc422aef54eb4"}


@pytest.mark.parametrize("config", ["", "[core]\n    autostage = true\n"], ids=["ordinary", "by DVC"])
def test_twins_of_one_bag_are_named(catalog, config):
    """Whether datapack adds the bag to DVC or DVC does."""
    write_twins(catalog)
    if config:
        set_up(catalog.root)
        (catalog.root / ".dvc/config.local").write_text(config)
    error = catalog.fails("fetch", "reef@v1")
    assert "second.bin: two different files have one md5, so DVC can't keep both" in error
    assert not (catalog.root / "datasets.lock").exists()


def test_twin_of_a_file_in_the_cache_is_named(catalog):
    """The other file may be from another version; without the twin, everything is as before."""
    kept = catalog.root / "source/z"
    kept.write_bytes(TWINS[0])
    catalog.ok("fetch", "reef@v1")
    text = (catalog.root / "datasets.yml").read_text()
    (catalog.root / "datasets.yml").write_text(text.replace("reef:", "other:"))
    kept.write_bytes(TWINS[1])
    assert "two different files have one md5" in catalog.fails("fetch", "other@v1")
    kept.write_bytes(b"z")
    catalog.ok("fetch", "other@v1", "--refresh")
    assert catalog.run("verify", "other@v1").returncode == 0
