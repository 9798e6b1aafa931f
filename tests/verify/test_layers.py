"""The layers of an image: the units of work that verify them."""

import pickle

import pytest

from datapack.oci.archive import Archive
from datapack.oci.image import read_image
from datapack.oci.layout import Layout
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.verify.layers import LayerReading, read_layers
from tests import registries


def test_a_unit_of_work_can_be_pickled(catalog, tmp_path):
    """A layer's reading can go to another process, whether the layer is in a layout, an archive or a registry."""
    catalog.ok("build", "reef@v1")
    catalog.ok("build", "reef@v1", "--to", "oci-archive:reef.tar")
    with registries.serve(tmp_path) as registry:
        registries.push(catalog.root / "dist/reef-v1", registry, "reef:v1")
        remote = RemoteImage.find(Repository(RegistryClient(ImageName.parse(f"{registry}/reef:v1"))))
        found = []
        for storage in (Layout(catalog.root / "dist/reef-v1"), Archive.find(catalog.root / "reef.tar"), remote):
            layer = read_image(storage, storage.image(), "a test").layers[2]
            reading = LayerReading(storage, layer, "dataset/reef", "bytes")
            found.append(pickle.loads(pickle.dumps(reading)).run(lambda _: None))
    assert found[0] == found[1] == found[2]
    assert set(found[0].hashes) == {"data/images/a b.png", "data/images/\u00f6.png"}


@pytest.mark.parametrize(("mode", "files", "hashes"), [("quick", 4, 0), ("full", 4, 4)])
def test_only_full_reads_the_bytes_of_files(catalog, mode, files, hashes):
    """Of a layout, `quick` reads the headers and the tag files; `full` reads and hashes everything."""
    catalog.ok("build", "reef@v1")
    layout = Layout(catalog.root / "dist/reef-v1")
    image = read_image(layout, layout.image(), "a test")
    read = []
    content = read_layers(image, "dataset/reef", mode, read.append)
    assert (len(content.files), len(content.hashes), content.problems) == (files, hashes, [])
    assert sum(read) == (sum(layer.size for layer in image.layers) if mode == "full" else 0)
    assert "manifest-sha256.txt" in content.tags
