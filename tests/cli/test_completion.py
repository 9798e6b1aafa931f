"""Shell completion: the scripts are valid, and each shell completes commands, options, references and paths."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminals import in_terminal

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


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_valid(shell, tmp_path):
    """The shell itself finds no syntax error in its script."""
    need(shell)
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
        ("datapack completion ", ["bash", "zsh", "fish"]),
        ("datapack run --launch ", ["ces", "podman", "apptainer"]),
        ("datapack build r", ["reef@v1"]),
        ("datapack -C source build r", ["reef@v1"]),
        ("datapack diff reef@v1 ", ["reef@v1"]),
        ("datapack build reef@v1 oci", ["oci:", "oci-archive:"]),
        ("datapack --directory sou", ["source"]),
        ("datapack run --env-file datasets", ["datasets.yml"]),
        ("datapack verify datasets", ["datasets.yml"]),
        ("datapack verify re", ["reef@v1"]),
    ],
)
def test_bash_completes(complete, line, offered):
    """Commands, options, choices, references and paths complete where the command line expects them."""
    assert complete(line) == offered


TERMINAL = r"""
shopt {option} hostcomplete
PROMPT_COMMAND='{marks}'
source {script}
bind -x '"\C-t": printf "%s\n" "$READLINE_LINE" >> {answer}'
PS1='ready> '
"""


@pytest.fixture
def type_line(bash_script, catalog, tmp_path):
    """A function that types a line and TAB into an interactive bash, and returns the line that is there then."""

    def type_line(line: str, option: str, marks: str = "") -> str:
        answer, rc = tmp_path / "answer", tmp_path / "rc"
        rc.write_text(TERMINAL.format(option=option, marks=marks, script=bash_script, answer=answer))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**catalog.options()["env"], "PATH": path, "TERM": "dumb", "INPUTRC": os.devnull}
        in_terminal(
            ["bash", "--noprofile", "--rcfile", str(rc), "-i"], catalog.root, environment, f"{line}\t\x14\x15exit\n"
        )  # Ctrl-T is bound above
        return answer.read_text().rstrip("\n")

    return type_line


@pytest.mark.parametrize("option", ["-s", "-u"])
@pytest.mark.parametrize(
    "marks", ["", "COMP_WORDBREAKS=${COMP_WORDBREAKS//@}@", "COMP_WORDBREAKS=${COMP_WORDBREAKS//@}"]
)
@pytest.mark.parametrize("typed", ["r", "reef@", "reef@v", "reef@v1"])
def test_bash_keeps_the_at_sign(type_line, typed, marks, option):
    """Whether '@' begins a word, ends one or is a letter like others: the line has the whole reference."""
    assert type_line(f"datapack build {typed}", option, marks) == "datapack build reef@v1 "


def test_bash_leaves_a_target_open(type_line):
    """No space follows the beginning of a target: a name follows."""
    assert type_line("datapack build reef@v1 docker:", "-s") == "datapack build reef@v1 docker://"


@pytest.mark.parametrize("name", ["a:file", "a=file", "a@b:file", "a:b@file"])
def test_bash_completes_names_with_marks(type_line, catalog, name):
    """A file's name may have the marks at which bash splits words; bash itself may put a backslash before one."""
    (catalog.root / name).touch()
    assert type_line(f"datapack verify {name[:-2]}", "-s").replace("\\", "") == f"datapack verify {name} "


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("datapack b", ["base", "build"]),
        ("datapack -C source ver", ["verify"]),
        ("datapack --quiet ver", ["verify"]),
        ("datapack build --re", ["--refresh", "--replace"]),
        ("datapack build reef@v1 --upd", ["--update-lock"]),
        ("datapack completion ", ["bash", "fish", "zsh"]),
        ("datapack run --launch ", ["apptainer", "ces", "podman"]),
        ("datapack build r", ["reef@v1"]),
        ("datapack build reef@", ["reef@v1"]),
        ("datapack -C source build r", ["reef@v1"]),
        ("datapack build -C source r", ["reef@v1"]),
        ("datapack diff reef@v1 ", ["reef@v1"]),
        ("datapack --directory sou", ["source/"]),
        ("datapack init sou", ["source/"]),
        ("datapack run --env-file datasets", ["datasets.yml"]),
        ("datapack build datasets", []),
        ("datapack verify datasets", ["datasets.yml"]),
        ("datapack verify re", ["reef@v1"]),
    ],
)
def test_fish_completes(catalog, tmp_path, line, offered):
    """fish offers the same as bash, in its own order, each with what it means."""
    need("fish")
    path = tmp_path / "datapack.fish"
    path.write_text(script("fish"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(path), line],
        cwd=catalog.root,
        env={**catalog.options()["env"], "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    assert [offer.partition("\t")[0] for offer in done.stdout.splitlines()] == offered


ZSH = r"""
autoload -U compinit; compinit -u -d {dump}
PS1='ready> '
eval "$(<{script})"
answer() {{ print -r -- "$BUFFER" >> {answer}; }}
zle -N answer
bindkey '^T' answer
"""


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("datapack bui", "datapack build "),
        ("datapack build --upd", "datapack build --update-lock "),
        ("datapack build reef@v1 --upd", "datapack build reef@v1 --update-lock "),
        ("datapack build r", "datapack build reef@v1 "),
        ("datapack -C source build r", "datapack -C source build reef@v1 "),
        ("datapack build reef@v1 oci-", "datapack build reef@v1 oci-archive:"),
        ("datapack base --quie", "datapack base --quiet "),
        ("datapack verify datas", "datapack verify datasets.yml "),
        ("datapack run --launch pod", "datapack run --launch podman "),
    ],
)
def test_zsh_completes(catalog, tmp_path, typed, completed):
    """A line in an interactive zsh is what TAB should make of it."""
    need("zsh")
    answer, path = tmp_path / "answer", tmp_path / "script"
    path.write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(ZSH.format(dump=tmp_path / "dump", script=path, answer=answer))
    environment = {**catalog.options()["env"], "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    in_terminal(["zsh", "--no-globalrcs", "-i"], catalog.root, environment, f"{typed}\t\x14\x15exit\n")
    assert answer.read_text() == f"{completed}\n"


def test_broken_catalog_completes_nothing(complete, catalog):
    """A catalog with an error offers no reference and prints nothing into the command line."""
    (catalog.root / "datasets.yml").write_text("a: [")
    assert complete("datapack build r") == []
