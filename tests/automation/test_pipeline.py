"""`datapack init --ci`: what it writes is valid, safe, and never replaces a file; what its scripts do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from datapack import __version__
from datapack.automation.files import SERVICES, pipeline, write_pipeline
from datapack.automation.visibility import check_visibility
from datapack.catalog.model import Dataset
from datapack.cli.commands import init
from datapack.errors import UsageError
from tests.conftest import PROJECT, Catalog

PROGRAMS = Path(sys.executable).parent
SCHEMAS = {".gitlab-ci.yml": "vendor.gitlab-ci", "renovate.json": "vendor.renovate"}


def succeed(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_valid(service: str, tmp_path: Path) -> None:
    """The services' own schemas and linters find nothing in what is written, and no word is left to fill in."""
    write_pipeline(tmp_path, service)
    for name in {".github/workflows/datasets.yml", *SCHEMAS} & pipeline(service).keys():
        schema = SCHEMAS.get(name, "vendor.github-workflows")
        succeed(PROGRAMS / "check-jsonschema", "--builtin-schema", schema, name, cwd=tmp_path)
    for name, text in pipeline(service).items():
        assert not re.search(r"@[A-Z]+@", text), name
    assert f"\ndatapack=={__version__}\n" in pipeline(service)["ci/requirements.txt"]
    if shutil.which("shellcheck"):
        succeed("shellcheck", "ci/review.sh", "ci/release.sh", cwd=tmp_path)


