"""The index of a layout: which of its entries is the image."""

from __future__ import annotations

import json

import pytest

from datapack.errors import ImageError
from datapack.oci.archive import Archive
from datapack.oci.layout import Layout
from datapack.oci.spec import CONFIG, MANIFEST, Descriptor, canonical_json
from tests.conftest import make_base


def attach(layout: Layout, **values: object) -> None:
    """Add an entry to a layout's index that is attached to its image."""
    image = layout.image().to_json()
    manifest = {"config": {**image, "mediaType": CONFIG}, "layers": [], "x": len(values), **values}
    content = canonical_json(manifest)
    descriptor = Descriptor.of(str(values.get("mediaType", MANIFEST)), content)
    layout.blob(descriptor.digest).write_bytes(content)
    index = layout.read_index()
    index["manifests"].insert(0, descriptor.to_json())
    layout.index.write_text(json.dumps(index))


@pytest.mark.parametrize(
    "values",
    [
        {"subject": {"mediaType": "x"}},
        {"artifactType": "a/signature"},
        {"layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}]},
        {"config": {"mediaType": "application/vnd.oci.empty.v1+json"}},
        {"config": None},
        {"config": [], "layers": 7},
        {"manifests": []},
        {"manifests": [{"artifactType": "a/signature"}]},
        {"manifests": [{"artifactType": "a/signature"}], "subject": {}},
    ],
    ids=", ".join,
)
def test_what_is_attached_is_no_image(tmp_path, values):
    """An image is what has a config and layers of an image, and is not about another one."""
    make_base(tmp_path / "image")
    layout = Layout(tmp_path / "image")
    image = layout.image()
    attach(layout, **values)
    assert layout.image() == image


def test_an_unknown_tag_is_answered_with_the_known_ones(tmp_path):
    """At most five of them."""
    layout = Layout(tmp_path / "image", "none")
    make_base(layout.root)
    index = layout.read_index()
    (entry,) = index["manifests"]
    names = {"org.opencontainers.image.ref.name": "reef:v0"}
    layout.index.write_text(json.dumps(index | {"manifests": [entry | {"annotations": names}]}))
    with pytest.raises(ImageError, match=r"named 'none': expected 1 image, found 0; the tags here: 'reef:v0'$"):
        layout.image()
    tagged = [entry | {"annotations": {"org.opencontainers.image.ref.name": f"v{n}"}} for n in range(8)]
    layout.index.write_text(json.dumps(index | {"manifests": tagged}))
    with pytest.raises(ImageError, match=r"'v3', 'v4' and 3 more$"):
        layout.image()


def test_two_images_without_a_tag(tmp_path):
    """Nothing guesses."""
    layout = Layout(tmp_path / "image")
    make_base(layout.root)
    attach(layout, x=2)
    with pytest.raises(ImageError, match="not a layout of one image: expected 1 image, found 2; name one with its tag"):
        layout.image()


def test_the_same_image_under_two_tags(tmp_path):
    """It is one image."""
    layout = Layout(tmp_path / "image")
    make_base(layout.root)
    index = layout.read_index()
    layout.index.write_text(json.dumps({"manifests": index["manifests"] * 2}))
    assert layout.image() == Layout(tmp_path / "image").image()


def test_a_path_with_a_colon(tmp_path):
    """A path that exists comes before a tag."""
    make_base(tmp_path / "a:b")
    assert Layout.at(tmp_path, "a:b") == Layout(tmp_path / "a:b")
    assert Layout.at(tmp_path, "a:b:c:d") == Layout(tmp_path / "a:b", "c:d")
    assert Layout.at(tmp_path, "nothing:x") == Layout(tmp_path / "nothing:x")
    with pytest.raises(ImageError, match=r"nothing:x: can't read the file: found No such file"):
        Archive.at(tmp_path, "nothing:x")
