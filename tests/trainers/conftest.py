"""Fixtures of the trainers' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.trainers.havens import Haven, small_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def haven(tmp_path: Path) -> Haven:
    """Make the folders of a job with a small dataset."""
    return Haven(tmp_path, small_files())
