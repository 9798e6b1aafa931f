"""Init: the starter catalog works without edits, and no existing file is changed."""

import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from datapack.catalog import schema
from datapack.catalog import template as init
from datapack.catalog.model import Catalog
from datapack.catalog.sources import CocoSource, KaggleSource, LocalSource, UrlSource
from datapack.errors import CatalogError, UsageError
from datapack.reference import Reference
from datapack.workspace.folder import Workspace


def test_the_starter_catalog_is_valid(tmp_path):
    """The starter catalog loads and matches the schema; its only version uses a folder that exists."""
    written = init.init(tmp_path)
    assert written == [tmp_path / ".gitignore", tmp_path / "my-dataset/README.txt", tmp_path / "datasets.yml"]
    workspace = Workspace.find(tmp_path)
    entry = Catalog.read(workspace.catalog).entry(Reference("my-dataset", "v1"))
    assert entry.sources == (LocalSource(local="my-dataset"),)
    assert (tmp_path / "my-dataset").is_dir()
    assert entry.dataset.private
    jsonschema.validate(yaml.safe_load(workspace.catalog.read_text()), yaml.safe_load(schema.json_schema()))


def test_every_commented_example_is_valid(tmp_path):
    """With every commented key uncommented, the starter is still a valid catalog."""
    init.init(tmp_path)
    path = tmp_path / "datasets.yml"
    path.write_text(re.sub(r"^( +)# ((?:  |- )?[a-z0-9]+: )", r"\1\2", path.read_text(), flags=re.MULTILINE))
    entry = Catalog.read(path).entry(Reference("my-dataset", "v1"))
    assert [type(source) for source in entry.sources] == [LocalSource, UrlSource, KaggleSource, CocoSource]
    assert entry.defaults.registry == "ghcr.io/your-namespace"
    assert all((entry.dataset.homepage, entry.dataset.publisher, entry.dataset.contact))


def test_an_existing_catalog_is_not_changed(tmp_path):
    """A second call fails and changes nothing."""
    (tmp_path / "datasets.yml").write_text("mine")
    with pytest.raises(UsageError, match=r"datasets\.yml: a catalog already exists; edit it"):
        init.init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["datasets.yml"]
    assert (tmp_path / "datasets.yml").read_text() == "mine"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "/.datapack/\n/dist/\n*.failures.json\n*.partial/\n"),
        ("*.pyc\n", "*.pyc\n/.datapack/\n/dist/\n*.failures.json\n*.partial/\n"),
        ("*.pyc", "*.pyc\n/.datapack/\n/dist/\n*.failures.json\n*.partial/\n"),
        ("dist/\n# mine\n.datapack\n", "dist/\n# mine\n.datapack\n*.failures.json\n*.partial/\n"),
        ("/.datapack/\n/dist/\n*.failures.json\n*.partial/\n", "/.datapack/\n/dist/\n*.failures.json\n*.partial/\n"),
    ],
)
def test_gitignore_keeps_its_lines(tmp_path, before, after):
    """Only missing patterns are added, below the existing lines."""
    path = tmp_path / ".gitignore"
    if before is not None:
        path.write_text(before)
    assert (path in init.init(tmp_path)) == (before != after)
    assert path.read_text() == after


def test_gitignore_may_be_in_any_encoding(tmp_path):
    """Git reads bytes, so every byte of an existing line stays; what is no file is refused, and not waited for."""
    path = tmp_path / ".gitignore"
    path.write_bytes(b"gr\xf6\xdfe\n")
    init.init(tmp_path)
    assert path.read_bytes() == b"gr\xf6\xdfe\n/.datapack/\n/dist/\n*.failures.json\n*.partial/\n"
    other = tmp_path / "other"
    other.mkdir()
    os.mkfifo(other / ".gitignore")
    with pytest.raises(CatalogError, match=r"\.gitignore: not a regular file: found a FIFO"):
        init.init(other)


def test_git_ignores_what_datapack_writes(tmp_path):
    """Git tracks the catalog and the lock, but no caches, images or incomplete bags."""
    init.init(tmp_path)
    for name in (".datapack/hashes.sqlite", "dist/reef-v1/index.json", "data/reef/v1.partial/data/a", "datasets.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    seen = subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert seen.split() == [
        "??",
        ".gitignore",
        "??",
        "datasets.lock",
        "??",
        "datasets.yml",
        "??",
        "my-dataset/README.txt",
    ]


def test_an_existing_example_folder_is_not_changed(tmp_path):
    """If a folder with the example's name exists, init uses it unchanged."""
    (tmp_path / "my-dataset").mkdir()
    init.init(tmp_path)
    assert list((tmp_path / "my-dataset").iterdir()) == []


def test_a_missing_folder_is_created(tmp_path):
    """Init creates the folder if it does not exist."""
    init.init(tmp_path / "new/one")
    assert Path(tmp_path / "new/one/datasets.yml").is_file()
