"""The folders that hold a private dataset are its owner's alone."""

import shutil
import stat
from pathlib import Path

import pytest

from datapack.workspace.folder import keep_private
from tests.conftest import Catalog


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_private(catalog: Catalog) -> None:
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace("    licence:", "    private: true\n    licence:"))


HOLDERS = ("data/reef", ".dvc/cache", ".datapack", "dist/reef-v1")


def test_private_bags_and_images_are_their_owners_alone(catalog):
    """No other user of the machine can enter any folder that holds the data or the names of its files."""
    make_private(catalog)
    catalog.ok("build", "reef@v1")
    assert {path: oct(mode(catalog.root / path)) for path in HOLDERS} == dict.fromkeys(HOLDERS, "0o700")
    assert mode(catalog.root) & stat.S_IRWXO  # as it was: other things may be in it


def test_folders_that_everybody_may_enter_are_closed(built):
    """A dataset that becomes private is closed by the next build, which reads and writes nothing else."""
    assert mode(built.root / "data/reef") & stat.S_IRWXO
    make_private(built)
    built.ok("build", "reef@v1")
    assert {path: oct(mode(built.root / path)) for path in HOLDERS} == dict.fromkeys(HOLDERS, "0o700")


def test_public_datasets_are_not_closed(built):
    """Their folders have the mode that the user's umask gives."""
    assert all(mode(built.root / path) & stat.S_IRWXO for path in HOLDERS)


@pytest.mark.parametrize(
    ("before", "after"), [(0o755, 0o700), (0o777, 0o700), (0o770, 0o770), (0o750, 0o750), (0o700, 0o700)]
)
def test_a_mode_for_a_group_stays(tmp_path, before, after):
    """A team may share a workspace; only what everybody may enter is closed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(before)
    keep_private(folder)
    assert mode(folder) == after


def test_a_shared_cache_is_named(fetched):
    """It belongs to others, so its mode stays; the user is told."""
    shared = fetched.root.parent / "shared"
    (fetched.root / ".dvc/cache").rename(shared)
    with (fetched.root / ".dvc/config.local").open("a") as config:
        config.write("    dir = ../../shared\n")
    make_private(fetched)
    shutil.rmtree(fetched.root / "data/reef/v1")
    done = fetched.run("fetch", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert f"reef@v1 is private, and everybody may read DVC's cache, {shared}" in done.stderr
    assert mode(shared) & stat.S_IRWXO
