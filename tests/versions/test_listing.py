"""The listing: the state of each version, and the table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from datapack.catalog.lock import Lock, LockedImage, LockEntry
from datapack.catalog.model import Catalog
from datapack.reference import Reference
from datapack.versions.listing import WIDTH, Row, rows, table
from datapack.workspace.folder import Workspace

REEF = Reference("reef", "v1")
A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
FETCHED = LockEntry(digest=A, bytes=2_640_873, files=73)
CATALOG = f"""\
defaults: {{base: "docker.io/library/alpine:3.22@{A}"}}
datasets:
  reef:
    title: Drawn animals
    licence: CC0-1.0
    private: true
    versions: {{v1: {{sources: [{{local: a}}]}}}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "datasets.yml").write_text(CATALOG)
    return Workspace(tmp_path)


def look(workspace: Workspace, entry: LockEntry | None) -> Row:
    """The row of the only version, with this entry in the lock."""
    (row,) = rows(workspace, Catalog.read(workspace.catalog), Lock({REEF: entry} if entry else {}))
    return row


def make_layout(workspace: Workspace, digest: str) -> None:
    """Make the part of a layout that the listing reads: its index."""
    folder = workspace.dist(REEF)
    folder.mkdir(parents=True)
    image = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))


def test_version_before_the_first_fetch(workspace):
    """A version that was never fetched has only its title and licence."""
    assert look(workspace, None) == Row(REEF, "Drawn animals", "CC0-1.0", True, False, False, "")


def test_fetched_and_versioned_version(workspace):
    """The bag and the pointer are found by name; sizes and digest come from the lock."""
    workspace.bag(REEF).mkdir(parents=True)
    workspace.pointer(REEF).touch()
    assert look(workspace, FETCHED) == Row(
        REEF,
        "Drawn animals",
        "CC0-1.0",
        True,
        fetched=True,
        versioned=True,
        built="",
        files=73,
        bytes=2_640_873,
        digest=A,
    )


def test_fresh_clone_has_only_the_pointer(workspace):
    """After a git clone, the version is versioned but not fetched, and its image is elsewhere."""
    workspace.pointer(REEF).parent.mkdir(parents=True)
    workspace.pointer(REEF).touch()
    row = look(workspace, replace(FETCHED, images=(LockedImage(B, B, ()),)))
    assert (row.fetched, row.versioned, row.built) == (False, True, "elsewhere")


@pytest.mark.parametrize(("image", "built"), [(A, "here"), (B, "elsewhere"), (None, "")])
def test_image_counts_only_if_it_is_in_the_lock(workspace, image, built):
    """A layout with another image does not count as this version's image."""
    make_layout(workspace, A)
    assert look(workspace, replace(FETCHED, images=(LockedImage(image, image, ()),) if image else ())).built == built


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"manifests": [{}]}', '{"manifests": [1, 2]}'])
def test_damaged_layout_is_not_an_image(workspace, content):
    """The listing does not fail if a layout can't be read."""
    make_layout(workspace, A)
    (workspace.dist(REEF) / "index.json").write_text(content)
    assert look(workspace, replace(FETCHED, images=(LockedImage(A, A, ()),))).built == "elsewhere"


FATHOM = Row(
    reference=Reference("fathom24", "v1"),
    title="FathomNet 2024: animals of the deep sea",
    licence="CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0",
    private=True,
    fetched=True,
    versioned=True,
    built="elsewhere",
    files=10_746,
    bytes=22_400_000_000,
    digest=f"sha256:0123456789abcdef{'0' * 48}",
)


def test_table_format():
    """A golden table: numbers are right-aligned; each version has a line of values and a line with its title."""
    assert table([FATHOM, Row(REEF, "Drawn animals", "CC0-1.0", False, False, False, "")]).splitlines() == [
        "VERSION      FETCHED  VERSIONED  BUILT       FILES     SIZE  DATASET DIGEST       ACCESS",
        "fathom24@v1  yes      yes        elsewhere  10,746  22.4 GB  sha256:0123456789ab  private",
        "  FathomNet 2024: animals of the deep sea (CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0)",
        "reef@v1      -        -          -               -        -  -                    public",
        "  Drawn animals (CC0-1.0)",
    ]


def test_long_title_is_shortened_but_the_licence_is_not():
    """No line is wider than 100 columns."""
    lines = table([replace(FATHOM, title="A very long title " * 20)]).splitlines()
    assert max(map(len, lines)) == WIDTH == 100
    assert lines[-1].endswith("... (CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0)")


def test_long_reference_keeps_the_table_aligned():
    """A long reference widens its column in all lines."""
    lines = table([FATHOM, replace(FATHOM, reference=Reference("a-rather-long-name", "2026-01-01"))]).splitlines()
    assert len({line.index("sha256:") for line in lines if "sha256:" in line}) == 1
