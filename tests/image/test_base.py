"""The base: pinned by its digest, fetched once, always checked. The registry is a real one."""

import json
import shutil
import socket
from pathlib import Path

import pytest

from datapack.errors import ImageError
from datapack.image.base import open_base
from datapack.progress import Silent
from tests.conftest import make_base
from tests.registries import push, serve


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def registry(tmp_path):
    """An empty registry whose blobs are in ``tmp_path/registry``."""
    with serve(tmp_path) as address:
        yield address


def test_base_from_a_registry_is_fetched_once(registry, tmp_path):
    """A pinned base is kept in the cache: the second time the registry is not asked."""
    digest = make_base(tmp_path / "base")
    text = push(tmp_path / "base", registry, "library/tiny:1")
    notes = Notes()
    base = open_base(text, tmp_path, tmp_path / "cache", notes)
    assert base.digest == digest
    assert base.name == text.partition("@")[0]
    assert notes.notes == [f"fetching the base {text}"]
    shutil.rmtree(tmp_path / "registry")
    assert open_base(text, tmp_path, tmp_path / "cache", notes) == base
    assert len(notes.notes) == 1
    for blob in base.blobs():
        with (tmp_path / "copy").open("wb") as out:
            assert blob.write(out) == blob.digest


def test_missing_part_in_the_cache_is_fetched_again(registry, tmp_path):
    """A part that is missing from the cache is fetched again."""
    make_base(tmp_path / "base")
    text = push(tmp_path / "base", registry, "library/tiny:1")
    base = open_base(text, tmp_path, tmp_path / "cache", Silent())
    base.layout.blob(base.layers[0].digest).unlink()
    assert open_base(text, tmp_path, tmp_path / "cache", Silent()) == base
    assert base.layout.holds(base.layers[0].digest, base.layers[0].size)


def test_digest_that_the_registry_does_not_have(registry, tmp_path):
    """An unknown digest is the registry's 404, in one line."""
    text = f"{registry}/library/tiny:1@sha256:{'0' * 64}"
    with pytest.raises(ImageError, match=f"{text}: the registry has no such manifest: expected sha256:000"):
        open_base(text, tmp_path, tmp_path / "cache", Silent())


def test_registry_that_is_not_there(tmp_path):
    """The error for an unreachable registry says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = f"127.0.0.1:{port}/tiny:1@sha256:{'0' * 64}"
    with pytest.raises(ImageError, match=r"the registry can't be reached: found .*refused.*; check the network"):
        open_base(text, tmp_path, tmp_path / "cache", Silent())


def test_index_leads_to_the_image_for_our_platform(tmp_path):
    """From an index of several platforms, the image for linux/amd64 is used."""
    make_base(tmp_path / "base")
    layout = tmp_path / "base"
    (image,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    other = {**image, "digest": f"sha256:{'1' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
    ours = {**image, "platform": {"os": "linux", "architecture": "amd64"}}
    from datapack.hashing import digest_of
    from datapack.oci.spec import INDEX, canonical_json

    index = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, ours]})
    (layout / "blobs/sha256" / digest_of(index)[7:]).write_bytes(index)
    (layout / "index.json").write_text(
        json.dumps({"manifests": [{"mediaType": INDEX, "digest": digest_of(index), "size": len(index)}]})
    )
    assert open_base("oci:base", tmp_path, tmp_path, Silent()).digest == digest_of(index)
    lonely = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]})
    (layout / "blobs/sha256" / digest_of(lonely)[7:]).write_bytes(lonely)
    (layout / "index.json").write_text(
        json.dumps({"manifests": [{"mediaType": INDEX, "digest": digest_of(lonely), "size": len(lonely)}]})
    )
    with pytest.raises(ImageError, match="no image for linux/amd64"):
        open_base("oci:base", tmp_path, tmp_path, Silent())


def test_damaged_parts_are_found(tmp_path):
    """The error for a flipped byte in a layer or the manifest has both digests."""
    make_base(tmp_path / "base")
    base = open_base("oci:base", tmp_path, tmp_path, Silent())
    layer = base.layout.blob(base.layers[0].digest)
    layer.write_bytes(layer.read_bytes().replace(b"hello", b"hallo"))
    with (
        pytest.raises(ImageError, match=r"a layer of the base is damaged: expected sha256:.*found sha256:"),
        (tmp_path / "out").open("wb") as out,
    ):
        base.blobs()[0].write(out)
    manifest = base.layout.blob(base.digest)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(ImageError, match="damaged"):
        open_base("oci:base", tmp_path, tmp_path, Silent())


def test_not_a_layout(tmp_path):
    """A folder without a layout gives one clear error line."""
    with pytest.raises(ImageError, match=r"nothing/index\.json: not an OCI layout"):
        open_base("oci:nothing", tmp_path, tmp_path, Silent())


def test_stand_in_is_announced(tmp_path):
    """Opening a stand-in base always prints a warning."""
    from examples.stand_in_base import build

    build(tmp_path / "stand-in", busybox=Path("/bin/true"))  # any program that exists, also without busybox-static
    notes = Notes()
    open_base("oci:stand-in", tmp_path, tmp_path, notes)
    assert "stand-in base, for tests and the demo only" in notes.notes[0]
