"""The layers of an image: the units of work that verify them."""

import pickle
import tarfile

import pytest

from datapack.errors import ImageError
from datapack.oci.archive import Archive
from datapack.oci.image import read_image
from datapack.oci.layout import Layout
from datapack.oci.spec import LAYER, Descriptor
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.verify.layers import LayerReading, Parts, read_layers
from tests import registries


@pytest.mark.registry
def test_a_unit_of_work_can_be_pickled(catalog, tmp_path):
    """Another process can read a layer, whether it is in a layout, an archive or a registry."""
    catalog.ok("build", "reef@v1")
    catalog.ok("build", "reef@v1", "--to", "oci-archive:reef.tar")
    with registries.serve(tmp_path) as registry:
        registries.push(catalog.root / "dist/reef-v1", registry, "reef:v1")
        remote = RemoteImage.find(Repository(RegistryClient(ImageName.parse(f"{registry}/reef:v1"))))
        found = []
        for storage in (Layout(catalog.root / "dist/reef-v1"), Archive.find(catalog.root / "reef.tar"), remote):
            layer = read_image(storage, storage.image(), "a test").layers[2]
            reading = LayerReading(storage, layer, "data", "dataset/reef", "bytes", layer.digest)
            found.append(pickle.loads(pickle.dumps(reading)).run(lambda _: None))
    assert found[0] == found[1] == found[2]
    assert set(found[0].hashes) == {"data/images/a b.png", "data/images/\u00f6.png"}


@pytest.mark.parametrize(("mode", "files", "hashes"), [("quick", 4, 0), ("full", 4, 4)])
def test_only_full_reads_the_bytes_of_files(catalog, mode, files, hashes):
    """In a layout, `quick` reads headers and tag files; `full` reads and hashes everything."""
    catalog.ok("build", "reef@v1")
    layout = Layout(catalog.root / "dist/reef-v1")
    image = read_image(layout, layout.image(), "a test")
    read = []
    content = read_layers(image, Parts(1), "dataset/reef", mode, read.append)
    assert (len(content.files), len(content.hashes), content.problems) == (files, hashes, [])
    every = sum(layer.size for layer in image.layers)
    assert sum(read) == every if mode == "full" else sum(read) < every
    assert "manifest-sha256.txt" in content.tags


def header(name: str, size: int = 0, form: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Return the header of one member of a tar archive."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, form, link
    return member.tobuf(tarfile.GNU_FORMAT)


def read_layer(root, content: bytes, depth: str, role: str = "data"):
    """Read a layer of these bytes from a layout."""
    layer = Descriptor.of(LAYER, content)
    layout = Layout(root)
    layout.blobs.mkdir(parents=True)
    layout.blob(layer.digest).write_bytes(content)
    return LayerReading(layout, layer, role, "dataset/reef", depth, layer.digest).run(lambda _: None)


@pytest.mark.parametrize("depth", ["headers", "bytes"])
@pytest.mark.parametrize("size", [513, 1 << 40, 1 << 70, -512])
def test_a_size_that_does_not_fit_is_a_problem(tmp_path, depth, size):
    """A damaged header is one line, and nothing looks for the content that it promises: that would take years."""
    content = read_layer(tmp_path, header("dataset/reef/data/a.png", size) + bytes(512), depth)
    assert "can't be read as a tar archive: " in content.problems[-1]


@pytest.mark.parametrize("depth", ["headers", "bytes"])
@pytest.mark.parametrize("form", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("name", ["manifest-sha256.txt", "data/a.png"])
def test_what_is_not_a_file_is_a_problem(tmp_path, depth, form, name):
    """A link in a bag, to anything or to nothing, is named and not followed."""
    content = read_layer(tmp_path, header(f"dataset/reef/{name}", form=form, link="nowhere") + bytes(1024), depth)
    assert f"contains 'dataset/reef/{name}', which datapack would not write: a" in content.problems[0]
    assert not content.files
    assert not content.tags


@pytest.mark.parametrize("size", [1025, 1 << 70, -512])
def test_an_archive_that_is_cut_off(tmp_path, size):
    """So is an archive with such a header."""
    path = tmp_path / "cut.tar"
    path.write_bytes(header("index.json", size) + bytes(1024))
    with pytest.raises(ImageError, match=r"cut\.tar: not an archive"):
        Archive.find(path)
