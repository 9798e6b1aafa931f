"""`datapack ingress`: what it says of signatures and the SBOM, beside an image and attached to it."""

import hashlib
import json

import pytest

from tests import registries
from tests.conftest import fact
from tests.ingress.test_record import RECEIVED, answer, record_of
from tests.signing.keyfiles import make_keys

LAYOUT = "oci:dist/reef-v1"


def states(record):
    return {one["what"]: (one["state"], len(one["keys"])) for one in record["signatures"]}


def said(record, kind):
    return [one["said"] for one in record["evidence"] if one["kind"] == kind]


def test_signatures_beside_an_image(built, tmp_path):
    """Without a key a signature is only present; with the signer's it is verified; with another there is no record."""
    keys, other = make_keys(tmp_path), make_keys(tmp_path, "other")
    answer(built).fails("ingress", "reef@v1", *RECEIVED, "--key", str(keys.public), status=3)
    assert not (built.root / "dist" / "reef-v1.ingress").exists()
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    record = record_of(built, *RECEIVED)
    assert states(record) == {"image": ("present, not verified", 0), "provenance": ("present, not verified", 0)}
    assert said(record, "signature") == [f"of the {what}: present, not verified" for what in ("provenance", "image")]
    record = record_of(built, *RECEIVED, "--key", str(other.public), "--key", str(keys.public))
    assert states(record) == {"image": ("verified", 1), "provenance": ("verified", 1)}
    assert "ECDSA P-256 key SHA256:" in record["signatures"][0]["keys"][0]
    text = (built.root / "dist" / "reef-v1.ingress" / "record.md").read_text()
    assert "| Signature of the image | verified<br>`by the ECDSA P-256 key SHA256:" in text
    assert str(tmp_path) not in json.dumps(record["evidence"])
    built.fails("ingress", "reef@v1", *RECEIVED, "--key", str(other.public), status=3)
    built.fails("ingress", "reef@v1", *RECEIVED, "--quick", "--key", str(keys.public), status=2)


def test_a_signature_of_something_else(built, tmp_path):
    """A file that is no signature of this image does not count as one."""
    (built.root / "dist" / "reef-v1.mine.sigstore.json").write_text("<script>")
    record = record_of(answer(built), *RECEIVED)
    assert states(record) == {"image": ("none found", 0), "provenance": ("none found", 0)}
    assert said(record, "signature") == ["of nothing that is in this record, or not readable"]


def test_an_sbom_of_another_image(built):
    """The record has the SBOM beside the image by its sha256, and says if one that is given names another image."""
    path = built.root / "dist" / "reef-v1.cdx.json"
    (found,) = [one for one in record_of(answer(built), *RECEIVED)["evidence"] if one["kind"] == "sbom"]
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["said"].endswith("it names this image, and the provenance names it")
    document = json.loads(path.read_bytes())
    altered = built.root / "altered.json"
    altered.write_text(json.dumps(document))
    refused = "the SBOM is not the one that the image's provenance names: "
    assert refused in built.fails("ingress", "reef@v1", *RECEIVED, "--sbom", "altered.json", status=3)
    document["metadata"]["component"]["hashes"][0]["content"] = "0" * 64
    altered.write_text(json.dumps(document))
    assert "ANOTHER image" in said(record_of(built, *RECEIVED, "--sbom", "altered.json"), "sbom")[0]
    altered.replace(path)
    assert refused in built.fails("ingress", "reef@v1", *RECEIVED, status=3)


@pytest.mark.registry
def test_what_is_attached_to_a_pushed_image(built, tmp_path):
    """The SBOM, the provenance and the signatures in a registry are those of the image on disk."""
    keys = make_keys(tmp_path)
    answer(built).ok("sign", LAYOUT, "--key", str(keys.private))
    local = record_of(built, *RECEIVED)
    with registries.serve(tmp_path) as address:
        digest = fact(built.ok("push", "reef@v1", f"docker://{address}/reef"), "image").partition("@")[2]
        pushed = record_of(built, *RECEIVED, "--image", f"docker://{address}/reef:v1", "--key", str(keys.public))
    found, expected = ({(one["kind"], one["sha256"]) for one in record["evidence"]} for record in (pushed, local))
    assert found == expected
    assert {one["file"] for one in pushed["evidence"] if one["kind"] == "sbom"} == {f"attached to {digest}"}
    assert states(pushed) == {"image": ("verified", 1), "provenance": ("verified", 1)}
