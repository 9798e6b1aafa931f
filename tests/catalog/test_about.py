"""The keys for metadata."""

import pytest

from tests.catalog.small import with_keys


@pytest.mark.parametrize("date", ["2024", "2024-05", "2024-05-31"])
def test_a_date_is_a_day_a_month_or_a_year(read, date):
    """A date can have three precisions; a year needs no quotes."""
    assert read(with_keys(f"published: {date}")).datasets["reef"].published == date
