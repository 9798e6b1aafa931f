"""The command line: every command has help and a place in the documentation; what fails is one line."""

import re
import subprocess
import sys

import pytest

from datapack import __version__
from datapack.cli import DETAILS_SHOWN, main
from tests.conftest import PROJECT

COMMANDS = ("init", "list", "fetch", "build", "push", "run", "verify", "base", "diff")


def test_help_names_every_command(capsys):
    """`datapack --help` lists the commands that there are, and no other."""
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert tuple(listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command, capsys):
    """Each command explains its options, and the README says what it is for."""
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: datapack {command}" in capsys.readouterr().out
    assert f"`datapack {command}" in (PROJECT / "README.md").read_text()


def test_version(capsys):
    """`--version` says the package's own."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"datapack {__version__}\n"


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
def test_wrong_options_are_status_2(arguments):
    """What argparse refuses ends with 2, as other wrong use does."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_many_differences_are_cut(catalog):
    """A long list of differences shows its beginning and how many more there are."""
    for number in range(50):
        (catalog.root / "source" / f"{number:02}").write_bytes(b"")
    catalog.ok("fetch", "reef@v1")
    for path in (catalog.root / "data/reef/v1/data").glob("[0-9]*"):
        path.unlink()
    lines = catalog.fails("verify", "reef@v1", status=3).splitlines()
    assert len(lines) == 1 + DETAILS_SHOWN + 1
    assert lines[-1] == f"  and {50 - DETAILS_SHOWN} more"


def test_a_reader_that_goes_away_is_no_traceback(catalog):
    """`datapack list | head -0` ends quietly."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m datapack list | true"],
        **catalog.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_dash_c_names_the_folder(catalog, tmp_path):
    """`-C DIR` works as if datapack was started there, and a folder below the catalog's finds it too."""
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
