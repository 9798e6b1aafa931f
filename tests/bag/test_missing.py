"""missing.csv: the files that are missing, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.bag.missing import Missing, format_missing, parse_missing

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.dictionaries(texts, st.builds(Missing, texts, texts)))
def test_it_is_read_back_as_written(missing):
    """Names, URLs and reasons survive; none has control characters."""
    assert parse_missing(format_missing(missing)) == missing


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"path,url\na,b\n",
        b"path,url,reason\na,b\n",
        b'path,url,reason\n"a',
        b"path,url,reason\na," + b"b" * 200_000,
    ],
)
def test_another_table_is_refused(content):
    """A missing column, a row that is cut off and a value of any size are one error."""
    with pytest.raises(ValueError, match="not a table with the columns path, url, reason"):
        parse_missing(content)


@given(st.binary() | st.text('path,url,reason\n"').map(str.encode))
def test_any_bytes_are_read_or_refused(content):
    """Nothing but `ValueError` is raised."""
    try:
        rows = list(parse_missing(b"path,url,reason\n" + content))
    except ValueError:
        return
    assert len(rows) <= content.count(b"\n") + content.count(b"\r") + 1
