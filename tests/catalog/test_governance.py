"""The keys for the record of an ingress: the day of deletion, and defaults."""

import datetime

import pytest

from datapack.catalog.governance import Retention
from datapack.reference import Reference
from tests.catalog.small import with_keys

REEF = Reference("reef", "v1")


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


def test_defaults_answer_for_a_dataset_that_does_not(read):
    """A dataset's own answer wins, one by one; the answers change no fingerprint, so no dataset digest."""
    plain = read(with_keys("publisher: A")).entry(REEF)
    entry = read(with_keys("purpose: own", "owner: A\n  purpose: P\n  projects: [p]")).entry(REEF)
    answers = entry.governance
    assert (answers.owner, answers.purpose, answers.projects, answers.retention) == ("A", "own", ("p",), None)
    assert entry.fingerprint == plain.fingerprint
