"""Pushing to a registry: what it does, prints and warns of."""

from __future__ import annotations

import re

import pytest

from datapack.image.stand_in import STAND_IN
from tests import proxies, registries
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
    beside = {path.name for path in (catalog.root / "dist").iterdir()}
    assert beside == {"reef-v1.provenance.json", "reef-v1.cdx.json"}
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


def test_a_private_dataset_in_a_public_repository(private, proxy):
    """It is refused before any data is fetched or sent: only two bytes that the provenance needs anyway went there."""
    error = private.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef", status=2)
    assert f"{proxy.name}/reef: everybody can pull from this repository, and the dataset is private" in error
    assert "--allow-public" in error
    assert proxy.sent == 2
    assert "docker://" in error or "has no such manifest" in private.fails("verify", f"docker://{proxy.name}/reef:v1")


def test_a_licence_that_does_not_let_everybody_have_the_data(catalog, proxy, registry):
    """Nobody said whether it is private: it is not pushed to where anyone can pull it, until somebody does."""
    path = catalog.root / "datasets.yml"
    text = path.read_text().replace("licence: CC0-1.0", "licence: CC-BY-NC-ND-4.0")
    path.write_text(text)
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/nd/reef", status=2)
    assert f"{proxy.name}/nd/reef: everybody could read the data, and nobody has said that they may" in error
    assert proxy.sent == 2
    done = catalog.run("push", "reef@v1", "--allow-public", "--to", f"docker://{registry}/nd/reef")
    assert "and the catalog says that reef has this licence, and not that anyone may have it" in done.stderr
    path.write_text(text.replace("    licence", "    private: false\n    licence"))
    assert "EVERYBODY CAN PULL" not in catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/nd/reef")


def test_a_private_dataset_may_go_to_the_public(private, registry):
    """With --allow-public a boxed warning comes before anything is sent."""
    done = private.run("push", "reef@v1", "--allow-public", "--to", f"docker://{registry}/reef")
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("EVERYBODY CAN PULL FROM") < done.stderr.index("layers and configuration")
    assert "and the catalog says that reef is private (secret)" in done.stderr
    assert re.search(r"^!{20,}$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("shown", ["config", "manifest"])
def test_a_repository_that_becomes_public_by_the_push(private, registry, tmp_path, shown):
    """Some registries create a public repository for what is pushed: it is refused as soon as that can be seen."""
    with Hiding(registry) as hiding:
        log_in(private, hiding.name)
        hiding.shows = shown
        done = private.run("push", "reef@v1", "--to", f"docker://{hiding.name}/reef")
    assert done.returncode == {"config": 2, "manifest": 1}[shown], done.stderr
    words = {"config": "everybody can pull from", "manifest": "EVERYBODY CAN PULL THIS PRIVATE IMAGE"}
    assert words[shown] in done.stderr
    there = private.run("verify", f"docker://{registry}/reef:v1")
    assert there.returncode == {"config": 1, "manifest": 0}[shown], there.stderr  # it never got its name, or it did


def test_a_registry_that_does_not_say_who_can_read(private, registry):
    """An error in place of an answer to the anonymous question is no proof that a repository is private."""
    with Hiding(registry) as hiding:
        log_in(private, hiding.name)
        hiding.status = 400  # a 500 would be asked again and again
        error = private.fails("push", "reef@v1", "--to", f"docker://{hiding.name}/reef")
    assert "the registry refuses to say who can read the repository: found HTTP 400" in error
    assert not (private.root / "dist").exists()


class Hiding(proxies.Proxy):
    """A registry that shows nothing to those who do not log in, until a part of the image is there; the tags never."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.shows, self.status, self._public = "", 401, False
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"):
            self.add(method, "^/v2/.", self._check, times=10**9)

    def _check(self, exchange: proxies.Exchange) -> None:
        handler, body = exchange.handler, exchange.body()
        if "Authorization" in handler.headers:
            manifest = handler.command == "PUT" and "/manifests/" in handler.path
            self._public |= {"config": b'"rootfs"' in body, "manifest": manifest}.get(self.shows, False)
        elif not self._public or "/tags/" in handler.path:
            status = 401 if handler.command == "POST" else self.status
            exchange.answer(status, [("WWW-Authenticate", 'Basic realm="tests"')], b"")
            return
        exchange.answer(*exchange.forward(body))


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
