"""Progress: readable sizes, bars on a terminal, and occasional lines in a log."""

import io

import pytest

from datapack import progress as report
from datapack.progress import Console, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (3003, "3 kB"),
        (2_671_025, "2.67 MB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (3_986_269_917, "3.99 GB"),
        (22_000_000_000_000, "22 TB"),
    ],
)
def test_sizes_are_formatted_in_decimal_units(count, text):
    """Sizes have decimal units and three digits."""
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "lines"), [(3, 10), (0.75, 3)])
def test_log_gets_a_line_per_tenth(monkeypatch, seconds, lines):
    """Without a terminal, there is a line for each tenth, but at most one every two seconds."""
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with Console(out).progress("images", 1000, "files") as advance:
        for _ in range(10):
            now[0] += seconds
            advance(100)
    said = out.getvalue().splitlines()
    assert len(said) == lines
    if seconds == 3:
        assert said[0] == "images: 10 %, 100 of 1,000 files, 3 s"
        assert said[-1] == "images: 100 %, 1,000 of 1,000 files, 30 s"


def test_slow_step_gets_a_line_per_minute(monkeypatch):
    """There is a line at least once a minute, however little was done."""
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with Console(out).progress("images", 10_000, "files") as advance:
        for _ in range(3):
            now[0] += 61
            advance(1)
    assert len(out.getvalue().splitlines()) == 3


def test_terminal_gets_a_bar():
    """On a terminal, progress is a bar that disappears at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with Console(out).progress("layers", 100, "B") as advance:
        advance(100)
    assert "layers:" in out.getvalue()
    assert "\r" in out.getvalue()
