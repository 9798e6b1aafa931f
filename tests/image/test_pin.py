"""Pin: the base's digest comes from a real registry; the rest of the catalog does not change."""

import json
import subprocess

import pytest

from datapack.errors import CatalogError
from datapack.hashing import digest_of
from datapack.image.base import resolve
from datapack.image.pin import _full_name, pin
from datapack.oci.layout import Layout
from datapack.oci.spec import INDEX, canonical_json
from datapack.workspace.folder import Workspace
from datapack.yamlfile import YamlFile
from tests.conftest import make_base
from tests.registries import push
from tests.servers import Reply, Server


def set_base(catalog, text: str, form: str = "{}") -> bytes:
    """Write a base into the catalog, in the given form; return the file's bytes."""
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace('"oci:base"', form.format(text)))
    return path.read_bytes()


def written(catalog) -> bytes:
    return (catalog.root / "datasets.yml").read_bytes()


def test_tag_becomes_the_digest_that_the_registry_has(catalog, registry, pushed):
    """A base with only a tag gets its digest; then the catalog builds."""
    name = f"{registry}/first/tiny:1"
    digest = pushed("first/tiny:1")
    before = set_base(catalog, name, "'{}'")
    assert "run 'datapack base'" in catalog.fails("build", "reef@v1", status=2)
    output = catalog.ok("base")
    assert f"old base {name}\nnew base {name}@{digest}\n" in output
    assert written(catalog) == before.replace(name.encode(), f"{name}@{digest}".encode())
    catalog.ok("build", "reef@v1")
    assert YamlFile.read(catalog.root / "datasets.lock").get(("reef@v1", "base")) == digest
    assert not catalog.leftovers()


def test_nothing_changed(catalog, registry, pushed):
    """If the tag still names the same image, nothing is written, not even the same bytes."""
    set_base(catalog, f"{registry}/second/tiny:1@{pushed('second/tiny:1')}", "{}")
    before = (catalog.root / "datasets.yml").stat()
    assert catalog.ok("base").startswith(f"unchanged: the base is {registry}/second/tiny:1@sha256:")
    after = (catalog.root / "datasets.yml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_tag_that_moved(catalog, registry, pushed):
    """A moved tag gives the new digest; then a build of a version locked with the old base stops."""
    old = pushed("moved/tiny:1", "old")
    set_base(catalog, f"{registry}/moved/tiny:1@{old}")
    catalog.ok("build", "reef@v1")
    new = pushed("moved/tiny:1", "new")
    output = catalog.ok("base")
    assert f"tiny:1@{old}\n" in output
    assert f"tiny:1@{new}\n" in output
    assert f"expected {old}, found {new}" in catalog.fails("build", "reef@v1", status=3)
    catalog.ok("build", "reef@v1", "--update-lock")


def test_another_image(catalog, registry, pushed):
    """An image on the command line replaces the catalog's base, even one on disk."""
    digest = pushed("other/tiny:2")
    before = written(catalog)
    catalog.ok("base", f"{registry}/other/tiny:2")
    assert written(catalog) == before.replace(b"oci:base", f"{registry}/other/tiny:2@{digest}".encode())


@pytest.mark.parametrize(
    "form",
    ["{}", "'{}'", '"{}"', "&alpine {}", "!!str {}", "\n  {}"],
    ids=["plain", "single", "double", "anchor", "tag", "line"],
)
@pytest.mark.parametrize(
    "start", ["", "# gr\u00fc\u00df \u2028# \U0001f41f\n", "\ufeff"], ids=["plain", "letters", "mark"]
)
def test_every_other_byte_stays(catalog, registry, pushed, form, start):
    """Comments, quotes, anchors, line ends and the byte order mark stay, wherever the base is."""
    name = f"{registry}/bytes/tiny:1"
    digest = pushed("bytes/tiny:1")
    path = catalog.root / "datasets.yml"
    text = (
        path.read_text()
        .replace("defaults: {", "# first\ndefaults: {  # second\n  ")
        .replace('"oci:base",', form.format(name) + " ,  # third\n ")
    )
    before = (start + text).replace("\n", "\r\n").encode()
    path.write_bytes(before)
    catalog.ok("base")
    assert written(catalog) == before.replace(name.encode(), f"{name}@{digest}".encode())


def test_place_and_permissions_stay(catalog, registry, pushed):
    """A catalog that is a symlink stays one and keeps its permissions."""
    digest = pushed("place/tiny:1")
    set_base(catalog, f"{registry}/place/tiny:1")
    real = catalog.root.parent / "real.yml"
    (catalog.root / "datasets.yml").rename(real)
    (catalog.root / "datasets.yml").symlink_to(real)
    real.chmod(0o640)
    catalog.ok("base")
    assert (catalog.root / "datasets.yml").readlink() == real
    assert real.stat().st_mode & 0o777 == 0o640
    assert digest in real.read_text()


def make_index(folder, *architectures: str) -> str:
    """Make a layout with one index that lists an image per architecture; return the index's digest."""
    entries = []
    for architecture in architectures:
        make_base(folder, architecture=architecture)
        (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
    index = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    digest = digest_of(index)
    Layout(folder).blob(digest).write_bytes(index)
    top = {"mediaType": INDEX, "digest": digest, "size": len(index)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return digest


def test_index_is_pinned_as_a_whole(catalog, registry, tmp_path):
    """For an image with several platforms, the digest is that of the index, as Docker Hub shows it."""
    digest = make_index(tmp_path / "index", "arm64", "amd64")
    push(tmp_path / "index", registry, "index/tiny:1")
    catalog.ok("base", f"{registry}/index/tiny:1")
    assert f"{registry}/index/tiny:1@{digest}".encode() in written(catalog)
    catalog.ok("build", "reef@v1")


@pytest.mark.parametrize("form", ["index", "single"])
def test_image_for_other_machines_is_refused(catalog, registry, pushed, tmp_path, form):
    """A base that the Safe Haven's machines can't run does not get into the catalog."""
    before = written(catalog)
    if form == "index":
        make_index(tmp_path / "index", "arm64", "riscv64")
        push(tmp_path / "index", registry, "arm-index/tiny:1")
    else:
        pushed("arm-single/tiny:1", architecture="arm64")
    error = catalog.fails("base", f"{registry}/arm-{form}/tiny:1")
    assert f"{registry}/arm-{form}/tiny:1: no image for linux/amd64" in error
    assert written(catalog) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "datasets.yml:1: a base on disk has no digest to look up: expected NAME:TAG"),
        (["oci:base"], "'oci:base': a base on disk has no digest to look up: expected NAME:TAG"),
        (["alpine"], "'alpine': no tag to look up: expected NAME:TAG"),
        (["docker.io/library/alpine@sha256:" + "0" * 64], "no tag to look up: expected NAME:TAG"),
        (["docker.io/library/Alpine:3"], "not the name of an image in a registry"),
        (["https://docker.io/alpine:3"], "not the name of an image in a registry"),
    ],
)
def test_what_has_no_digest_to_look_up(catalog, arguments, says):
    """A base on disk, or an invalid name, is refused before a registry is asked."""
    before = written(catalog)
    assert says in catalog.fails("base", *arguments, status=2)
    assert written(catalog) == before


