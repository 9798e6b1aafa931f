"""The image reader: what it reads from each storage, and what it rejects."""

from __future__ import annotations

import io
import json
import pickle
import tarfile

import pytest

from datapack.errors import ImageError
from datapack.oci.archive import Archive
from datapack.oci.image import READABLE_AT_ONCE, Platform, read_image, read_json, read_part
from datapack.oci.layout import Layout
from datapack.oci.spec import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, canonical_json
from tests.conftest import make_base

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def layout(tmp_path) -> Layout:
    """A layout with an image for linux/amd64."""
    make_base(tmp_path / "image", "a label")
    return Layout(tmp_path / "image")


def put(layout: Layout, media_type: str, value: object) -> Descriptor:
    """Write a JSON part into a layout."""
    content = canonical_json(value)
    descriptor = Descriptor.of(media_type, content)
    layout.blob(descriptor.digest).write_bytes(content)
    return descriptor


def put_index(layout: Layout, *entries: object) -> Descriptor:
    return put(layout, INDEX, {"schemaVersion": 2, "manifests": list(entries)})


def pack(layout: Layout, leave_out: str = "") -> Archive:
    """Make an archive of a layout, without the blob of this digest."""
    path = layout.root.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(
            layout.root, "", filter=lambda member: None if leave_out and leave_out[7:] in member.name else member
        )
    return Archive.find(path)


@pytest.mark.parametrize("storage", ["layout", "archive"])
def test_an_image_is_read_from_any_storage(layout, storage):
    """Its manifest, config and layers, and every JSON part as it was read."""
    stored = layout if storage == "layout" else pack(layout)
    root = stored.image()
    image = read_image(stored, root, "a test", AMD64)
    assert image.descriptor == root
    assert image.labels == {"base": "a label"}
    assert image.environment == ["PATH=/bin"]
    assert image.annotations == {}
    (layer,) = image.layers
    assert layer.media_type == LAYER
    with stored.open(layer) as file, tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == ["etc/motd"]
    assert [descriptor.media_type for descriptor in image.documents] == [MANIFEST, CONFIG]
    assert all(Descriptor.of(part.media_type, content) == part for part, content in image.documents.items())


@pytest.mark.parametrize("storage", ["layout", "archive"])
def test_a_storage_can_be_pickled(layout, storage):
    """It says where an image is and holds nothing open, so another process can read the same image."""
    stored = layout if storage == "layout" else pack(layout)
    other = pickle.loads(pickle.dumps(stored))
    assert read_image(other, other.image(), "a test") == read_image(stored, stored.image(), "a test")


