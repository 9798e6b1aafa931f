"""What the tests of the catalog share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from datapack.catalog.model import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Catalog]:
    """Return a function that writes a catalog and reads it."""

    def read(text: str) -> Catalog:
        path = tmp_path / "datasets.yml"
        path.write_text(text)
        return Catalog.read(path)

    return read