def test_the_projects_own_renovate_configuration_is_valid() -> None:
    """Renovate's schema finds nothing, and each pattern of it finds what it is for."""
    succeed(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.renovate", "renovate.json", cwd=PROJECT)
    for manager in json.loads((PROJECT / "renovate.json").read_text())["customManagers"]:
        (pattern,) = (pattern.replace("(?<", "(?P<") for pattern in manager["matchStrings"])
        files = [path[2:-2].replace("\\", "") for path in manager["managerFilePatterns"]]
        for path in files:
            assert re.search(pattern, (PROJECT / path).read_text()), path


def test_githubs_linters_find_nothing(tmp_path: Path) -> None:
    """zizmor at its strictest and actionlint are clean for the workflow of a dataset repository."""
    write_pipeline(tmp_path, "github")
    succeed("git", "init", "--quiet", ".", cwd=tmp_path)
    succeed(PROGRAMS / "zizmor", "--offline", "--quiet", "--persona", "auditor", ".github", cwd=tmp_path)
    succeed(PROGRAMS / "actionlint", cwd=tmp_path)


def test_a_review_has_no_secret_and_no_right() -> None:
    """The job of a pull request, and of a merge request, names no secret; on GitHub it may only read."""
    github = yaml.safe_load(pipeline("github")[".github/workflows/datasets.yml"])
    review = github["jobs"]["review"]
    assert github["permissions"] == {}
    assert review["permissions"] == {"contents": "read"}
    assert "secrets." not in json.dumps(review)
    assert "pull_request_target" not in github[True]
    signing = [name for name, job in github["jobs"].items() if "id-token" in job["permissions"]]
    assert signing == ["attest"]
    assert all("${{" not in step.get("run", "") for job in github["jobs"].values() for step in job["steps"])
    gitlab = yaml.safe_load(pipeline("gitlab")[".gitlab-ci.yml"])
    assert "include" not in gitlab
    assert "CI_REGISTRY" not in json.dumps([gitlab["review"], gitlab["default"]])
    assert "docker" not in json.dumps([gitlab["default"]["before_script"], gitlab["build-image"]["script"]])


def test_both_use_the_actions_and_the_scanner_of_this_project() -> None:
    """What a dataset repository runs is pinned to what this project runs itself."""
    ours = (PROJECT / ".github" / "workflows" / "image.yml").read_text()
    used = re.findall(r"uses: (\S+ # \S+)", pipeline("github")[".github/workflows/datasets.yml"])
    assert len(used) > 2
    assert all(action in ours for action in used)
    pins = [
        re.findall("==.*|sha256:.*", text)
        for text in (pipeline("github")["ci/trivy.txt"], (PROJECT / "scripts/trivy.txt").read_text())
    ]
    assert pins[0] == pins[1]


def test_no_file_is_replaced(tmp_path: Path) -> None:
    """A file with another text stays, and nothing else is written; one with the same text is no obstacle."""
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "release.sh").write_text("mine\n")
    with pytest.raises(UsageError, match=r"ci/release\.sh: a file of this name is there already, with another text"):
        write_pipeline(tmp_path, "github")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["release.sh"]
    (tmp_path / "ci" / "release.sh").unlink()
    assert len(write_pipeline(tmp_path, "github")) == 6
    assert write_pipeline(tmp_path, "github") == []
    assert write_pipeline(tmp_path, "gitlab") == [tmp_path / ".gitlab-ci.yml"]
    (tmp_path / "renovate.json").unlink()
    (tmp_path / "renovate.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"renovate\.json: a file of this name is there already"):
        write_pipeline(tmp_path, "gitlab")


def test_the_command_starts_a_catalog_only_where_there_is_none(tmp_path: Path, catalog: Catalog) -> None:
    """`init --ci` writes both into an empty folder, and only the pipeline beside a catalog."""
    before = (catalog.root / "datasets.yml").read_bytes()
    assert "datasets.yml" not in catalog.ok("init", "--ci", "gitlab").replace("/.github/workflows/datasets.yml", "")
    assert (catalog.root / "datasets.yml").read_bytes() == before
    assert "the pipeline is there already" in catalog.ok("init", "--ci", "gitlab")
    written = json.loads(catalog.ok("init", "--ci", "github", str(tmp_path / "new"), "--json"))
    assert {Path(path).name for path in written["written"]} >= {"datasets.yml", "review.sh", "renovate.json"}
    assert "expected github, gitlab, found 'jenkins'" in catalog.fails("init", "--ci", "jenkins", status=2)
    assert init.SERVICES == SERVICES


@pytest.mark.parametrize(
    ("visibility", "private", "refused"),
    [
        ("private", True, ""),
        ("internal", True, "an internal one"),
        ("public", True, "a public one"),
        ("public", False, ""),
        ("", False, "no such visibility"),
        ("Private", True, "no such visibility"),
    ],
)
def test_private_data_needs_a_private_repository(visibility: str, private: bool, refused: str) -> None:
    """Private data is refused in any repository that is not private, and an unknown visibility always."""
    dataset = a_dataset("CC0-1.0", private=private)
    if not refused:
        check_visibility(visibility, "reef", dataset)
        return
    with pytest.raises(UsageError, match=refused):
        check_visibility(visibility, "reef", dataset)


def a_dataset(licence: str, **said: bool) -> Dataset:
    version = {"sources": [{"local": "files"}]}
    return Dataset.model_validate({"title": "Reef", "licence": licence, "versions": {"v1": version}, **said})


CLOSED = ("CC-BY-NC-ND-4.0", "CC-BY-NC-4.0", "CC-BY-4.0 AND CC-BY-NC-SA-4.0", "All rights reserved", "LicenseRef-Lab")
OPEN = ("CC-BY-4.0", "CC0-1.0", "CC-BY-SA-3.0 AND MIT", "ODbL-1.0", "OGL-UK-3.0", "AGPL-3.0-or-later", "BSD-3-Clause")


@pytest.mark.parametrize("licence", CLOSED)
def test_a_licence_that_not_everybody_has_needs_a_decision(licence: str) -> None:
    """A public job refuses such data unless the catalog says ``private: false``."""
    check_visibility("private", "reef", a_dataset(licence))
    check_visibility("public", "reef", a_dataset(licence, private=False))
    for visibility in ("internal", "public"):
        with pytest.raises(UsageError, match="nobody has said that they may") as caught:
            check_visibility(visibility, "reef", a_dataset(licence))
        assert licence in str(caught.value)
        assert "'private: false' if the licence allows it" in str(caught.value)


@pytest.mark.parametrize("licence", OPEN)
def test_an_open_licence_asks_nothing(licence: str) -> None:
    """Nobody has to say that data is public whose licence says it."""
    check_visibility("public", "reef", a_dataset(licence))


def test_a_plan_refuses_private_data_in_a_public_job(catalog: Catalog) -> None:
    """`plan --visibility` ends with one line for a private dataset, before a source or a registry is asked."""
    text = (catalog.root / "datasets.yml").read_text()
    assert catalog.run("plan", "reef@v1", "--visibility", "public").returncode == 0
    (catalog.root / "datasets.yml").write_text(text.replace("licence: CC0-1.0", "licence: CC0-1.0\n    private: true"))
    assert "error: reef: the dataset is private (CC0-1.0)" in catalog.fails(
        "plan", "reef@v1", "--visibility", "public", status=2
    )
    assert catalog.run("plan", "reef@v1", "--visibility", "private").returncode == 0
