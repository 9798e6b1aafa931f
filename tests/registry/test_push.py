"""Pushing to a registry: what it does, prints and warns of."""

from __future__ import annotations

import re

import pytest

from datapack.image.stand_in import STAND_IN
from tests import registries
from tests.conftest import Catalog, fact, make_base
from tests.registry.pushing import image_of, log_in, pull_and_verify


def test_what_a_push_prints(catalog, registry, tmp_path):
    """It names the image by its digest, and prints the two commands for the data manager."""
    output = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/group/reef")
    digest = fact(output, "dataset")
    image = fact(output, "image")
    assert re.fullmatch(rf"{re.escape(registry)}/group/reef@sha256:[0-9a-f]{{64}}", image)
    assert f"\n  ces-pull GITHUB_USER TOKEN {registry}/group/reef:v1\n  ces-run {registry}/group/reef:v1\n" in output
    assert output.endswith(f"The log must end with: IMPORT OK reef@v1 {digest}\n")
    pull_and_verify(catalog, f"{registry}/group/reef:v1", tmp_path / "pulled")
    pull_and_verify(catalog, image, tmp_path / "pulled-by-digest")


def test_the_same_image_as_in_a_layout_and_no_copy_on_disk(catalog, registry):
    """The digest is that of `build`; a push alone leaves no image on disk."""
    pushed = image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))
    assert [path.name for path in (catalog.root / "dist").iterdir()] == ["reef-v1.provenance.json"]
    assert fact(catalog.ok("build", "reef@v1"), "image") == pushed


def test_a_second_push_sends_no_layer(catalog, proxy):
    """The registry has them all, whether the cache remembers the first push or only the lock does."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    for forget in (False, True):
        if forget:
            (catalog.root / ".datapack/hashes.sqlite").unlink()
        proxy.sent = 0
        done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
        assert done.returncode == 0
        assert "there already" in done.stderr
        assert " sent" not in done.stderr
        assert proxy.sent < 10_000


def test_a_blob_is_mounted_from_another_repository(catalog, proxy):
    """A blob that another repository of the registry received from here is not sent again."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/one/reef")
    proxy.sent = 0
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/two/reef:other")
    assert done.returncode == 0
    assert "mounted from another repository" in done.stderr
    assert proxy.sent < 10_000


def test_a_taken_name_is_not_overwritten(catalog, registry):
    """Another image with the same name and tag is replaced only with --replace."""
    first = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    (catalog.root / "source/z").write_text("changed")
    catalog.ok("fetch", "reef@v1", "--refresh", "--update-lock")
    arguments = ("push", "reef@v1", "--update-lock", "--to", f"docker://{registry}/reef")
    error = catalog.fails(*arguments, status=3)
    assert f"{registry}/reef:v1: the registry has another image of this name" in error
    assert f"found {image_of(first)}" in error
    assert image_of(catalog.ok(*arguments, "--replace")) != image_of(first)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("oci:dist/x", "not a registry"),
        ("docker://reef:v1", "not the name of an image in a registry"),
        ("docker://ghcr.io/Group/reef", "not the name of an image in a registry"),
        ("docker://ghcr.io/group/reef@sha256:" + "0" * 64, "a push can't take a digest"),
    ],
)
def test_invalid_targets(unfetched, target, words):
    """An invalid target is refused before anything is done."""
    assert words in unfetched.fails("push", "reef@v1", "--to", target, status=2)
    assert not (unfetched.root / "data").exists()


def test_no_registry_in_the_catalog(catalog):
    """Without a registry in the catalog, a push needs a target."""
    catalog_file = catalog.root / "datasets.yml"
    catalog_file.write_text(catalog_file.read_text().replace("registry: ghcr.io/example, ", ""))
    assert "reef@v1: no registry to push to; set defaults.registry" in catalog.fails("push", "reef@v1", status=2)


def test_an_image_based_on_a_stand_in_stays_here(unfetched):
    """An image for tests goes only to a registry on this machine; no other registry is contacted."""
    make_base(unfetched.root / "base", **{STAND_IN: "true"})
    error = unfetched.fails("push", "reef@v1", "--to", "docker://registry.test/group/reef", status=2)
    assert "registry.test: this image is based on a stand-in base" in error
    assert not (unfetched.root / "data").exists()


def test_streams_is_at_least_one(catalog):
    """Zero streams are an error of usage."""
    done = catalog.run("push", "reef@v1", "--streams", "0")
    assert done.returncode == 2
    assert "--streams" in done.stderr


@pytest.fixture
def private(catalog: Catalog) -> Catalog:
    text = (catalog.root / "datasets.yml").read_text().replace("licence: CC0-1.0", "licence: secret\n    private: true")
    (catalog.root / "datasets.yml").write_text(text)
    return catalog


def test_a_private_dataset_in_a_public_repository(private, registry):
    """datapack prints a boxed warning before it sends anything, and again at the end."""
    done = private.run("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert done.returncode == 0
    before, after = (
        done.stderr.index(words) for words in ("EVERYBODY CAN PULL FROM", "EVERYBODY CAN PULL THIS IMAGE FROM")
    )
    assert before < done.stderr.index("layers and configuration") < after
    assert "and the catalog says that reef is private (secret)" in done.stderr
    assert re.search(r"^!{20,}$", done.stderr, re.MULTILINE)


def test_a_private_dataset_in_a_private_repository(private, tmp_path):
    """A repository that requires a login is no reason to warn."""
    with registries.serve(tmp_path, login=True) as registry:
        log_in(private, registry)
        done = private.run("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert done.returncode == 0
    assert "EVERYBODY" not in done.stderr


def test_a_public_dataset(catalog, registry):
    """Everybody may pull a public dataset."""
    assert "EVERYBODY" not in catalog.run("push", "reef@v1", "--to", f"docker://{registry}/reef").stderr
