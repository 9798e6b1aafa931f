"""The scripts that `datapack init --ci` writes, run as the services run them, with a registry on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import registries
from tests.conftest import PROJECT, make_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Repository:
    """A dataset repository with a pipeline, whose first commit is ``main``."""

    root: Path
    home: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.home}/bin:{PROGRAMS}:{os.environ['PATH']}"
        settings = {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(PROJECT), "INSECURE": "1"}
        settings |= {"SCAN_DATABASE": "no", "TRIVY_OFFLINE_SCAN": "true"}  # no database is reached from here
        environment = {**os.environ, **settings, **variables}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        done = self.run("git", *who, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a change")

    def change(self, *changes: tuple[str, str]) -> None:
        path = self.root / "datasets.yml"
        text = path.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root, home = tmp_path / "repository", tmp_path / "home"
    make_catalog(root)
    for image in (root / "source" / "images").iterdir():  # no images at all, in which the check finds nothing
        image.rename(image.with_suffix(".txt")).write_text("text")
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "datapack").write_text(f'#!/bin/sh\nexec {sys.executable} -m datapack "$@"\n')
    (home / "bin" / "datapack").chmod(0o755)
    made = Repository(root, home)
    assert made.run("datapack", "init", "--ci", "gitlab").returncode == 0
    made.git("init", "--quiet", "--initial-branch", "main")
    (root / ".gitignore").write_text("/dist/\n/.datapack/\n")
    made.commit()
    return made


V2 = (
    "          - local: source\n",
    "          - local: source\n      v2:\n        parent: v1\n        sources: [{local: source}]\n",
)


def test_a_review_shows_what_a_change_does(repository: Repository) -> None:
    """Only the new version is planned, checked and compared, each answer in a block that nothing can break out of."""
    assert "It changes no version." in repository.run("sh", "ci/review.sh", "main").stdout
    repository.change(V2)
    (repository.root / "source" / "``` # [x](https:evil) <script>.txt").write_text("x")
    done = repository.run("sh", "ci/review.sh", "main", "public")
    assert done.returncode == 0, done.stdout + done.stderr
    headings = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert headings == ["## What this change does to the datasets", "### reef@v2"]
    assert "No secret was used" in done.stdout
    assert "Difference to reef@v1" in done.stdout
    assert "    nothing found" in done.stdout or "DP112" in done.stdout
    for line in done.stdout.splitlines():
        assert "<script>" not in line or line.startswith("    ")


def test_a_review_refuses_private_data_in_a_public_repository(repository: Repository) -> None:
    """The reason is in the review, nothing is fetched, and the job fails."""
    repository.change(V2, ("licence: CC0-1.0", "licence: CC0-1.0\n    private: true"))
    done = repository.run("sh", "ci/review.sh", "main", "public")
    assert done.returncode == 1
    assert "the dataset is private (CC0-1.0)" in done.stdout
    assert not (repository.root / "data" / "reef").exists()


def test_a_review_says_what_needs_a_login(repository: Repository) -> None:
    """In a fork there is no credential: a source that needs one is planned, and the review says what is missing."""
    repository.change((V2[0], V2[1].replace("{local: source}", "{kaggle: fathomnet2024, files: [train.json]}")))
    done = repository.run("sh", "ci/review.sh", "main", "private")
    assert done.returncode == 0, done.stdout
    assert "no Kaggle credential" in done.stdout
    assert "It can not be built here" in done.stdout


def test_a_review_of_an_unknown_commit_fails(repository: Repository) -> None:
    """A commit that the clone lacks, or that looks like an option, ends with one line."""
    for commit in ("nothing", "--output=stolen", ""):
        done = repository.run("sh", "ci/review.sh", commit)
        assert done.returncode == 1
        assert "error: --since: git has no such commit" in done.stdout
    assert not (repository.root / "stolen").exists()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registries.serve(tmp_path, login=True) as name:
        yield name


@pytest.mark.usefixtures("trivy")
def test_a_scan_without_a_database_fails(repository: Repository, tmp_path: Path) -> None:
    """One line says that nothing was scanned, and how to scan for secrets only; a wrong setting is one line, too."""
    place = {"TRIVY_CACHE_DIR": str(tmp_path / "cache"), "TRIVY_DB_REPOSITORY": "127.0.0.1:1/none:2"}
    for setting in ("", "yes"):
        done = repository.run("sh", "ci/release.sh", "scan", REF="reef@v1", SCAN_DATABASE=setting, **place)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: no database of vulnerabilities, so nothing was scanned: ")
        assert "connection refused" in line
        assert "SCAN_DATABASE=no" in line
    done = repository.run("sh", "ci/release.sh", "scan", REF="reef@v1", SCAN_DATABASE="maybe")
    assert done.stderr == "error: SCAN_DATABASE: unknown value: expected yes or no\n"


@pytest.mark.usefixtures("trivy")
def test_a_tag_goes_into_the_registry(repository: Repository, registry: str, tmp_path: Path) -> None:
    """Built, scanned, pushed after a login without an engine, and signed; no secret is printed."""
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", tmp_path / "public.pem"], check=True)
    place = {"REF": "reef@v1", "VISIBILITY": "public", "REGISTRY": f"{registry}/Group/Data"}
    secrets = {"login": {"REGISTRY_USER": registries.USER, "REGISTRY_TOKEN": registries.PASSWORD}}
    secrets["sign"] = {"SIGNING_KEY": key.read_text()}
    printed = ""
    for step in ("build", "scan", "login", "push", "sign"):
        done = repository.run("sh", "ci/release.sh", step, **place, **secrets.get(step, {}))
        assert done.returncode == 0, (step, done.stdout, done.stderr)
        printed += done.stdout + done.stderr
    assert registries.PASSWORD not in printed
    assert "PRIVATE" not in printed
    image = (repository.root / "dist" / "reef-v1.image").read_text().strip()
    assert image.startswith(f"{registry}/group/data/reef@sha256:")
    done = repository.run(
        "datapack", "verify", f"docker://{image}", "--insecure", "--key", str(tmp_path / "public.pem")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((repository.root / "dist" / "reef-v1.cdx.json").read_bytes())["bomFormat"] == "CycloneDX"
    assert (repository.home / ".docker" / "config.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "reference", ["v1.0", "reef@v1;id", "$(id)@v1", "../reef@v1", "@v1", "reef@", "a@b@c", "-x@v1", ""]
)
def test_only_the_name_of_a_version_is_released(repository: Repository, reference: str) -> None:
    """Any other tag of git ends with one line before anything is run."""
    done = repository.run("sh", "ci/release.sh", "build", REF=reference)
    assert done.returncode == 1
    assert done.stderr == "error: REF: not the name of a version: expected name@version\n"


def test_private_data_is_not_released_from_a_public_repository(repository: Repository) -> None:
    """The build ends with one line, and a step that does not exist too."""
    repository.change(("licence: CC0-1.0", "licence: CC0-1.0\n    private: true"))
    done = repository.run("sh", "ci/release.sh", "build", REF="reef@v1", VISIBILITY="public")
    assert done.returncode == 2
    assert "the dataset is private" in done.stderr
    assert not (repository.root / "dist").exists()
    assert "expected build, scan, login" in repository.run("sh", "ci/release.sh", "publish", REF="reef@v1").stderr
    assert "SIGNING_KEY: no key" in repository.run("sh", "ci/release.sh", "sign", REF="reef@v1").stderr
