"""Targets on disk that hold something of the user's: it is never lost."""

import json
import os
import subprocess

import pytest


def test_a_file_of_the_users_is_no_archive_to_replace(built):
    """A mistyped path leads to a catalog or a source as easily as to an archive."""
    for name in ("datasets.yml", "source/z", "base/index.json"):
        content = (built.root / name).read_bytes()
        error = built.fails("build", "reef@v1", "--to", f"oci-archive:{name}")
        assert f"{name}: this file would be replaced: expected an archive of reef@v1, found something else" in error
        assert (built.root / name).read_bytes() == content
    (built.root / "link").symlink_to("/dev/null")
    assert "not a regular file: found a device" in built.fails("build", "reef@v1", "--to", "oci-archive:link")


def test_an_archive_is_replaced_only_by_its_own_version(built):
    """An archive of another version, or of somebody else's image, is a result too."""
    (built.root / "mine.tar").touch()  # as mktemp makes it
    for _ in range(2):
        built.ok("build", "reef@v1", "--to", "oci-archive:mine.tar")
    catalog = built.root / "datasets.yml"
    catalog.write_text(catalog.read_text().replace("  reef:", "  atoll:"))
    error = built.fails("build", "atoll@v1", "--to", "oci-archive:mine.tar")
    assert (
        "mine.tar: this file would be replaced: expected an archive of atoll@v1, found an archive of reef:v1" in error
    )


@pytest.mark.parametrize("index", [{}, {"mine": 1}, {"manifests": []}, {"manifests": 7}])
def test_an_index_without_an_image_is_not_replaced(built, index):
    """Anyone's ``index.json`` may lie in a folder, and blobs that datapack did not write beside it."""
    layout = built.root / "dist/reef-v1"
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "blobs/sha256/precious").write_text("precious")
    error = built.fails("build", "reef@v1")
    assert "this layout contains another image: expected reef@v1, found no image" in error
    assert json.loads((layout / "index.json").read_text()) == index
    assert (layout / "blobs/sha256/precious").read_text() == "precious"


@pytest.mark.parametrize("part", ["blobs", "blobs/sha256"])
@pytest.mark.parametrize("state", ["reef-v1", "reef-v1.partial"])
def test_blobs_that_are_shared_are_kept(built, part, state):
    """Blobs that an image does not name are removed: where they are shared, they may be of others."""
    layout = (built.root / "dist/reef-v1").rename(built.root / "dist" / state)
    if state.endswith(".partial"):
        (layout / "index.json").unlink()
    shared = (layout / part).rename(built.root / "shared")
    (layout / part).symlink_to(shared)
    (shared / "precious").write_text("precious")
    before = sorted(shared.rglob("*"))
    error = built.fails("build", "reef@v1")
    assert f"{layout}/{part}: this layout keeps its blobs elsewhere: expected a folder, found a link" in error
    assert sorted(shared.rglob("*")) == before


def test_closed_standard_output_is_one_line(built):
    """Nothing can be written to a pipe that is not there."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *built.command("build", "reef@v1", "--to", "oci-archive:-")]
    done = subprocess.run(command, **built.options(), stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "error: oci-archive:-: there is no standard output" in done.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("foo:bar", "'foo:bar': not a target: expected oci:DIR"),
        ("", "'': not a target"),
        ("oci:", "'oci:': not a target"),
        ("oci-archive:", "'oci-archive:': not a target"),
        ("oci-archive:a:b", "'oci-archive:a:b': not a target"),
        ("docker:x", "'docker:x': not a target"),
        ("docker-daemon:Reef", "'Reef': not the name of an image in an engine"),
        ("docker://", "reef@v1: no registry to push to"),
        ("docker://reef", "'reef': not the name of an image in a registry"),
        (f"docker://ghcr.io/a/b@sha256:{64 * '0'}", "a push can't take a digest"),
    ],
)
def test_a_wrong_target_is_refused_before_any_work(catalog, target, says):
    """What is wrong with the text itself is said before the base is fetched, here from a registry that is not there."""
    described = (catalog.root / "datasets.yml").read_text().replace(", registry: ghcr.io/example", "")
    base = f"127.0.0.1:1/base:1@sha256:{64 * '0'}"
    (catalog.root / "datasets.yml").write_text(described.replace("oci:base", base))
    error = catalog.fails("build", "reef@v1", "--to", target, status=2)
    assert says in error
    assert "fetching the base" not in error
    if target.startswith("docker:/"):
        assert says in catalog.fails("push", "reef@v1", "--to", target, status=2)


def test_a_terminal_takes_no_image_and_says_so_before_any_work(catalog):
    """``oci-archive:-`` on a terminal ends before anything is fetched."""
    ours, terminal = os.openpty()
    try:
        command = catalog.command("build", "reef@v1", "--to", "oci-archive:-")
        done = subprocess.run(
            command, **catalog.options(), stdout=terminal, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(terminal)
        os.close(ours)
    assert done.returncode == 2
    assert "oci-archive:-: will not write an image to a terminal" in done.stderr
    assert not (catalog.root / "data").exists()


def test_the_folder_of_the_catalog_may_have_a_colon(catalog):
    """Only a target that the user names is split at its colons."""
    catalog.root = catalog.root.rename(catalog.root.with_name("a:b"))
    assert "target     oci:dist/reef-v1" in catalog.ok("build", "reef@v1")
    assert catalog.ok("verify", "oci:dist/reef-v1").startswith("verified")
