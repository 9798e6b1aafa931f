"""Output: no foreign text can add a line, and no encoding makes a message fail."""

import ast
import os
import subprocess
import sys
import warnings

import pytest

from datapack.api import checking
from datapack.cli import main
from datapack.errors import DatapackError
from datapack.progress import Console
from tests.bags import write_bag
from tests.conftest import PROJECT

FORGED = "a\nerror: all is lost\rIMPORT OK\x1b[2K\u2028\u202e"
ESCAPED = r"a\nerror: all is lost\rIMPORT OK\x1b[2K\u2028\u202e"


def test_a_file_name_cannot_forge_a_line(tmp_path, capsys):
    """A name with line ends and escapes stays in its line, in an error's details as anywhere."""
    write_bag(tmp_path / "bag", {"b": b""})
    (tmp_path / "bag" / "data" / FORGED).write_bytes(b"")
    assert main(["-C", str(tmp_path), "verify", "bag"]) == 3
    error, *lines = capsys.readouterr().err.splitlines()
    assert "found 1 extra" in error
    assert lines == [f"  extra    data/{ESCAPED}"]


def test_every_part_of_an_error_is_escaped():
    """Where, what, expected, found, the fix and each detail may hold foreign text."""
    error = DatapackError("w\x1bw", where="\x9b", expected="\u200b", found="\ud800", fix="\u202e", details=("a\nb",))
    assert str(error) == r"\x9b: w\x1bw: expected \u200b, found \ud800; \u202e"
    assert error.details == (r"a\nb",)
    assert str(DatapackError("not here", where="a \n b")) == r"a \n b: not here"


def test_notes_and_warnings_are_escaped(capsys):
    """A note is one line; a box has the lines that its caller gave it."""
    Console().note(FORGED)
    Console().warn(f"first\n{FORGED[2:]}")
    out = capsys.readouterr().err.splitlines()
    assert out[0] == ESCAPED
    assert [line.strip("! ") for line in out[2:-1]] == ["first", ESCAPED[3:]]


def test_a_warning_of_a_library_is_one_line(monkeypatch, capsys):
    """A warning that quotes foreign text is one line."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        with pytest.raises(SystemExit):
            main(["--version"])
        warnings.simplefilter("always")
        warnings.warn(FORGED, stacklevel=1)
    assert capsys.readouterr().err.startswith("warning: a error: all is lost IMPORT OK")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_can_be_shown_in_any_encoding(tmp_path, encoding):
    """Where the output's encoding lacks a character, or a name is not UTF-8, it is escaped."""
    write_bag(tmp_path, {"größe": b"", "日本": b""})
    for name in ("größe", "日本"):
        (tmp_path / "data" / name).unlink()
    (tmp_path / os.fsdecode(b"data/\xff")).write_bytes(b"")
    command = [sys.executable, "-m", "datapack", "verify", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    missing = ["missing  data/größe", "missing  data/日本"]
    expected = [line.encode(encoding, "backslashreplace").decode(encoding) for line in missing]
    assert [line.strip() for line in done.stderr.decode(encoding).splitlines()[1:]] == [
        *expected,
        r"extra    data/\udcff",
    ]


def test_a_bug_has_a_last_line_too(monkeypatch, capsys, tmp_path):
    """An unexpected error is shown with its traceback, whose lines are indented, and the last line names it."""

    def fail(*_, **__):
        raise ZeroDivisionError("zero\nIMPORT OK reef@v1")

    monkeypatch.setattr(checking, "verify_content", fail)
    assert main(["-C", str(tmp_path), "verify", "bag"]) == 1
    *traceback, last = capsys.readouterr().err.splitlines()
    assert all(line.startswith("  ") for line in traceback)
    assert last == "error: a bug in datapack, please report the lines above: ZeroDivisionError: zero IMPORT OK reef@v1"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(13, "Permission denied", "a\nb"), r"error: a\nb: Permission denied; check its owner and permissions"),
        (OSError("the connection is gone"), "error: the connection is gone"),
        (TimeoutError(), "error: TimeoutError"),
    ],
)
def test_an_error_of_the_system_is_one_line(monkeypatch, capsys, tmp_path, error, line):
    """It says what is wrong, whether it has a number, a text or neither."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(checking, "verify_content", fail)
    assert main(["-C", str(tmp_path), "verify", "bag"]) == 1
    assert capsys.readouterr().err == f"{line}\n"


def test_only_one_module_prints():
    """Each line goes through `datapack.cli.output`, which escapes it; nothing else prints."""
    for path in (PROJECT / "datapack").rglob("*.py"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in calls or path.name == "output.py", path
