"""What an import left in the outputs: verified against the dataset that the image names."""

from __future__ import annotations

import hashlib
import os

import pytest

from datapack.bag.bagit import write_tags
from datapack.bag.listing import list_payload
from datapack.bag.manifest import Manifest
from datapack.errors import MismatchError
from datapack.progress import Silent
from datapack.rehearse.arrival import imports_nothing, list_files, verify_arrival
from datapack.rehearse.subject import Dataset
from tests.workplace import REFERENCE


@pytest.fixture
def arrived(tmp_path):
    """The outputs of a correct import, and the dataset that the image names."""
    outputs = tmp_path / "outputs"
    bag = outputs / "reef" / "v1"
    (bag / "data").mkdir(parents=True)
    (bag / "data" / "z").write_bytes(b"z")
    manifest = Manifest.of({"data/z": hashlib.sha256(b"z").hexdigest()})
    write_tags(bag, manifest, list_payload(bag), {"External-Identifier": "reef@v1"}, {})
    (outputs / "reef" / "v1.import.txt").write_text(f"files 1\nIMPORT OK reef@v1 {manifest.digest}\n")
    return outputs, Dataset(REFERENCE, manifest.digest)


def test_the_import_is_found_where_it_was_sent(arrived):
    """`--to` may name a path below any mounted folder; the last one counts."""
    outputs, dataset = arrived
    for arguments, mounts in (
        ((), {"/safe_outputs": outputs}),
        (("--to", "/x", "--to", "/safe_data/"), {"/safe_data": outputs}),
        (("--to", "/safe_outputs/below"), {"/safe_outputs": outputs.parent, "/safe_outputs/below": outputs}),
        (("--to", f"/up/{outputs.name}"), {"/up": outputs.parent}),
    ):
        found = verify_arrival(dataset, arguments, mounts, Silent())
        assert (found.verified.scope, found.verified.digest) == ("full", dataset.digest)
    with pytest.raises(MismatchError, match="no folder of this machine was mounted at /elsewhere"):
        verify_arrival(dataset, ("--to", "/elsewhere"), {"/safe_outputs": outputs}, Silent())


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("reef/v1/data/z", b"Z", "1 changed"),
        ("reef/v1/data/extra", b"", "1 extra"),
        ("reef/v1/data/z", None, "1 missing"),
        ("reef/v1/bag-info.txt", b"", "not as datapack would have made it: found 1 problem"),
        ("reef/v1/manifest-sha256.txt", b"", "the bag is empty: its manifest names no file"),
        ("reef/v1/tagmanifest-sha256.txt", None, "tagmanifest-sha256.txt: can't read the file"),
        ("reef/v1.import.txt", b"IMPORT FAILED: stopped\n", "found IMPORT FAILED: stopped"),
        ("reef/v1.import.txt", None, "found no receipt"),
    ],
)
def test_any_difference_is_a_mismatch(arrived, path, content, problem):
    """Whatever is wrong with what arrived, datapack ends with status 3."""
    outputs, dataset = arrived
    (outputs / path).unlink(missing_ok=True)
    if content is not None:
        (outputs / path).write_bytes(content)
    with pytest.raises(MismatchError) as error:
        verify_arrival(dataset, (), {"/safe_outputs": outputs}, Silent())
    assert problem in str(error.value)
    assert error.value.exit_code == 3


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "link"])
def test_a_receipt_that_is_no_file_is_a_mismatch(arrived, kind):
    """A container wrote it: a FIFO is not waited for, and a link is not followed, whatever it leads to."""
    outputs, dataset = arrived
    path = outputs / "reef" / "v1.import.txt"
    path.rename(outputs / "moved")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outputs / "moved" if kind == "link" else kind)
    with pytest.raises(MismatchError, match=r"v1\.import\.txt: not a regular file: found a (FIFO|link)"):
        verify_arrival(dataset, (), {"/safe_outputs": outputs}, Silent())


def test_another_dataset_is_a_mismatch(arrived):
    """An intact bag of another dataset than the image names is refused."""
    outputs, _ = arrived
    with pytest.raises(MismatchError, match="this is not the dataset that the image names: expected sha256:0000"):
        verify_arrival(Dataset(REFERENCE, f"sha256:{'0' * 64}"), (), {"/safe_outputs": outputs}, Silent())


def test_arguments_that_import_nothing():
    """Only with --list and --help is an import expected to copy nothing."""
    assert imports_nothing(["--list"])
    assert imports_nothing(["--jobs", "1", "--help"])
    assert not imports_nothing([])
    assert not imports_nothing(["--check"])


def test_files_are_listed(tmp_path):
    """Every file is listed by its path with its size, links as links."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "b").write_bytes(b"123")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    assert list_files(tmp_path) == [("a", 0), ("link", len("nowhere")), ("run/b", 3)]
