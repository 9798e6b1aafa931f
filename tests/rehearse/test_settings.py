"""The settings of a rehearsal: amounts of memory, and files of variables and arguments."""

from __future__ import annotations

import pytest

from datapack.errors import UsageError
from datapack.rehearse.settings import parse_bytes, read_env_file, read_words, show_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4g", 4 << 30), ("4 Gb", 4 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("1t", 1 << 40)],
)
def test_amounts_of_memory(text, amount):
    """Amounts are read as docker and podman read them, and printed so that they can be read again."""
    assert parse_bytes(text) == amount
    assert parse_bytes(show_bytes(amount)) == amount


@pytest.mark.parametrize("text", ["", "4x", "-1g", "0", "many", "4g4"])
def test_wrong_amounts_of_memory(text):
    """Anything else raises an error that explains the format."""
    with pytest.raises(ValueError, match="such as 4g"):
        parse_bytes(text)


def test_an_env_file(tmp_path, monkeypatch):
    """Values stay unchanged; a name alone takes its value from this environment, if it has one."""
    monkeypatch.setenv("HERE", "value")
    monkeypatch.delenv("NOT_HERE", raising=False)
    path = tmp_path / "variables"
    path.write_text('\ufeff# a remark\n\n  A=b c \nQUOTED="x"\nEMPTY=\nHERE\nNOT_HERE\nE=1=2\n', encoding="utf-8")
    assert read_env_file(path) == ["A=b c ", 'QUOTED="x"', "EMPTY=", "HERE=value", "E=1=2"]


@pytest.mark.parametrize("line", ["=value", "A KEY=value", "A KEY"])
def test_a_malformed_variable(tmp_path, line):
    """The error has the file, the line number and the expected form."""
    path = tmp_path / "variables"
    path.write_text(f"A=b\n{line}\n")
    with pytest.raises(UsageError) as error:
        read_env_file(path)
    expected = f"{path}:2: not an environment variable: expected KEY=VALUE, with no space in KEY, found {line!r}"
    assert str(error.value) == expected


def test_the_words_of_a_file(tmp_path):
    """Several words per line, quoted as in a shell; the error for an open quotation has its line."""
    path = tmp_path / "arguments"
    path.write_text("train --config '/safe_data/my train.yml' # a remark\n\n--seed 1\n")
    words = [(1, "train"), (1, "--config"), (1, "/safe_data/my train.yml"), (3, "--seed"), (3, "1")]
    assert list(read_words(path)) == words
    path.write_text("train\n--config 'oh\n")
    with pytest.raises(UsageError, match=f"^{path}:2: can't be split into words: found No closing quotation"):
        list(read_words(path))


def test_unreadable_files(tmp_path):
    """A missing file and a binary one are named."""
    with pytest.raises(UsageError, match="missing: can't read the file: found No such file"):
        read_env_file(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="binary: not text in UTF-8"):
        read_env_file(tmp_path / "binary")
