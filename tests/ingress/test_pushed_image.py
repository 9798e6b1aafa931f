"""`datapack ingress --image docker://`: the record of the image that was pushed."""

import json

import pytest

from tests import registries
from tests.conftest import fact
from tests.ingress.test_record import RECEIVED, answer, record_of

pytestmark = pytest.mark.registry


@pytest.fixture
def registry(tmp_path):
    """A registry on this machine."""
    with registries.serve(tmp_path) as address:
        yield address


def test_the_record_of_a_pushed_image(built, registry):
    """It has the same digests as that of the layout; what a registry can't show of an image is not read."""
    local = record_of(answer(built), *RECEIVED)
    image = fact(built.ok("push", "reef@v1", f"docker://{registry}/reef"), "image").partition("@")[2]
    pushed = record_of(built, *RECEIVED, "--image", f"docker://{registry}/reef:v1")
    assert pushed["image"]["digest"] == local["image"]["digest"] == image
    assert pushed["data"] == local["data"]
    assert pushed["verification"]["scope"] == "full"
    statuses = [[one["status"] for one in record["container_guide"]] for record in (local, pushed)]
    changed = {before: after for before, after in zip(*statuses, strict=True) if before != after}
    assert changed == {"met": "not read"}
    assert f"docker://{registry}/reef:v1" in json.dumps(pushed["container_guide"])


def test_a_registry_that_does_not_answer_is_one_line(built):
    """No record is written of an image that nobody can read."""
    answer(built).fails("ingress", "reef@v1", *RECEIVED, "--image", "docker://127.0.0.1:1/reef:v1")
    assert not (built.root / "dist" / "reef-v1.ingress").exists()