def test_an_index_leads_to_the_image_of_a_platform(layout):
    """Entries of other platforms, and those that name none, are skipped; an index may lead to another."""
    image = layout.image()
    ours = {**image.to_json(), "platform": {"os": "linux", "architecture": "amd64"}}
    other = {**ours, "digest": f"sha256:{'1' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
    inner = put_index(layout, {**other, "platform": None}, {"digest": "?"}, "?", other, ours)
    outer = put_index(layout, {**inner.to_json(), "platform": ours["platform"]})
    found = read_image(layout, outer, "a test", AMD64)
    assert found.descriptor == image
    assert list(found.documents)[:3] == [outer, inner, image]
    with pytest.raises(ImageError, match="a test: no image for linux/riscv64"):
        read_image(layout, outer, "a test", Platform("linux", "riscv64"))


def test_an_index_without_a_platform_to_select_is_refused(layout):
    """Nothing guesses which of several images is meant."""
    index = put_index(layout, layout.image().to_json())
    with pytest.raises(ImageError, match="a test: not the manifest of one image: found an index of several images"):
        read_image(layout, index, "a test")


def test_the_config_must_be_for_the_platform_too(layout):
    """An index may be wrong about an image."""
    make_base(layout.root, "an Arm", "arm64")
    index = put_index(layout, {**layout.image().to_json(), "platform": {"os": "linux", "architecture": "amd64"}})
    with pytest.raises(ImageError, match="a test: no image for linux/amd64: found linux/arm64"):
        read_image(layout, index, "a test", AMD64)


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        ([], "expected a JSON object"),
        ({}, "not the manifest of one image: found no layers"),
        ({"config": {}, "layers": None}, "not the manifest of one image"),
        ({"config": {}, "layers": []}, "not an OCI descriptor"),
        ({"mediaType": "a/signature", "layers": []}, "not the manifest of one image: found a/signature"),
        ({"manifests": 7}, "no image for linux/amd64"),
    ],
)
def test_what_is_no_manifest(layout, manifest, line):
    """Each is one clear line."""
    root = put(layout, MANIFEST, manifest)
    with pytest.raises(ImageError, match=line):
        read_image(layout, root, "a test", AMD64)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"manifests":' * 200_000, b"\xff", b"9" * 5000, b"NaN", b'{"size": 1e999}'],
    ids=["lists", "objects", "not UTF-8", "digits", "NaN", "infinity"],
)
def test_json_that_python_can_not_read(layout, content):
    """However deep or odd, it is one clear line."""
    root = Descriptor.of(MANIFEST, content)
    layout.blob(root.digest).write_bytes(content)
    with pytest.raises(ImageError, match=r"not (a part of an image|the manifest of one image)"):
        read_image(layout, root, "a test", AMD64)


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", [], [1], [[]], {"a": []}])
@pytest.mark.parametrize("key", ["mediaType", "digest", "size"])
def test_what_is_no_descriptor(layout, key, value):
    """A value of the wrong type in a descriptor is one clear line."""
    entry = {**layout.image().to_json(), key: value}
    if (key, value) == ("mediaType", "text") or (key, value) == ("size", 7):
        assert Descriptor.parse(entry, "a test").to_json() == entry
    else:
        with pytest.raises(ImageError, match="a test: not an OCI descriptor with a media type, a sha256 digest and a"):
            Descriptor.parse(entry, "a test")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("annotations", {"a": 1}),
        ("annotations", ["a"]),
        ("config", []),
        ("config.Labels", ["a"]),
        ("config.Labels", {"a": {}}),
        ("config.Env", "A=1"),
        ("config.Env", [1]),
        ("rootfs.diff_ids", None),
        ("rootfs.diff_ids", {}),
        ("history", 7),
        ("history", [7]),
        ("history", [{"created_by": []}]),
        ("config.WorkingDir", 7),
        ("rootfs.diff_ids", ["x"]),
    ],
)
def test_a_value_of_the_wrong_type(layout, place, value):
    """Any JSON may have the right digest: what is read from an image later has the type that OCI gives it."""
    manifest = read_json(layout, layout.image())
    config = read_json(layout, Descriptor.parse(manifest["config"], "a test"))
    outer, _, inner = place.partition(".")
    changed = manifest if outer == "annotations" else config
    changed[outer] = {**changed[outer], inner: value} if inner else value
    root = put(layout, MANIFEST, {**manifest, "config": put(layout, CONFIG, config).to_json()})
    with pytest.raises(ImageError, match=f"a test: not an image: a value has the wrong type: found {place}$"):
        read_image(layout, root, "a test", AMD64)


@pytest.mark.parametrize(("key", "value"), [("architecture", None), ("os", 7)])
def test_an_image_for_no_machine(layout, key, value):
    """So has what says for which machines it is, whether anyone asks for them or not."""
    manifest = read_json(layout, layout.image())
    config = {**read_json(layout, Descriptor.parse(manifest["config"], "a test")), key: value}
    root = put(layout, MANIFEST, {**manifest, "config": put(layout, CONFIG, config).to_json()})
    with pytest.raises(ImageError, match=f"a test: not an image: a value has the wrong type: found {key}$"):
        read_image(layout, root, "a test")
    with pytest.raises(ImageError, match="a test: no image for linux/amd64: found "):
        read_image(layout, root, "a test", AMD64)


