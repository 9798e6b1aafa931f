"""Shell completion: the scripts are valid, and bash completes commands, options, references and paths with one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What bash does on TAB, without a terminal: it sets the COMP variables and calls the function that `complete` names.
COMPLETE = r"""
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<< "$COMP_LINE"
if [[ $COMP_LINE == *' ' ]]; then COMP_WORDS+=(""); fi
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
$(complete -p datapack | sed -E 's/.* -F (\S+) .*/\1/')
printf '%s\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    """The completion script for a shell."""
    command = [sys.executable, "-m", "datapack", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "datapack.bash"
    path.write_text(script("bash"))
    return path


@pytest.fixture
def complete(bash_script, catalog):
    """A function that returns what bash offers for a command line in the catalog's folder."""
    environment = catalog.options()["env"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def complete(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", str(bash_script), line],
            cwd=catalog.root,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return done.stdout.split()

    return complete


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_script_is_valid(shell, tmp_path):
    """The shell itself finds no syntax error in its script."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=True)
    assert not done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("datapack b", ["build", "base"]),
        ("datapack -C source ver", ["verify"]),
        ("datapack build --re", ["--refresh", "--replace"]),
        ("datapack build reef@v1 --upd", ["--update-lock"]),
        ("datapack completion ", ["bash", "zsh"]),
        ("datapack run --launch ", ["ces", "podman", "apptainer"]),
        ("datapack build r", ["reef@v1"]),
        ("datapack -C source build r", ["reef@v1"]),
        ("datapack diff reef@v1 ", ["reef@v1"]),
        ("datapack --directory sou", ["source"]),
        ("datapack run --env-file datasets", ["datasets.yml"]),
        ("datapack verify datasets", ["datasets.yml"]),
        ("datapack verify re", ["reef@v1"]),
    ],
)
def test_bash_completes(complete, line, offered):
    """Commands, options, choices, references and paths complete where the command line expects them."""
    assert complete(line) == offered


@pytest.mark.parametrize("line", ["datapack build reef@", "datapack build reef@v", "datapack diff reef@v1 reef@v"])
def test_bash_completes_behind_the_at_sign(complete, line):
    """Bash takes '@' as the start of a word, so only what follows it is offered."""
    assert complete(line) == ["v1"]


def test_broken_catalog_completes_nothing(complete, catalog):
    """A catalog with an error offers no reference and prints nothing into the command line."""
    (catalog.root / "datasets.yml").write_text("a: [")
    assert complete("datapack build r") == []
