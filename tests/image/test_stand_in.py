"""A stand-in base, for tests and the demo: every image based on it says so."""

import json
import tarfile

import pytest

from datapack.errors import UsageError
from datapack.image.stand_in import STAND_IN
from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from datapack.targets.registry import refuse_stand_in
from tests.conftest import make_base

MEANS = "a stand-in base, for tests and the demo only"


@pytest.fixture
def catalog(fetched):
    return fetched


@pytest.fixture
def stand_in_catalog(catalog):
    """A catalog whose version was built on a stand-in."""
    make_base(catalog.root / "stand-in", **{STAND_IN: "true"})
    catalog.ok("build", "reef@v1", "--base", "oci:stand-in")
    return catalog


def facts(catalog) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and the annotations of the built image."""
    layout = Layout(catalog.root / "dist/reef-v1")
    manifest = read_json(layout, layout.image())
    return json.loads(layout.blob(manifest["config"]["digest"]).read_bytes())["config"]["Labels"], manifest[
        "annotations"
    ]


def test_image_says_it(stand_in_catalog):
    """Labels and annotations have the mark, and the title mentions the stand-in."""
    for shown in facts(stand_in_catalog):
        assert shown[STAND_IN] == "true"
        assert shown["org.opencontainers.image.title"] == f"A small reef (on {MEANS})"


def test_image_on_a_real_base_does_not_say_it(catalog):
    """Without a stand-in, the mark appears nowhere."""
    output = catalog.ok("build", "reef@v1") + catalog.ok("verify", "oci:dist/reef-v1") + catalog.ok("list")
    assert "stand-in" not in output
    for shown in facts(catalog):
        assert STAND_IN not in shown
        assert shown["org.opencontainers.image.title"] == "A small reef"
    assert "stand_in" not in (catalog.root / "datasets.lock").read_text()


@pytest.mark.parametrize("mode", ["--quick", "--full"])
def test_verify_says_it(stand_in_catalog, mode):
    """verify reports that an intact image is not for a Safe Haven, in each form."""
    stand_in_catalog.ok("build", "reef@v1", "--base", "oci:stand-in", "--to", "oci-archive:reef.tar")
    for what in ("oci:dist/reef-v1", "oci-archive:reef.tar"):
        lines = stand_in_catalog.ok("verify", mode, what).splitlines()
        assert f"not for a Safe Haven: this image is based on {MEANS}" in lines
    assert "stand-in" not in stand_in_catalog.ok("verify", "reef@v1")


def test_list_says_it(stand_in_catalog):
    """The listing shows it even if the image is not here; a build on a real base removes it."""
    says = f"its image is not for a Safe Haven: it is based on {MEANS}"
    assert says in stand_in_catalog.ok("list")
    (stand_in_catalog.root / "dist").rename(stand_in_catalog.root / "gone")
    assert says in stand_in_catalog.ok("list")
    stand_in_catalog.ok("build", "reef@v1", "--update-lock")
    assert "stand-in" not in stand_in_catalog.ok("list")


def test_screen_says_it_for_a_base_in_an_archive_too(stand_in_catalog):
    """Each build prints it, whatever the target."""
    done = stand_in_catalog.run("build", "reef@v1", "--base", "oci:stand-in", "--to", "oci-archive:reef.tar")
    assert f"oci:stand-in is {MEANS}: do not use images based on it in a Safe Haven" in done.stderr
    assert tarfile.is_tarfile(stand_in_catalog.root / "reef.tar")


@pytest.mark.parametrize("registry", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000/me"])
def test_registry_on_this_machine_takes_it(registry):
    """Tests and the demo may push it to their own registry."""
    assert refuse_stand_in({STAND_IN: "true"}, registry) is None  # and does not raise


@pytest.mark.parametrize(
    "registry",
    ["ghcr.io", "docker.io/me", "10.0.0.1:5000", "localhost.example.org", "registry:5000", "", "[x", "127.1"],
)
def test_no_other_registry_takes_it(registry):
    """It can't leave this machine, whatever the registry is called; an image without the mark can."""
    with pytest.raises(UsageError, match=f"this image is based on {MEANS}: expected a registry on this machine"):
        refuse_stand_in({STAND_IN: "true"}, registry)
    refuse_stand_in({"org.opencontainers.image.title": "A small reef"}, registry)
