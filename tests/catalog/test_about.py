"""The keys for metadata: people and organisations, dates, and what is wrong with them, in one line."""

import pytest

from datapack.catalog.model import Catalog
from datapack.errors import CatalogError
from tests.conftest import CATALOG


def with_keys(tmp_path, keys: str) -> Catalog:
    """Read the small catalog with more keys of its dataset."""
    path = tmp_path / "datasets.yml"
    path.write_text(CATALOG.replace("    versions:", f"    {keys}\n    versions:", 1))
    return Catalog.read(path)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("creators: []", "datasets.reef.creators"),
        ("creators: [{}]", "give either 'person' or 'organisation'"),
        ("creators: [{person: A, organisation: B}]", "give either 'person' or 'organisation'"),
        ("creators: [{organisation: A, orcid: 0000-0002-1825-0097}]", "are keys of a person"),
        ("creators: [{person: A, ror: 01nrxwf90}]", "is a key of an organisation"),
        ("creators: [{person: A, orcid: 0000-0002-1825-0098}]", "a digit of the ORCID iD is wrong"),
        ("creators: [{person: A, orcid: 0000-1}]", "an ORCID iD, such as"),
        ("creators: [{organisation: A, ror: 'https://ror.org/01nrxwf90'}]", "the last part of a ROR"),
        ("creators: [{persn: A}]", "did you mean 'person'?"),
        ("published: 2024-02-30", "not a date, such as"),
        ("published: soon", "not a date, such as"),
        ("published: true", "text"),
        ("keywords: fish", "a list"),
        ("responsible_ai: {bias: none}", "did you mean 'biases'?"),
        ("responsible_ai: {biases: ''}", "some text"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, keys, says):
    """A mistake in a key for metadata gives one line with its place."""
    with pytest.raises(CatalogError) as error:
        with_keys(tmp_path, keys)
    assert says in str(error.value)
    assert "datasets.yml:8" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("written", "read"), [("2024", "2024"), ("2024-05", "2024-05"), ("2024-05-31", "2024-05-31")])
def test_a_date_is_a_day_a_month_or_a_year(tmp_path, written, read):
    """A date can have three precisions; a year needs no quotes."""
    assert with_keys(tmp_path, f"published: {written}").datasets["reef"].published == read
