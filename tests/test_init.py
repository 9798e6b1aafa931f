"""Init: what it writes works as it is, and nothing that was there is lost."""

import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from datapack import catalog, init
from datapack.catalog import Catalog
from datapack.errors import UsageError
from datapack.reference import Reference
from datapack.sources import CocoSource, KaggleSource, LocalSource, UrlSource
from datapack.workspace import Workspace


def test_a_new_catalog_is_one(tmp_path):
    """The starter can be read and is valid by the schema; its one version is of a folder that is there."""
    written = init.init(tmp_path)
    assert written == [tmp_path / ".gitignore", tmp_path / "my-dataset/README.txt", tmp_path / "datasets.yml"]
    workspace = Workspace.find(tmp_path)
    entry = Catalog.read(workspace.catalog).entry(Reference("my-dataset", "v1"))
    assert entry.sources == (LocalSource(local="my-dataset"),)
    assert (tmp_path / "my-dataset").is_dir()
    assert entry.dataset.private
    jsonschema.validate(yaml.safe_load(workspace.catalog.read_text()), yaml.safe_load(catalog.json_schema()))


def test_every_example_in_the_comments_is_right(tmp_path):
    """A starter whose commented keys are all switched on is a catalog too: what people uncomment works."""
    init.init(tmp_path)
    path = tmp_path / "datasets.yml"
    path.write_text(re.sub(r"^( +)# ((?:  |- )?[a-z0-9]+: )", r"\1\2", path.read_text(), flags=re.MULTILINE))
    entry = Catalog.read(path).entry(Reference("my-dataset", "v1"))
    assert [type(source) for source in entry.sources] == [LocalSource, UrlSource, KaggleSource, CocoSource]
    assert entry.defaults.registry == "ghcr.io/your-namespace"
    assert all((entry.dataset.homepage, entry.dataset.publisher, entry.dataset.contact))


def test_a_catalog_that_is_there_is_not_touched(tmp_path):
    """A second call refuses, and changes nothing."""
    (tmp_path / "datasets.yml").write_text("mine")
    with pytest.raises(UsageError, match=r"datasets\.yml: there is a catalog here already; edit it"):
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
def test_gitignore_keeps_what_is_there(tmp_path, before, after):
    """Only what is not ignored yet is added, below what was there."""
    path = tmp_path / ".gitignore"
    if before is not None:
        path.write_text(before)
    assert (path in init.init(tmp_path)) == (before != after)
    assert path.read_text() == after


def test_git_ignores_what_datapack_leaves(tmp_path):
    """Git itself sees the catalog and the lock, and neither caches nor images nor half-made bags."""
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


def test_a_folder_of_ones_own_is_not_touched(tmp_path):
    """Where there is a folder of the example's name, it is used as it is."""
    (tmp_path / "my-dataset").mkdir()
    init.init(tmp_path)
    assert list((tmp_path / "my-dataset").iterdir()) == []


def test_a_new_folder_is_made(tmp_path):
    """A folder that is not there yet is made."""
    init.init(tmp_path / "new/one")
    assert Path(tmp_path / "new/one/datasets.yml").is_file()
