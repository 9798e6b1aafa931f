"""The process that reads hostile files can do nothing else."""

from pathlib import Path

import pytest

from datapack.errors import WeightsError
from datapack.weights.isolation import Limits, run_isolated

LIMITS = Limits(memory=600 << 20, seconds=1)
JOB = "tests.weights.confined:trying"
REFUSED = [
    ("read", "OSError"),
    ("write", "OSError"),
    ("connect", "OSError"),
    ("start", "OSError"),
    ("memory", "MemoryError"),
]


@pytest.mark.parametrize(("what", "error"), REFUSED)
def test_what_it_can_not_do(tmp_path, what, error):
    """No file, no network, no program, and no more memory than it gets."""
    path = tmp_path / "x"
    path.write_text("content")
    assert run_isolated(JOB, {"path": str(path), "what": what}, path, LIMITS) == f"refused: {error}"
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("what", ["spin", "end"])
def test_a_process_that_ends_early(what):
    """Time that is used up, and any other end, is one line."""
    with pytest.raises(WeightsError, match=r"x: the process that reads it ended early: expected at most 629 MB of mem"):
        run_isolated(JOB, {"path": "x", "what": what}, Path("x"), LIMITS)


def test_its_environment(monkeypatch):
    """It sees no variable of ours: one may be a password."""
    monkeypatch.setenv("SECRET", "x")
    found = run_isolated(JOB, {"path": "x", "what": "environment"}, Path("x"), LIMITS)
    assert "SECRET" not in found
    assert "LC_ALL" in found
