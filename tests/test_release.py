"""What a release consists of: one version everywhere, a citation, and archives that anybody can make again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
import yaml

import datapack
import trainers
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path


def test_one_version_everywhere() -> None:
    """The two packages and the citation have the same version."""
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert len({datapack.__version__, trainers.__version__, cited["version"]}) == 1


def test_the_citation_follows_the_rules_of_its_format() -> None:
    """CITATION.cff 1.2.0: the required keys are there, no unknown one is, and dates and licence have their form."""
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    known = {"abstract", "date-released", "keywords", "license", "repository-code", "type", "url", "version"}
    required = {"authors", "cff-version", "message", "title"}
    assert required <= cited.keys() <= required | known
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", cited["date-released"])  # a string, as the format asks for
    assert cited["authors"]
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])
    assert f'license = "{cited["license"]}"' in (PROJECT / "pyproject.toml").read_text()
    assert all(isinstance(word, str) for word in cited["keywords"])


def test_the_security_page_names_no_address() -> None:
    """Reports go through GitHub's private form; the version that it supports is the one of the project."""
    text = (PROJECT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text
    assert not re.search(r"[\w.]+@[\w.]+", text)
    assert f"| {datapack.__version__.rpartition('.')[0]}.x | yes |" in text


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of the commit that is checked out."""
    pytest.importorskip("build.__main__")  # a folder `build` of the checkout is no package
    if not (PROJECT / ".git").exists():
        pytest.skip("not a clone")
    out = tmp_path_factory.mktemp("dist")
    command = [PROJECT / "scripts" / "dist.sh", out, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_wheel_has_all_files_of_the_packages(archives: Path) -> None:
    """Every file of both packages that git knows is in the wheel, and nothing else besides what describes it."""
    (wheel,) = archives.glob("*.whl")
    known = subprocess.run(
        ["git", "ls-files", "datapack", "trainers"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name for name in known.stdout.split("\n") if name and (PROJECT / name).exists()}
    assert {"datapack/py.typed", "trainers/py.typed", "datapack/image/import-json.sh"} <= names


@pytest.mark.slow
def test_the_source_archive_has_what_its_tests_need(archives: Path) -> None:
    """It has the tests, what they read, and the license."""
    (source,) = archives.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2].partition("/")[0] for name in archive.getnames()}
    assert {"tests", "docs", "docker", "examples", "scripts", "benchmarks", "datasets.yml", "LICENSE"} <= names


@pytest.mark.slow
def test_types_are_seen_from_outside(archives: Path, tmp_path: Path) -> None:
    """mypy, as strict as it can be, takes the types of the wheel: the example is right, and wrong calls are found."""
    pytest.importorskip("mypy")
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "right.py").write_text((PROJECT / "examples" / "notebook.py").read_text())
    (tmp_path / "wrong.py").write_text(
        'import datapack\ndatapack.fetch(1)\ndatapack.build("reef@v1", targt="oci:x")\ndatapack.fetch("reef@v1").size\n'
    )
    # Without the types of other packages, which the API does not show: to read them takes a minute.
    check = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-site-packages"]
    environment = {"PATH": os.environ["PATH"], "MYPYPATH": str(tmp_path / "site"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*check, "right.py", "wrong.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert 'wrong.py:2: error: Argument 1 to "fetch" has incompatible type "int"' in done.stdout
    assert 'wrong.py:3: error: Unexpected keyword argument "targt"' in done.stdout
    assert 'wrong.py:4: error: "Fetched" has no attribute "size"' in done.stdout
    assert "right.py" not in done.stdout
