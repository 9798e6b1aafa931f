"""`datapack run` before an engine is asked: what it can run, and wrong input as one clear line."""

from __future__ import annotations

from functools import partial

import pytest

from datapack.errors import ImageError, UsageError
from datapack.progress import Silent
from datapack.rehearse.subject import find_stored, find_subject
from datapack.workspace.folder import Workspace


@pytest.mark.parametrize("what", ["oci:dist/reef-v1", "oci-archive:reef.tar"])
def test_an_image_on_disk_is_for_apptainer(what):
    """The error says how to rehearse it; no engine is asked."""
    with pytest.raises(UsageError, match=r"an engine runs no image on disk; rehearse its name@version, .* apptainer"):
        find_subject(None, what, None, None, Silent())


def test_only_a_version_of_the_catalog_is_to_be_built(catalog):
    """The error for a version that does not exist is that of `build`; for another, it names the command."""
    workspace = Workspace(catalog.root)
    for launch in (partial(find_subject, None), partial(find_stored, folder=catalog.root)):
        find = partial(launch, workspace=workspace, base=None, reporter=Silent())
        with pytest.raises(UsageError, match="reef has no version v9: expected one of reef@v1"):
            find(what="reef@v9")
        with pytest.raises(ImageError, match="its image has not been built; build it first: 'datapack build reef@v1'"):
            find(what="reef@v1")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data", "missing"], "--data: no such folder: found "),
        (["--data", "datasets.yml"], "--data: no such folder: found "),
        (["--outputs", "source"], "source: the folder for the outputs is not empty; name another with --outputs"),
        (["--outputs", "datasets.yml"], "--outputs: not a folder: found "),
        (["--memory", "lots"], "--memory: not an amount of memory: expected a number of bytes with"),
        (["--cores", "0"], "--cores: wrong value: expected a number of cores, such as 2 or 0.5, found 0.0"),
        (["--env-file", "missing"], "missing: can't read the file: found No such file"),
        (["--arg-file", "missing"], "missing: can't read the file: found No such file"),
        (["--opt-file", "datasets.yml"], "datasets.yml:1: not a flag: "),
        (["--launch", "podman", "--outputs", "x"], "--launch podman: no folder for outputs is mounted"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_done(catalog, arguments, line):
    """Wrong input ends with status 2 before an engine is contacted."""
    catalog.env["DOCKER_HOST"] = f"unix://{catalog.root}/nobody.sock"
    assert line in catalog.fails("run", "reef@v1", *arguments, status=2)
    assert not (catalog.root / "dist").exists()


def test_no_engine_is_one_line(catalog):
    """Without an engine, the error names the socket and what to start."""
    catalog.env["DOCKER_HOST"] = f"unix://{catalog.root}/nobody.sock"
    assert "nobody.sock: no container engine answers; start Docker, or 'podman" in catalog.fails("run", "reef@v1")
