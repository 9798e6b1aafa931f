"""The keys for the record of an ingress: the days of deletion, defaults, and what is wrong with them, in one line."""

import datetime

import pytest

from datapack.catalog.governance import Retention
from datapack.catalog.model import Catalog
from datapack.errors import CatalogError
from datapack.reference import Reference
from tests.conftest import CATALOG

REEF = Reference("reef", "v1")


def with_keys(tmp_path, keys: str, defaults: str = "") -> Catalog:
    """Read the small catalog with more keys of its dataset, and of its defaults."""
    path = tmp_path / "datasets.yml"
    text = CATALOG.replace("    versions:", f"    {keys}\n    versions:", 1)
    path.write_text(text.replace("connections: 5}", f"connections: 5{defaults}}}", 1))
    return Catalog.read(path)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("retention: {period: 3 years}", "datasets.reef.retention: missing key 'reason'"),
        ("retention: {reason: x}", "give either 'until' or 'period'"),
        ("retention: {until: 2027-01-01, period: 1 year, reason: x}", "give either 'until' or 'period'"),
        ("retention: {until: 2027-02-30, reason: x}", "not a day, such as"),
        ("retention: {until: 2027, reason: x}", "text"),
        ("retention: {until: 20270101, reason: x}", "text"),
        ("retention: {until: 2027-W01-1, reason: x}", "not a day, such as"),
        ("retention: {period: for ever, reason: x}", "not a period, such as"),
        ("retention: {period: 0 days, reason: x}", "not a period, such as"),
        ("retention: {priod: 3 years, reason: x}", "did you mean 'period'?"),
        ("retention: 3 years", "datasets.reef.retention"),
        ("projects: []", "datasets.reef.projects"),
        ("projects: eidf1", "a list"),
        ("purpose: ''", "some text"),
        ("purpse: x", "did you mean 'purpose'?"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, keys, says):
    """A mistake in a key gives one line with its place."""
    with pytest.raises(CatalogError) as error:
        with_keys(tmp_path, keys)
    assert says in str(error.value)
    assert f"{tmp_path / 'datasets.yml'}:" in str(error.value)


@pytest.mark.parametrize(
    ("period", "received", "deletion"),
    [
        ("90 days", "2026-11-28", "2027-02-26"),
        ("2 weeks", "2026-12-25", "2027-01-08"),
        ("1 month", "2027-01-31", "2027-02-28"),
        ("18 months", "2026-11-28", "2028-05-28"),
        ("1 year", "2024-02-29", "2025-02-28"),
        ("4 years", "2024-02-29", "2028-02-29"),
        ("9999 years", "2026-11-28", "9999-12-31"),
        ("9999 days", "9999-01-01", "9999-12-31"),
    ],
)
def test_a_period_ends_on_a_day_that_exists(period, received, deletion):
    """The expected deletion is so long after the day of arrival; months that are shorter end earlier."""
    retention = Retention(period=period, reason="x")
    assert retention.deletion(datetime.date.fromisoformat(received)) == datetime.date.fromisoformat(deletion)
    assert retention.deletion(None) is None


def test_defaults_answer_for_a_dataset_that_does_not(tmp_path):
    """A dataset's own answer wins, one by one; the answers change no fingerprint, so no dataset digest."""
    plain = with_keys(tmp_path, "publisher: A").entry(REEF)
    entry = with_keys(tmp_path, "purpose: own", ", owner: A, purpose: P, projects: [p]").entry(REEF)
    answers = entry.governance
    assert (answers.owner, answers.purpose, answers.projects, answers.retention) == ("A", "own", ("p",), None)
    assert entry.fingerprint == plain.fingerprint
