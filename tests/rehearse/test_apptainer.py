"""`datapack run --launch apptainer` without apptainer: what it refuses, each with one clear line."""

from __future__ import annotations

import csv

import pytest

from datapack.errors import ImageError, UsageError
from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from datapack.progress import Silent
from datapack.rehearse.apptainer import _mount, open_apptainer
from datapack.rehearse.log import Log
from datapack.rehearse.options import Options, Request
from datapack.rehearse.subject import find_stored


@pytest.mark.parametrize(
    ("option", "value"), [("strict", True), ("memory", "4g"), ("cores", 1.0), ("name", "x"), ("opt_file", "flags")]
)
def test_options_of_engines_are_refused(option, value):
    """What apptainer would ignore is an error that names the option."""
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}: apptainer can't do this; leave"):
        Request.read(Options(launch="apptainer", **{option: value}))


def test_without_apptainer(tmp_path, monkeypatch):
    """Without apptainer, the message says so before anything is built."""
    monkeypatch.setenv("PATH", str(tmp_path))
    request = Request.read(Options(launch="apptainer"))
    opening = open_apptainer("reef@v1", tmp_path, None, request, Log(None, None), Silent())
    with pytest.raises(ImageError, match="apptainer is not installed; install it, or rehearse in an engine"), opening:
        pass


@pytest.mark.parametrize("what", ["reef:v1", "docker://ghcr.io/x/reef:v1", "sha256:1234", "oci:", ""])
def test_an_image_that_is_not_on_disk(tmp_path, what):
    """An engine's or a registry's image is refused, with the forms that work."""
    with pytest.raises(UsageError, match=r"expected name@version, oci:DIR\[:TAG\] or oci-archive:FILE"):
        find_stored(what, tmp_path, None, None, Silent())


def test_any_folder_can_be_mounted(tmp_path):
    """A comma or a quotation mark in a path stays part of the path."""
    folder = tmp_path / 'a, "b": c'
    (parts,) = csv.reader([_mount(folder, "/safe_data", read_only=True)])
    assert parts == ["type=bind", f"source={folder}", "destination=/safe_data", "ro"]


@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_a_damaged_layer_is_not_run(built, form, position):
    """A layer whose bytes are not those of its digest is found first: apptainer would run them."""
    if form == "oci-archive":
        built.ok("build", "reef@v1", "--to", "oci-archive:reef.tar")
    layout = Layout(built.root / "dist/reef-v1")
    blob = layout.blob(read_json(layout, layout.image())["layers"][position]["digest"])
    path, what = (blob, "oci:dist/reef-v1") if form == "oci" else (built.root / "reef.tar", "oci-archive:reef.tar")
    content, whole = blob.read_bytes(), path.read_bytes()
    changed = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    assert find_stored(what, built.root, None, None, Silent()).dataset
    path.chmod(0o644)
    path.write_bytes(whole.replace(content, changed))
    with pytest.raises(ImageError, match="damaged: the bytes do not match the digest: expected sha256:"):
        find_stored(what, built.root, None, None, Silent())
