"""The OCI format: digests, descriptors, layouts."""

import pytest

from datapack.errors import ImageError
from datapack.hashing import digest_of, is_digest
from datapack.oci.image import read_part
from datapack.oci.layout import Layout
from datapack.oci.spec import LAYER, MANIFEST, Descriptor, canonical_json

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digests():
    """A digest is sha256, a colon and 64 lower-case hex digits."""
    assert digest_of(b"") == EMPTY
    assert is_digest(EMPTY)
    for text in (EMPTY[7:], EMPTY.upper(), EMPTY + "0", "md5:" + "0" * 32, None, 7):
        assert not is_digest(text)


def test_json_has_one_form():
    """The same value gives the same bytes, in whatever order it was made."""
    assert canonical_json({"b": 1, "a": ["ö", None]}) == '{"a":["ö",null],"b":1}'.encode()
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


def test_docker_s_names_become_oci_s():
    """A layer from Docker Hub has OCI's media type in an OCI manifest, and the same digest."""
    docker = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": EMPTY, "size": 0}
    assert Descriptor.parse(docker, where="a test") == Descriptor(f"{LAYER}+gzip", EMPTY, 0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"mediaType": LAYER, "digest": "md5:0", "size": 0},
        {"mediaType": LAYER, "digest": EMPTY, "size": -1},
    ],
)
def test_what_is_no_descriptor(value):
    """Anything else is refused, with its place in the file."""
    with pytest.raises(ImageError, match="a test: not an OCI descriptor"):
        Descriptor.parse(value, where="a test")


def test_a_blob_is_checked_when_it_is_read(tmp_path):
    """A manifest or a config that does not match its digest is not used."""
    layout = Layout(tmp_path)
    layout.blobs.mkdir(parents=True)
    descriptor = Descriptor.of(MANIFEST, b"{}")
    layout.blob(descriptor.digest).write_bytes(b"{}")
    assert read_part(layout, descriptor) == b"{}"
    layout.blob(descriptor.digest).write_bytes(b"[]")
    with pytest.raises(ImageError, match="damaged"):
        read_part(layout, descriptor)
