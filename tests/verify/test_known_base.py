"""The base of an image: compared with the one that the image names where somebody here knows that one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from datapack.catalog.lock import Lock
from datapack.errors import MismatchError
from datapack.image.program import EARLIER, program_digest
from datapack.oci.layout import Layout
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.verify import verify
from datapack.workspace.folder import Workspace
from tests import registries
from tests.conftest import make_base
from tests.verify.forging import Forged, archive, entry

EVIL = archive(entry("bin/sh", b"evil", mode=0o755))


@pytest.fixture
def workspace(built) -> Workspace:
    """A workspace with a built version and its base in the cache, but nothing in its lock."""
    workspace = Workspace(built.root)
    shutil.copytree(built.root / "base", workspace.bases)
    workspace.lock.unlink()
    return workspace


@pytest.fixture
def forged(workspace) -> Forged:
    """The image of that version, which can be changed."""
    return Forged.read(workspace.root / "dist/reef-v1")


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_known_base_is_compared(forged, workspace, mode):
    """Then its files are those of the base that the image names, and there is nothing more to say."""
    assert "base not compared" not in str(forged.verify(mode, workspace))
    assert "base not compared: the image names sha256:" in str(forged.verify(mode))


def test_a_known_base_that_can_not_be_unpacked(forged, workspace):
    """It may have something where the dataset goes, so verify says that it could not look."""
    base = Forged.read(workspace.bases)
    base.manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+lzma"
    base.write()
    forged.manifest["layers"][0] = base.manifest["layers"][0]
    for facts in (forged.manifest["annotations"], forged.runtime["Labels"]):
        facts["org.opencontainers.image.base.digest"] = base.layout.image().digest
    forged.runtime["Env"][-1] = f"DATAPACK_BASE={base.layout.image().digest}"
    forged.write()
    assert "base not unpacked: it is the one that the image names" in str(forged.verify("full", workspace))


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_another_base_under_a_known_name(forged, workspace, mode):
    """An image that names a base that is known here must have its layers and settings: the names are not believed."""
    forged.insert(1, EVIL)
    forged.write()
    with pytest.raises(MismatchError) as caught:
        forged.verify(mode, workspace)
    assert any("base     its layers are not those of the base" in line for line in caught.value.details)
    assert "the base in the image" in str(forged.verify(mode))  # where the base is unknown


@pytest.mark.parametrize("change", [{"WorkingDir": "/opt"}, {"Labels": {"a": "b"}}, {"Env": ["PATH=/evil"]}])
def test_other_settings_of_a_known_base(forged, workspace, change):
    """So must its settings."""
    ours = forged.runtime["Env"][-3:]
    labels = {**forged.runtime["Labels"], **change.pop("Labels", {})}
    forged.runtime.update({**change, "Labels": labels, "Env": [*change.get("Env", forged.runtime["Env"][:-3]), *ours]})
    forged.write()
    with pytest.raises(MismatchError):
        forged.verify("full", workspace)
    forged.verify("full")


def test_the_lock_knows_the_image(built):
    """The image in the lock is right from its base on; any other image of that version is refused, also on disk."""
    workspace = Workspace(built.root)
    forged = Forged.read(built.root / "dist/reef-v1")
    assert "base not compared" not in str(forged.verify("full", workspace))
    forged.insert(1, EVIL)
    forged.write()
    with pytest.raises(MismatchError, match="the image is not the one in the lock: expected sha256:"):
        forged.verify("full", workspace)


@pytest.mark.parametrize("what", ["oci:dist/reef-v1", "oci-archive:reef.tar"])
def test_another_image_or_dataset_than_in_the_lock(built, what):
    """An image on disk is compared with the lock as one in a registry is."""
    workspace, reference = Workspace(built.root), Reference.parse("reef@v1")
    built.ok("build", "reef@v1", "--to", "oci-archive:reef.tar")
    locked = Lock.read(workspace.lock).entries[reference]
    other = f"sha256:{'0' * 64}"
    for changed, says in (
        (replace(locked, digest=other), f"{what}: the dataset is not the one in the lock: expected {other}"),
        (replace(locked, images=(replace(locked.images[0], digest=other),)), "the image is not the one in the lock"),
    ):
        Lock({reference: changed}).write(workspace.lock)
        assert says in built.fails("verify", what, status=3)


@pytest.mark.registry
def test_the_registry_of_an_image_may_know_its_base(workspace, tmp_path, forged):
    """The registry that an image is in is asked for its base, if the base is said to be there too; no other is."""
    with registries.serve(tmp_path) as registry:
        text = registries.push(workspace.root / "base", registry, "library/tiny:1")
        name = text.partition("@")[0]
        for facts in (forged.manifest["annotations"], forged.runtime["Labels"]):
            facts["org.opencontainers.image.base.name"] = name
        forged.runtime["Env"][-1] = f"DATAPACK_BASE={text}"
        forged.write()
        registries.push(forged.layout.root, registry, "reef:v1")
        verified = verify(f"docker://{registry}/reef:v1", tmp_path, None, "full", Silent())
        assert verified.base_check == "compared"
        forged.insert(1, EVIL)
        forged.write()
        registries.push(forged.layout.root, registry, "reef:evil")
        with pytest.raises(MismatchError) as caught:
            verify(f"docker://{registry}/reef:evil", tmp_path, None, "quick", Silent())
        assert any("its layers are not those of the base" in line for line in caught.value.details)


def test_an_earlier_program_is_named(forged, monkeypatch):
    """An image with the program of an earlier datapack is right, and it says which datapack that was."""
    assert program_digest() == forged.manifest["layers"][1]["digest"]
    assert program_digest() not in EARLIER or forged.verify().earlier == ""
    monkeypatch.setattr("datapack.verify.layers.program_digest", lambda: "sha256:" + "0" * 64)
    monkeypatch.setattr("datapack.verify.layers.EARLIER", {})
    with pytest.raises(MismatchError, match="does not have the import program of this datapack or an earlier one"):
        forged.verify()
    monkeypatch.setattr("datapack.verify.layers.EARLIER", {forged.manifest["layers"][1]["digest"]: "0.0.1"})
    assert "its import program is that of datapack 0.0.1" in str(forged.verify())
    assert forged.runtime["Env"].pop().startswith("DATAPACK_BASE=")  # those of 0.1 were not told the base
    forged.write()
    assert "its import program is that of datapack 0.0.1" in str(forged.verify())


def test_an_image_of_this_datapack_names_its_base(forged):
    """The import program of this release is told the base: an image without it, or with another, is not datapack's."""
    place = len(forged.runtime["Env"]) - 1
    assert forged.runtime["Env"].pop().startswith("DATAPACK_BASE=sha256:")
    forged.write()
    with pytest.raises(MismatchError) as caught:
        forged.verify()
    (line,) = caught.value.details
    assert line.startswith(f"config   config.Env[{place}] is nothing, not 'DATAPACK_BAS")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("dataset/x", b"", "not usable as the base of an import container: it has something at /dataset"),
        ("usr/local/bin/import", b"", "has something at /usr/local/bin/import: a file"),
        ("usr/local/bin/import-batch", b"", "has something at /usr/local/bin/import-batch: a file"),
    ],
)
def test_a_build_refuses_such_a_base(catalog, name, content, says):
    """datapack builds no image that it would not verify."""
    base = Forged.read(catalog.root / "base")
    base.config["history"] = []
    base.manifest["layers"].append(base.put(base.manifest["layers"][0]["mediaType"], archive(entry(name, content))))
    base.config["rootfs"]["diff_ids"].append(base.manifest["layers"][-1]["digest"])
    base.write()
    assert says in catalog.fails("build", "reef@v1")


def test_a_build_refuses_a_base_that_preloads(catalog):
    """Neither files nor variables of a base may change what the import program runs."""
    layout = Layout(catalog.root / "base")
    make_base(layout.root)
    base = Forged.read(layout.root)
    base.config["config"]["Env"].append("LD_PRELOAD=/x.so")
    base.write()
    assert "it sets LD_PRELOAD, which changes what" in catalog.fails("build", "reef@v1")
    assert json.loads(layout.index.read_text())["manifests"]