def test_values_that_an_image_need_not_have(layout):
    """Null means none, as some programs write it."""
    manifest = read_json(layout, layout.image())
    config = read_json(layout, Descriptor.parse(manifest["config"], "a test"))
    config |= {"config": None, "history": None}
    changed = {**manifest, "config": put(layout, CONFIG, config).to_json(), "annotations": None}
    image = read_image(layout, put(layout, MANIFEST, changed), "a test", AMD64)
    assert (image.labels, image.environment, image.annotations) == ({}, [], {})


def test_endless_indexes_are_refused(layout):
    """A chain of indexes ends before Python's stack does."""
    entry = {**layout.image().to_json(), "platform": {"os": "linux", "architecture": "amd64"}}
    for _ in range(8):
        entry = {**entry, **put_index(layout, entry).to_json()}
    assert read_image(layout, Descriptor.parse(entry, ""), "a test", AMD64).descriptor == layout.image()
    last = put_index(layout, entry)
    with pytest.raises(ImageError, match="a test: too many nested indexes: expected at most 8"):
        read_image(layout, last, "a test", AMD64)


@pytest.mark.parametrize("storage", ["layout", "archive"])
def test_a_missing_part_is_named(layout, storage):
    """The error says which file or which digest is missing."""
    config = Descriptor.parse(read_json(layout, layout.image())["config"], "a test")
    stored = pack(layout, leave_out=config.digest) if storage == "archive" else layout
    layout.blob(config.digest).unlink()
    assert stored.size(config) is None
    with pytest.raises(ImageError, match=config.digest[7:]):
        read_image(stored, stored.image(), "a test")


def test_a_part_is_as_large_as_its_descriptor_says(layout):
    """Fewer or more bytes are damage, even if the digest is right; nothing larger than the limit is read."""
    part = put(layout, CONFIG, {"a": "part"})
    assert read_part(layout, part) == b'{"a":"part"}'
    for size, found in ((part.size - 1, "more"), (part.size + 1, f"{part.size} bytes")):
        with pytest.raises(ImageError, match=f"damaged: wrong size: expected {size} bytes, found {found}"):
            read_part(layout, Descriptor(CONFIG, part.digest, size))
    with pytest.raises(ImageError, match="this part of the image is too large: expected at most 4"):
        read_part(layout, Descriptor(CONFIG, part.digest, READABLE_AT_ONCE + 1))


@pytest.mark.parametrize("content", [b"another part", b"a par", b"a part and more"])
def test_a_layout_takes_only_the_right_bytes(layout, content):
    """A blob gets its name once its bytes have its digest; damaged ones leave nothing behind."""
    part = Descriptor.of(LAYER, b"a part")
    before = sorted(layout.blobs.iterdir())
    with pytest.raises(ImageError, match=f"the source: damaged: .* expected {part.digest}, 6 bytes, found "):
        layout.add(part, io.BytesIO(content), "the source")
    assert sorted(layout.blobs.iterdir()) == before
    layout.add(part, io.BytesIO(b"a part"), "the source")
    assert layout.blob(part.digest).read_bytes() == b"a part"


@pytest.mark.parametrize("index", [None, b"", b"[]", b"{", b'{"manifests": {}}', b'{"manifests": [1, 2]}'])
def test_what_is_no_layout(layout, index):
    """A folder or an archive without an index of exactly one image is one clear line."""
    layout.index.unlink()
    if index is not None:
        layout.index.write_bytes(index)
    for storage in (layout, pack(layout)):
        with pytest.raises(ImageError, match=r"^\S*image(/index.json|.tar): "):
            storage.image()


def test_what_is_no_archive(tmp_path):
    """A compressed archive, or any other file, is one clear line."""
    path = tmp_path / "file"
    path.write_text(json.dumps({}))
    with pytest.raises(ImageError, match="file: not an archive: expected an uncompressed tar file"):
        Archive.find(path)
