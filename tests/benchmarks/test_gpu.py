"""The table of `make gpu` is complete even where a part of it fails or takes too long."""

import json
import os
import time
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.device import Sample, Samples, sampled
from benchmarks.gpu.rows import Row, markdown, reported
from benchmarks.gpu.running import PROJECT

PART = "from benchmarks.gpu.rows import Row, reported\nRow('first', '1').emit()\nprint('a line of its log')\n"


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Return a function that runs some lines of Python as a part."""
    monkeypatch.setitem(PROJECT, "PYTHONPATH", os.pathsep.join([str(tmp_path), PROJECT["PYTHONPATH"]]))

    def run(code, budget=60.0):
        (tmp_path / "a_part.py").write_text(PART + code)
        return gpu.run_part("some", "a_part", budget, tmp_path / "some.log")

    return run


def test_a_part_that_fails_keeps_its_rows_and_says_why(part):
    found = part("raise SystemExit('the card is on fire')")
    assert [row.what for row in found] == ["first", "all of some"]
    assert found[1].state == "failed"
    assert "status 1" in found[1].found
    assert "the card is on fire" in found[1].found


def test_a_part_that_takes_too_long_is_stopped_with_what_it_started(part, tmp_path):
    code = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "1000"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(1000)
"""
    found = part(code, budget=3.0)
    assert [row.what for row in found] == ["first", "all of some"]
    assert "stopped after its 3 s" in found[1].found
    child, deadline = (tmp_path / "pid").read_text(), time.monotonic() + 30
    while not has_ended(child):  # a killed process takes a moment to end
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_ended(process: str) -> bool:
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_check_that_fails_does_not_stop_the_next_one(part):
    code = "with reported('second'):\n    raise ValueError('no | such\\nthing')\nRow.check('third', 'yes', True).emit()"
    found = part(code)
    assert [(row.what, row.state) for row in found] == [("first", "measured"), ("second", "failed"), ("third", "ok")]
    assert found[1].found == "ValueError: no | such"


def test_a_row_survives_the_way_through_a_line_and_is_one_line_of_the_table(capsys):
    row = Row.check("what | it\nis", "so", False, number=[1.5], found="also a value")
    row.emit()
    line = capsys.readouterr().out
    assert Row.parse(line) == row
    assert Row.parse("ROWS of something else") is None
    assert markdown("A card", {"part": [row]}).splitlines()[4:] == ["| part | what \\| it is | so | failed |"]


def test_an_error_without_words_is_named(capsys):
    with reported("what"):
        raise KeyError
    assert json.loads(capsys.readouterr().out.removeprefix("ROW "))["found"] == "KeyError: KeyError"


def test_only_samples_within_the_spans_count():
    samples = Samples([Sample(1.0, 100, 10, 300), Sample(2.0, 50, 20, 200), Sample(9.0, 0, 90, 100)])
    assert samples.within([(0.5, 2.5)]) == (75, 250, 20)
    assert samples.within([(3, 4)]) is None


def test_nvidia_smi_is_read_while_the_body_runs_and_what_a_card_does_not_say_is_left_out(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '97, 30000, 612.5'\necho '[N/A], 30000, 600'\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with sampled() as samples:
        deadline = time.monotonic() + 30
        while not samples.samples and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [(one.busy, one.memory, one.power) for one in samples.samples] == [(97, 30000, 612.5)]


def test_without_nvidia_smi_there_are_no_samples(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with sampled() as samples:
        pass
    assert samples.within([(0, 1e12)]) is None
