"""The workflows of GitHub: what they may do, and that every step is one that runs on any machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: (actions/[a-z-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$")
MAKE = re.compile(
    r"(?:sudo (?:--preserve-env=\w+ )?)?"
    r"make (?:--silent )?([a-z0-9/.-]+)(?: [A-Z]+=\S+)*(?: \| sed \S+)?(?: >> \"\$GITHUB_OUTPUT\")?"
)
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


@each
def test_every_step_is_a_target_that_runs_anywhere(path: Path) -> None:
    """A step runs a target of the Makefile, and nothing else but GitHub's own actions."""
    targets = set(re.findall(r"^([a-z0-9/.-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(read(path)):
        if "run" in step:
            found = MAKE.fullmatch(step["run"].replace("'s/^/digest=/'", "s"))
            assert found, step["run"]
            assert found[1] in targets


@each
def test_actions_are_githubs_own_and_pinned_by_their_commit(path: Path) -> None:
    """Each action is pinned by a whole commit with its version beside it, the same everywhere."""
    lines = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert PINNED.fullmatch(line) or line == "uses: $/.github/workflows/image.yml", line


def test_one_action_has_one_pin() -> None:
    """No two workflows use two versions of an action."""
    found = {
        match[1]: match[2] for path in WORKFLOWS for match in re.finditer(r"(actions/[a-z-]+)@(\w+)", path.read_text())
    }
    text = "".join(path.read_text() for path in WORKFLOWS)
    assert {*re.findall(r"actions/[a-z-]+@\w+", text)} == {f"{name}@{commit}" for name, commit in found.items()}


@each
def test_a_job_may_do_only_what_it_says(path: Path) -> None:
    """Nothing is allowed but what a job names; only the job that attests may sign, and it builds nothing."""
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert "pull_request_target" not in workflow[True]  # YAML reads `on` as true
    for name, job in workflow["jobs"].items():
        allowed = job["permissions"]
        if path.name == "ci.yml":
            assert allowed == {"contents": "read"}
        elif "steps" in job:
            assert ("id-token" in allowed) == (name == "attest")
        for step in job.get("steps", ()):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_a_missing_engine_fails_the_tests_of_a_change() -> None:
    """Tests of engines and registries are never skipped unseen where changes are judged."""
    (ci,) = (read(path) for path in WORKFLOWS if path.name == "ci.yml")
    (step,) = (step for step in ci["jobs"]["test"]["steps"] if "run" in step)
    assert step["run"] == "sudo --preserve-env=DATAPACK_REQUIRE_ENGINES make test"
    assert step["env"] == {"DATAPACK_REQUIRE_ENGINES": "1"}


@each
def test_no_secret_is_on_a_command_line(path: Path) -> None:
    """A command contains no expression at all: values reach it through its environment."""
    for step in steps(read(path)):
        assert "${{" not in step.get("run", "")
    assert ("secrets." in path.read_text()) == (path.name != "ci.yml")


def test_the_linters_find_nothing() -> None:
    """zizmor at its strictest, and actionlint, are clean for the workflows."""
    programs = Path(sys.executable).parent
    zizmor = [
        programs / "zizmor",
        "--offline",
        "--quiet",
        "--persona",
        "auditor",
        "--config",
        ".github/zizmor.yml",
        ".github",
    ]
    for command in (zizmor, [programs / "actionlint"]):
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
