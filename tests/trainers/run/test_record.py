"""`run.json` has everything needed to repeat a run."""

import json
import platform
from datetime import UTC, datetime

from tests.trainers.results import a_record
from trainers.run import record
from trainers.run.record import RunRecord


def test_a_record_survives_its_file():
    """Reading the file gives the same record."""
    run = a_record(reason="no room", resumed=3)
    assert RunRecord.from_json(json.loads(json.dumps(run.to_json(), allow_nan=False))) == run


def test_versions_are_those_in_use():
    """They cover the trainers, Python, the framework, the decoders and the evaluator."""
    versions = record.versions({"torch": "2.14"})
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == "2.14"
    assert all(versions[name] for name in ("trainers", "hotcoco", "imagecodecs", "numpy", "pillow"))


def test_a_missing_package_has_no_version(monkeypatch):
    """A package that is not installed is None, not an error."""

    def missing(name):
        raise record.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(record.metadata, "version", missing)
    assert record.versions({})["hotcoco"] is None


def test_times_are_utc():
    """The time has its zone and is exact to the second."""
    written = datetime.fromisoformat(record.now())
    assert written.tzinfo == UTC
    assert written.microsecond == 0
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_the_duration_is_from_start_to_end():
    """While the run is in progress, the duration is None."""
    assert a_record().seconds == 3907
    assert a_record(ended=None).seconds is None
