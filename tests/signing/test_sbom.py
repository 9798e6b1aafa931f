"""The SBOM of an image is the one that its provenance names, wherever that is checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from datapack.errors import MismatchError
from datapack.hashing import digest_of
from datapack.metadata.sbom import artifact
from datapack.oci.named_sbom import FoundSbom, byproduct, check_sboms
from datapack.oci.spec import canonical_json
from tests import registries
from tests.conftest import Catalog, fact
from tests.signing.keyfiles import make_keys
from tests.signing.test_images import attach_to

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = "oci:dist/reef-v1"
NAMED = "SBOM: the one that the provenance names"
REFUSED = "the SBOM is not the one that the image's provenance names: "
IMAGE, OTHER = (f"sha256:{digit * 64}" for digit in "12")


def alter(path: Path) -> bytes:
    content = path.read_bytes().replace(b"CC0-1.0", b"CC-BY-4.0")
    assert content != path.read_bytes()
    path.write_bytes(content)
    return content


def test_an_altered_sbom_beside_an_image(built: Catalog, tmp_path: Path) -> None:
    """With a key or without, it is refused in one line that has both digests, and the image is not signed either."""
    keys, path = make_keys(tmp_path), built.root / "dist/reef-v1.cdx.json"
    good, key = path.read_bytes(), ("--key", str(keys.public))
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    assert NAMED in built.ok("verify", LAYOUT).splitlines()
    assert json.loads(built.ok("verify", LAYOUT, *key, "--json"))["sbom"] == "named"
    altered = alter(path)
    for command in (("verify", LAYOUT), ("verify", LAYOUT, *key), ("sign", LAYOUT, "--key", str(keys.private))):
        error = built.fails(*command, status=3)
        (line,) = [line for line in error.splitlines() if REFUSED in line]
        for part in (path, digest_of(good), digest_of(altered), "build the image again"):
            assert str(part) in line
    built.ok("build", "reef@v1")  # it makes the SBOM again
    assert path.read_bytes() == good
    path.unlink()
    assert "SBOM" not in built.ok("verify", LAYOUT, *key)


def test_provenance_that_names_none(built: Catalog) -> None:
    """Without provenance of this image there is nothing to compare with: the output says so."""
    (built.root / "dist/reef-v1.provenance.json").unlink()
    assert "SBOM: NOT checked, as no provenance of this image names one" in built.ok("verify", LAYOUT)


@pytest.mark.registry
def test_an_altered_sbom_in_a_registry(built: Catalog, tmp_path: Path) -> None:
    """One that somebody attached besides is refused, by a later push too; an altered file here is made again."""
    keys, path = make_keys(tmp_path), built.root / "dist/reef-v1.cdx.json"
    altered = alter(path)
    with registries.serve(tmp_path) as registry:
        what = f"docker://{registry}/reef:v1"
        push = ("push", "reef@v1", f"docker://{registry}/reef")
        image = fact(built.ok(*push), "image")
        assert path.read_bytes() != altered
        assert NAMED in built.ok("verify", what).splitlines()
        built.ok("sign", what, "--key", str(keys.private))
        attach_to(image.replace(":v1@", "@"), artifact(altered))
        for command in (("verify", what), ("verify", what, "--key", str(keys.public)), push):
            error = built.fails(*command, status=3)
            assert REFUSED in error
            assert f"{registry}/reef@{digest_of(altered)}" in error


def statement(image: str, *sboms: bytes) -> bytes:
    details = {"byproducts": [{"name": "datapack check"}, *map(byproduct, sboms)]}
    subject = {"name": "reef:v1", "digest": {"sha256": image.removeprefix("sha256:")}}
    return canonical_json({"subject": [subject], "predicate": {"runDetails": details}})


@pytest.mark.parametrize(
    "statements",
    [[], [statement(OTHER, b"a")], [statement(IMAGE)], [b"\xff"], [b"[]"], [b'{"subject":[]}'], [b"1"]],
)
def test_statements_that_name_none(statements: list[bytes]) -> None:
    """Statements of other images, without an SBOM or that can't be read at all name none."""
    assert not check_sboms(IMAGE, statements, [FoundSbom("here", digest_of(b"b"))])


def test_each_statement_may_name_its_own() -> None:
    """A later datapack writes another SBOM of the same image; a third is nobody's."""
    statements = [statement(IMAGE, b"a"), statement(IMAGE, b"b"), statement(OTHER, b"c")]
    found = [FoundSbom("here", digest_of(content)) for content in (b"a", b"b", b"c")]
    assert check_sboms(IMAGE, statements, found[:2])
    with pytest.raises(MismatchError, match="the SBOM is not the one"):
        check_sboms(IMAGE, statements, found)
