"""`datapack run --launch apptainer` without apptainer: what it refuses, each with one clear line."""

from __future__ import annotations

import csv

import pytest

from datapack.errors import ImageError, UsageError
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
