"""The form of datapack's layers: what is written is read back without a complaint, whatever its names and sizes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.bag.bagit import PayloadFile
from datapack.bag.manifest import check_path
from datapack.errors import ManifestError
from datapack.image.form import LayerForm
from datapack.image.layers import END, FILE_MODE, Layer, LayerContent, Member, data_layers, tag_layer, tree
from datapack.oci.blob import Blob
from datapack.oci.tar import TarReader

FOLDER = "dataset/reef"


def allowed(path: str) -> bool:
    try:
        return bool(check_path(path))
    except ManifestError:
        return False


PART = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=60)
PATHS = st.lists(PART, min_size=1, max_size=6).map(lambda parts: "/".join(["data", *parts])).filter(allowed)


def written(layer: Layer) -> bytes:
    out = io.BytesIO()
    Blob(layer.media_type, layer.size, "", LayerContent(layer)).write(out)
    return out.getvalue()


def read(content: bytes, part: str = "data") -> tuple[dict[str, int], list[str]]:
    """Read a layer back: the size of each file, and what is wrong."""
    form, archive, found = LayerForm(part, FOLDER), TarReader(io.BytesIO(content), len(content)), {}
    for path, entry in form.files(archive):
        found[path] = len(b"".join(archive.content(entry)))
        form.check_padding(archive, entry)
    return found, form.problems


@given(st.dictionaries(PATHS, st.binary(max_size=700), min_size=1, max_size=8))
def test_what_datapack_writes_is_read_back(files):
    """Names of any length and alphabet, contents of any size."""
    names = {path for path in files if not any(other.startswith(f"{path}/") for other in files)}
    members = [Member(f"{FOLDER}/{path}", FILE_MODE, len(files[path]), "", files[path]) for path in names]
    content = b"".join(
        b"".join([member.header(), member.source or b"", bytes(member.padding)]) for member in tree(members)
    )
    assert read(content + END) == ({path: len(files[path]) for path in names}, [])


def test_tag_files_are_read_back():
    """So is the layer with the tag files, but not as one with data."""
    content = written(tag_layer({"bagit.txt": b"x", "bag-info.txt": b""}, FOLDER))
    assert read(content, "tags") == ({"bagit.txt": 1, "bag-info.txt": 0}, [])
    assert len(read(content, "data")[1]) == 3


@pytest.mark.parametrize("size", [(8 << 30) - 1, 8 << 30, 9 << 30])
def test_a_huge_file_is_read_back(tmp_path, size):
    """A size that no plain header holds is in a record, as datapack writes it. The file is sparse on disk."""
    (layer,) = data_layers([[PayloadFile("data/huge", size, "")]], Path(), FOLDER)
    path = tmp_path / "layer"
    with path.open("wb") as file:
        for member in layer.members:
            file.write(member.header())
        file.truncate(layer.size)
    with path.open("rb") as file:
        form, archive = LayerForm("data", FOLDER), TarReader(file, layer.size, file.seek)
        assert [(name, entry.size) for name, entry in form.files(archive)] == [("data/huge", size)]
    assert form.problems == []
