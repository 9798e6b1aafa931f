"""Text for people."""

import pytest

from datapack.errors import DatapackError, brief, shown
from datapack.text import counted

HIDDEN = {
    "line feed": ("a\nIMPORT OK", r"a\nIMPORT OK"),
    "carriage return": ("a\rerror:", r"a\rerror:"),
    "escape": ("a\x1b[2K", r"a\x1b[2K"),
    "C1": ("a\x9b2K", r"a\x9b2K"),
    "next line": ("a\x85b", r"a\x85b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "paragraph separator": ("a\u2029b", r"a\u2029b"),
    "right to left": ("a\u202egpj.exe", r"a\u202egpj.exe"),
    "isolate": ("a\u2066b", r"a\u2066b"),
    "zero width": ("a\u200bb", r"a\u200bb"),
    "byte order mark": ("\ufeffa", r"\ufeffa"),
    "tag": ("a\U000e0041", r"a\U000e0041"),
    "half of a pair": ("a\ud800", r"a\ud800"),
    "a byte that is not UTF-8": (b"a\xff".decode(errors="surrogateescape"), r"a\udcff"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_could_forge_or_hide_a_line_is_escaped(name):
    """Control characters, invisible ones and ends of lines are shown as escapes; shown again they stay the same."""
    text, expected = HIDDEN[name]
    assert shown(text) == expected
    assert shown(expected) == expected
    shown(text).encode()


def test_ordinary_text_stays_as_it_is():
    """Letters of any language, accents, emoji, spaces and backslashes stay."""
    for text in ("plain", "größe", "e\u0301", "日本語\u3000名前", "😀", "C:\\temp", "100 %", "a\u00a0b", ""):
        assert shown(text) == text


def test_no_foreign_text_fills_a_log():
    """A name of a million characters is cut wherever an error repeats it; a path that Linux can open is not."""
    endless = "a" * 1_000_000
    error = DatapackError(endless, where=endless, expected=endless, found=endless, fix=endless)
    assert len(str(error)) < 26_000
    assert str(error).endswith("aaa... (1,000,000 characters)")
    path = "a" * 4096
    assert brief(path) == path
    assert path in str(DatapackError("not here", where=path))


def test_one_thing_is_not_plural():
    """Only one file is a file; large numbers have commas."""
    counts = {0: "0 files", 1: "1 file", 2: "2 files", 1000: "1,000 files"}
    assert {number: counted(number, "file") for number in counts} == counts
    assert [counted(number, "box", "boxes") for number in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
