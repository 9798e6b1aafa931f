"""Verify: it reports every difference at once, and never claims more than it checked."""

import json
import shutil
import tarfile

import pytest

from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from datapack.oci.spec import Descriptor, canonical_json


@pytest.fixture(scope="module")
def built_once(built_once, tmp_path_factory):
    """A catalog whose version was built as a layout and as an archive, to be copied."""
    catalog = built_once.copy(tmp_path_factory.mktemp("archive") / "catalog")
    catalog.ok("build", "reef@v1", "--to", "oci-archive:reef.tar")
    return catalog


def test_only_full_makes_the_claim(built):
    """`--quick` checks names and sizes, and says so."""
    for what in ("reef@v1", "data/reef/v1", "oci:dist/reef-v1", "oci-archive:reef.tar"):
        assert built.ok("verify", what).startswith(f"verified, every byte: {what}: ")
        assert "4 files, 3 kB, sha256:6c5909b871c5" in built.ok("verify", what)
        quick = built.ok("verify", "--quick", what)
        assert quick.startswith("complete by names and sizes, no byte was read: ")
        assert "verified" not in quick


def test_a_bag_shows_every_difference_sorted(built):
    """Missing, extra and changed files are listed, in that order."""
    bag = built.root / "data/reef/v1"
    (bag / "data/train.json").unlink()
    (bag / "data/extra").write_bytes(b"")
    (bag / "data/z").unlink()
    (bag / "data/z").write_bytes(b"Z")
    error = built.fails("verify", "reef@v1", status=3)
    assert error.endswith("  missing  data/train.json\n  extra    data/extra\n  changed  data/z\n")
    quick = built.fails("verify", "--quick", "reef@v1", status=3)
    assert quick.endswith("  missing  data/train.json\n  extra    data/extra\n")


def test_quick_finds_another_size(built):
    """A larger file shows in the payload's size."""
    victim = built.root / "data/reef/v1/data/z"
    victim.unlink()
    victim.write_bytes(b"zz")
    assert "Payload-Oxum 3003.4, the payload has 3004.4" in built.fails("verify", "--quick", "reef@v1", status=3)


def test_a_reference_is_checked_against_the_lock(built):
    """An intact bag that is not the one in the lock is refused."""
    lock = built.root / "datasets.lock"
    lock.write_text(lock.read_text().replace("digest: sha256:6c59", "digest: sha256:0000"))
    assert "the bag is not the one in the lock" in built.fails("verify", "reef@v1", status=3)


@pytest.mark.parametrize("what", ["oci:dist/reef-v1", "oci-archive:reef.tar"])
@pytest.mark.parametrize("mode", ["--quick", "--full"])
def test_a_missing_part_is_found(built, what, mode):
    """A missing layer is named by its digest, and the files in it are missing."""
    layout = Layout(built.root / "dist/reef-v1")
    data = read_json(layout, layout.image())["layers"][2]["digest"]
    layout.blob(data).unlink()
    with tarfile.open(built.root / "reef.tar") as old, tarfile.open(built.root / "new.tar", "w") as new:
        for member in old:
            if member.name != f"blobs/sha256/{data[7:]}":
                new.addfile(member, old.extractfile(member))
    (built.root / "new.tar").replace(built.root / "reef.tar")
    error = built.fails("verify", mode, what, status=3)
    assert f"layer    {data} is missing" in error
    assert "missing  data/images/a b.png" in error


def test_an_archive_with_a_flipped_byte(built):
    """A changed byte in an archive is found, and the file that contains it."""
    archive = built.root / "reef.tar"
    archive.write_bytes(archive.read_bytes().replace(b"aaaaaaaa", b"aaaabaaa", 1))
    error = built.fails("verify", "oci-archive:reef.tar", status=3)
    assert "changed  data/images/a b.png" in error
    assert "is damaged: its bytes have sha256:" in error


def test_a_swapped_manifest_is_found(built):
    """An image whose environment names another dataset digest than that of its manifest is refused."""
    layout = Layout(built.root / "dist/reef-v1")
    manifest = read_json(layout, layout.image())
    config = json.loads(layout.blob(manifest["config"]["digest"]).read_bytes())
    config["config"]["Env"][-2] = "DATAPACK_DIGEST=sha256:" + "0" * 64

    def put(value, descriptor):
        content = canonical_json(value)
        new = Descriptor.of(descriptor["mediaType"], content)
        layout.blob(new.digest).write_bytes(content)
        return {**descriptor, **new.to_json()}

    manifest["config"] = put(config, manifest["config"])
    index = json.loads(layout.index.read_bytes())
    index["manifests"][0] = put(manifest, index["manifests"][0])
    layout.index.write_bytes(canonical_json(index))
    assert "digest   the image says sha256:0000" in built.fails("verify", "oci:dist/reef-v1", status=3)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("oci:nothing", "not an OCI layout"),
        ("oci-archive:nothing.tar", "can't read the file: found No such file"),
        ("oci-archive:datasets.yml", "not an archive"),
        ("oci:base", "not an import container: found no DATAPACK_DATASET and DATAPACK_DIGEST in its environment"),
        ("source", "not a bag"),
        (".", ".: not a bag: expected a folder with bagit.txt and data, found no bagit.txt; name a version"),
    ],
)
def test_what_is_no_image_or_bag(built, what, says):
    """Anything that can't be verified at all gives one clear line."""
    assert says in built.fails("verify", what, status=1)


def test_the_folder_of_an_image_is_no_bag(built):
    """Who forgets ``oci:`` is told so."""
    assert "an image's folder, not a bag's; verify it as 'oci:dist/reef-v1'" in built.fails(
        "verify", "dist/reef-v1", status=2
    )


def test_it_works_outside_any_catalog(built, tmp_path):
    """An image or a bag can be verified where there is no datasets.yml."""
    shutil.move(built.root / "dist/reef-v1", tmp_path / "image")
    built.root = tmp_path
    assert built.ok("verify", "oci:image").startswith("verified")
    assert "reef@v1: no datasets.yml here or in any folder above" in built.fails("verify", "reef@v1", status=2)


@pytest.mark.parametrize("what", ["", "oci:", "oci-archive:", "docker://"])
def test_a_form_without_a_name_is_wrong_usage(built, what):
    """The error names the forms that there are."""
    says = f"{what!r}: not something that datapack can verify: expected NAME@VERSION, oci:DIR"
    assert says in built.fails("verify", what, status=2)


def test_a_version_that_can_not_be_fetched_is_not_to_be_fetched(fetched):
    """The error says what `fetch` would say; a bag whose version left the catalog is verified all the same."""
    assert "reef has no version v9: expected one of reef@v1" in fetched.fails("verify", "reef@v9", status=2)
    assert "no riif@v1 in the catalog: expected one of reef@v1" in fetched.fails("verify", "riif@v1", status=2)
    described = fetched.root / "datasets.yml"
    described.write_text(described.read_text().replace("v1:", "v2:"))
    assert fetched.ok("verify", "reef@v1").startswith("verified")
    assert "reef@v2: its bag is not here; fetch it with 'datapack fetch reef@v2'" in fetched.fails("verify", "reef@v2")
    described.write_text("a: [")
    assert fetched.ok("verify", "reef@v1").startswith("verified")
    error = fetched.fails("verify", "reef@v2", status=2)
    assert "datasets.yml:" in error
    assert "fetch it" not in error


def test_no_network_promises_no_resumption(built):
    """Verifying starts anew each time."""
    error = built.fails("verify", "docker://127.0.0.1:1/reef:v1")
    assert "check the network and run the same command again" in error
    assert "resume" not in error