def test_catalog_without_a_base(catalog):
    """Without a base, the error says what to write."""
    (catalog.root / "datasets.yml").write_text("datasets: {}\n")
    assert "datasets.yml:1: the catalog names no base" in catalog.fails("base", status=2)


def test_tag_that_the_registry_does_not_have(catalog, registry):
    """An unknown tag is the registry's 404, in one line."""
    name = f"{registry}/none/tiny:1"
    assert f"{name}: the registry has no such manifest: expected 1" in catalog.fails("base", name)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(b"<html>Sign in</html>"), "not a part of an image: expected a JSON object, found '<html>Sign in"),
        (Reply(b"[]"), "not a part of an image: expected a JSON object, found b'[]'"),
        (
            Reply(b"{}", headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}),
            f"damaged: the bytes do not match the digest: expected sha256:{'0' * 64}",
        ),
    ],
    ids=["page", "list", "damaged"],
)
def test_answer_that_is_no_manifest(catalog, reply, says):
    """A network's login page, or a broken registry's reply, is not pinned."""
    before = written(catalog)
    with Server({"/v2/me/tiny/manifests/1": reply}) as server:
        name = f"{server.url.removeprefix('http://')}/me/tiny:1"
        assert f"{name}: {says}" in catalog.fails("base", name)
    assert written(catalog) == before


def test_edit_while_the_registry_is_asked_is_kept(catalog, registry, pushed, monkeypatch):
    """Changes that the user saves in the meantime stay; a new base among them is not overwritten."""
    digest = pushed("edit/tiny:1")
    name = f"{registry}/edit/tiny:1"
    set_base(catalog, name)
    path = catalog.root / "datasets.yml"

    def edit(old: str, new: str):
        def slow(asked, cache):
            path.write_text(path.read_text().replace(old, new))
            return resolve(asked, cache)

        monkeypatch.setattr("datapack.image.pin.resolve", slow)

    edit(name, "docker.io/library/alpine:3.22")
    with pytest.raises(CatalogError, match="the base in the catalog changed in the meantime; run this again"):
        pin(Workspace(catalog.root))
    assert b"alpine:3.22" in written(catalog)
    path.write_text(path.read_text().replace("docker.io/library/alpine:3.22", name))
    edit("A small reef", "A large reef")
    pin(Workspace(catalog.root))
    assert f"{name}@{digest}".encode() in written(catalog)
    assert b"A large reef" in written(catalog)


def test_what_a_killed_run_left_is_removed(catalog, registry, pushed):
    """The next run removes a temporary file beside the catalog."""
    pushed("killed/tiny:1")
    (catalog.root / ".datapack-0123").write_bytes(b"defaults")
    catalog.ok("base", f"{registry}/killed/tiny:1")
    assert not catalog.leftovers()


def test_names_are_completed_as_docker_does():
    """A short name is on Docker Hub, and in its library if it has no namespace."""
    assert str(_full_name("alpine:3.22", None)) == "docker.io/library/alpine:3.22"
    assert str(_full_name("docker.io/alpine:3", None)) == "docker.io/library/alpine:3"
    assert str(_full_name("me/alpine:3", None)) == "docker.io/me/alpine:3"
    assert str(_full_name("ghcr.io/alpine:3", None)) == "ghcr.io/alpine:3"
    assert str(_full_name(f"reg.example:5000/a/b:x@sha256:{'0' * 64}", None)) == "reg.example:5000/a/b:x"


def test_disk_that_is_full_leaves_the_catalog_as_it_was(catalog, registry, pushed):
    """A catalog that can't be written completely is not written at all."""
    pushed("full/tiny:1")
    catalog.ok("base", f"{registry}/full/tiny:1")  # the cache has the image now
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().partition("@")[0] + '"}\n' + "# a line\n" * 1000)
    before = written(catalog)
    command = ["sh", "-c", 'ulimit -f 2; exec "$@"', "sh", *catalog.command("base")]  # files of at most 1,024 bytes
    done = subprocess.run(command, **catalog.options(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert written(catalog) == before
    assert not catalog.leftovers()
