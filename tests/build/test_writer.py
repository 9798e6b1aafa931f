"""The writer: a unit of work is a value that another process could write, and nothing is read more than needed."""

import hashlib
import io
import pickle
from pathlib import Path

import pytest

from datapack.bag.bagit import PayloadFile
from datapack.image.layers import LayerContent, data_layers, program_layer, tag_layer
from datapack.oci.blob import Blob, FileContent
from datapack.oci.spec import CONFIG, LAYER


@pytest.fixture
def bag(tmp_path):
    """A folder with two files, and the list of them."""
    files = []
    for name, content in (("data/a/1", b"one" * 999), ("data/b", b"")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(PayloadFile(name, len(content), hashlib.sha256(content).hexdigest()))
    return tmp_path, files


def blobs(folder, files):
    """One blob of each kind."""
    base = folder / "base.tar"
    base.write_bytes(b"a layer of a base")
    digest = f"sha256:{hashlib.sha256(base.read_bytes()).hexdigest()}"
    layers = [program_layer(), *data_layers([files], folder, "dataset/reef"), tag_layer({"t": b"t"}, "dataset/reef")]
    return [
        Blob(LAYER, base.stat().st_size, digest, FileContent(base, digest)),
        Blob.of(CONFIG, b"{}"),
        *(Blob(LAYER, layer.size, "", LayerContent(layer)) for layer in layers),
    ]


def test_a_unit_of_work_can_be_pickled(bag):
    """Sent to another process, every blob has the same bytes and the same digest."""
    for blob in blobs(*bag):
        copy = pickle.loads(pickle.dumps(blob))
        here, there = io.BytesIO(), io.BytesIO()
        assert blob.write(here) == copy.write(there)
        assert here.getvalue() == there.getvalue()
        assert len(here.getvalue()) == blob.size


class Observer:
    """Counts how often a blob was started, and records the files found in it."""

    def __init__(self):
        self.starts, self.files, self.bytes = 0, [], 0

    def start(self):
        self.starts += 1
        return self.starts

    def advance(self, amount):
        self.bytes += amount

    def wait(self, seconds):
        raise AssertionError("nothing to wait for")

    def found(self, path, stat, sha256):
        self.files.append(Path(path).name)


def test_a_trusted_layer_is_hashed_only_on_the_second_request(bag):
    """The receiver checks the first reading; if that fails, the second one finds out which file is wrong."""
    folder, files = bag
    (layer,) = data_layers([files], folder, "dataset/reef")
    digest = Blob(LAYER, layer.size, "", LayerContent(layer)).write(io.BytesIO())
    blob, observer = Blob(LAYER, layer.size, digest, LayerContent(layer, trusted=digest)), Observer()
    assert blob.write(io.BytesIO(), observer) == digest
    assert (observer.files, observer.bytes) == ([], 2997)
    assert blob.write(io.BytesIO(), observer) == digest
    assert (observer.files, observer.bytes) == (["1", "b"], 2 * 2997)
