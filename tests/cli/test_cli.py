"""The command line: every command has help and is in the README; every failure is one line."""

import re
import subprocess
import sys

import pytest

from datapack import __version__
from datapack.cli import STOPPED, main
from datapack.cli.options import SHOWN
from tests.conftest import PROJECT

COMMANDS = (
    "init",
    "list",
    "show",
    "plan",
    "fetch",
    "check",
    "report",
    "metadata",
    "build",
    "push",
    "run",
    "verify",
    "sign",
    "ingress",
    "diff",
    "base",
    "convert",
    "remove",
    "doctor",
    "completion",
)


def test_help_names_every_command(capsys):
    """`datapack --help` lists exactly these commands."""
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert tuple(listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_is_in_the_readme(command, capsys):
    """Each command has its own help, and the README says what it does."""
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: datapack {command}" in capsys.readouterr().out
    assert f"`datapack {command}" in (PROJECT / "README.md").read_text()


def test_version(capsys):
    """`--version` prints the package's version."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"datapack {__version__}\n"


def test_help_imports_only_the_standard_library():
    """`datapack --help` is fast because it imports nothing but the standard library and the parser."""
    code = "import sys, datapack.cli\ntry: datapack.cli.main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    site = [sys.executable, "-c", "import sys; print(*sys.modules)"]  # what the environment itself imports at the start
    before = subprocess.run(site, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    imported = set(done.stderr.split()) - set(before)
    ours = {name for name in imported if name.partition(".")[0] == "datapack"}
    assert ours == {
        "datapack",
        "datapack.cli",
        "datapack.cli.answer",
        "datapack.cli.commands",
        *(f"datapack.cli.commands.{name}" for name in COMMANDS),
        "datapack.cli.completion",
        "datapack.cli.options",
        "datapack.cli.output",
        "datapack.cli.parser",
        "datapack.cli.signals",
        "datapack.errors",
        "datapack.executor",
        "datapack.progress",
        "datapack.text",
    }
    assert {name.partition(".")[0] for name in imported - ours} <= sys.stdlib_module_names


def test_list_names_prints_one_reference_per_line(catalog):
    """`list --names` is for scripts and for shell completion."""
    with (catalog.root / "datasets.yml").open("a") as file:
        file.write("      v2:\n        sources:\n          - local: source\n")
    assert catalog.ok("list", "--names") == "reef@v1\nreef@v2\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["build"],
        ["build", "reef@v1", "--nonsense"],
        ["build", "reef@v1", "--", "x"],
        ["run", "x", "--to", "y"],
    ],
)
def test_wrong_usage_exits_with_status_2(arguments, capsys):
    """A command line that the parser refuses ends with 2 and one line, as all wrong usage does."""
    assert main(arguments) == 2
    assert re.fullmatch("error: datapack.*\n", capsys.readouterr().err)


def test_long_list_of_differences_is_cut(catalog):
    """A long list of differences shows the first ones and how many more there are."""
    for number in range(50):
        (catalog.root / "source" / f"{number:02}").write_bytes(b"")
    catalog.ok("fetch", "reef@v1")
    for path in (catalog.root / "data/reef/v1/data").glob("[0-9]*"):
        path.unlink()
    lines = catalog.fails("verify", "reef@v1", status=3).splitlines()
    assert len(lines) == 1 + SHOWN + 1
    assert lines[-1] == f"  and {50 - SHOWN} more"


def test_closed_pipe_is_not_a_traceback(catalog):
    """`datapack list | true` ends quietly."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m datapack list | true"],
        **catalog.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_standard_files_that_are_closed_change_nothing(catalog, closed):
    """Some services start programs like that. No file of ours then becomes standard output, and no error is shown."""
    catalog.ok("fetch", "reef@v1")
    for command, status in {"check reef@v1": 1, "list --json": 0}.items():
        line = f"{sys.executable} -m datapack {command} {closed}"
        done = subprocess.run(["sh", "-c", line], **catalog.options(), capture_output=True, text=True, check=False)
        assert done.returncode == status, (command, done)
        assert "Traceback" not in done.stdout + done.stderr
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m datapack check reef@v9 2>&-"],
        **catalog.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")


def test_option_c_chooses_the_folder(catalog, tmp_path):
    """`-C DIR` runs as if started in DIR, which may also be below the catalog's folder."""
    from_here = catalog.ok("list")
    elsewhere = subprocess.run(
        catalog.command("-C", str(catalog.root / "source"), "list"),
        cwd=tmp_path,
        env=catalog.options()["env"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout == from_here


def test_option_c_names_a_folder_that_is_there(catalog):
    """A folder that does not exist has no catalog either, but that is not what is wrong."""
    assert "error: nope: no such folder; choose another with -C" in catalog.fails("-C", "nope", "list", status=2)
    assert "datasets.yml: not a folder" in catalog.fails("-C", "datasets.yml", "verify", "reef@v1", status=2)
    catalog.ok("-C", "new", "init")
    assert (catalog.root / "new/datasets.yml").exists()


def test_one_file_is_not_plural(catalog):
    """Every command that counts files says "1 file" of one."""
    for path in ("train.json", "images/a b.png", "images/ö.png"):
        (catalog.root / "source" / path).unlink()
    printed = catalog.ok("fetch", "reef@v1") + catalog.ok("build", "reef@v1")
    printed += catalog.ok("verify", "reef@v1") + catalog.ok("verify", "oci:dist/reef-v1")
    assert re.findall(r"\b1 files?\b", printed) == ["1 file"] * 4


def test_locale_with_other_file_names_is_refused(catalog):
    """Read as ASCII or Latin-1, a name in UTF-8 is another name, and the dataset gets another digest."""
    catalog.env.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    for command in (["fetch", "reef@v1"], ["verify", "source"]):
        error = catalog.fails(*command, status=2)
        assert "the locale: file names would be read wrongly: expected utf-8, found ascii; set LC_ALL=C.UTF-8" in error
    catalog.env.update(PYTHONUTF8="1")
    assert "fetched" in catalog.ok("fetch", "reef@v1")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("place", ["fork", "finalizer"])
def test_a_signal_is_not_lost_where_python_ignores_errors(tmp_path, number, place):
    """Python shows an error in a hook around a fork, or in a finalizer, and goes on: the command ends nevertheless."""
    code = f"""
import os, signal, subprocess, time
from datapack import cli
def send():
    os.kill(os.getpid(), signal.{number})
class Last:
    def __del__(self):
        send()
nothing = subprocess.DEVNULL  # an orphan would hold our outputs
def work():
    if {place!r} == "fork":
        os.register_at_fork(after_in_parent=send)
        subprocess.run(["sleep", "60"], preexec_fn=list, stdout=nothing, stderr=nothing)
    else:
        Last()
        time.sleep(60)
cli._check_encoding = work
raise SystemExit(cli.main(["list"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (STOPPED, "stopped; run the same command again to continue\n")


def test_a_current_folder_that_was_removed(catalog, tmp_path):
    """The error says which folder is gone, not only that something is."""
    gone = tmp_path / "gone"
    command = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, str(gone), *catalog.command("list")],
        **catalog.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the current folder: it was removed; change to another folder, or to the new one of this name\n"
    )
