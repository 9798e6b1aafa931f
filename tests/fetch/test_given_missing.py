"""A source may bring a ``missing.csv``: a list of missing files, which others believe, or any other table."""

import pytest

from datapack.catalog.sources import LocalSource
from tests.sea import Sea, below, make_sea
from tests.workplace import Workplace

LIST = b"path,url,reason\nimages/1.png,,404 Not Found\nimages/2.png,,404 Not Found\n"
TABLE = b"patient,answers missing\n1,3\n"


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def test_a_list_of_missing_files_from_a_source_is_announced(place):
    """Checks and trainers do without the files that it names, so nobody should be surprised by it."""
    place.write("source/missing.csv", LIST)
    place.fetch(LocalSource(local="source"))
    assert [note for note in place.notes if note.startswith("missing.csv is from a source")] == place.notes
    assert "do without 2 files that it names as missing" in place.notes[0]


@pytest.mark.parametrize(
    "content", [TABLE, b"", b"\xff\xfe", b"path,url,reason\n"], ids=["table", "empty", "bytes", "none"]
)
def test_another_file_of_that_name_is_a_file_like_others(place, content):
    """Nothing is said about it, and it stays as it is."""
    place.write("source/missing.csv", content)
    place.fetch(LocalSource(local="source"))
    assert place.notes == []
    assert (place.bag / "data/missing.csv").read_bytes() == content


@pytest.fixture
def sea(tmp_path) -> Sea:
    return make_sea(tmp_path / "catalog")


@pytest.mark.parametrize(("content", "stays"), [(LIST, False), (TABLE, True)], ids=["list", "table"])
def test_a_part_keeps_a_table_of_that_name(sea, content, stays):
    """The list is about the rows that are cut; a table is data."""
    (sea.root / "source/missing.csv").write_bytes(content)
    assert ("missing.csv" in below(sea.derive({"subset": "sea@v1", "count": 3}))) == stays
