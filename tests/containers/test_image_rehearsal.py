"""The last step of an image's way: what was pushed is pulled by its digest and run as the Safe Haven will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import registries
from tests.clones import make_clone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.engines import Engine


@pytest.mark.registry
def test_the_pushed_image_is_rehearsed(podman: Engine, stand_in_base: Path, tmp_path: Path) -> None:
    """make image-rehearse pulls the digest that was built, and its import ends well; without a build it is one line."""
    (tmp_path / "clone").mkdir()
    with registries.serve(tmp_path) as registry:
        variables = {"IMAGE": "data", "REF": "reef@v1", "BASE": f"oci:{stand_in_base}", "REGISTRY": f"{registry}/Group"}
        engine = {"ENGINE": " ".join(podman.command), "DOCKER_HOST": podman.url, **podman.environment}
        clone = make_clone(tmp_path / "clone", **variables, **engine, INSECURE="1")
        assert "run 'make image-build IMAGE=data' first" in clone.fails("image-rehearse")
        clone.ok("image-build")
        clone.ok("image-push")
        shown = clone.ok("image-rehearse")
        assert "IMPORT OK reef@v1 sha256:" in shown
        digest = clone.ok("image-names").split("digest=")[1].split()[0]
        assert f"rehearsed {registry}/group/reef@{digest}" in shown
        podman.run("image", "rm", "--force", f"{registry}/group/reef@{digest}")
