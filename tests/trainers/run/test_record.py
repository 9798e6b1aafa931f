"""`run.json` says enough to do the run again."""

import json
import platform
from datetime import UTC, datetime

import pytest

from tests.trainers.judging import a_record
from trainers.run import record
from trainers.run.record import RunRecord


def test_a_record_survives_its_file():
    """What is written is read again as it was."""
    run = a_record(reason="no room", resumed=3)
    assert RunRecord.from_json(json.loads(json.dumps(run.to_json(), allow_nan=False))) == run


@pytest.mark.torch
def test_versions_are_those_that_run():
    """Python's, torch's and those of what reads and judges."""
    import torch

    versions = record.versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__
    assert all(versions[name] for name in ("trainers", "torchvision", "hotcoco", "imagecodecs", "numpy", "pillow"))
    assert versions["cuda"] == torch.version.cuda


@pytest.mark.torch
def test_what_is_not_installed_has_no_version(monkeypatch):
    """A package that is not there is None, no error."""

    def missing(name):
        raise record.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(record.metadata, "version", missing)
    assert record.versions()["torchvision"] is None


def test_a_cpu_is_no_gpu():
    """Without a GPU none is named."""
    assert record.gpu("cpu") is None


def test_times_are_utc():
    """The time is written with its zone, to the second."""
    written = datetime.fromisoformat(record.now())
    assert written.tzinfo == UTC
    assert written.microsecond == 0
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_the_duration_is_from_start_to_end():
    """And None while the run goes on."""
    assert a_record().seconds == 3907
    assert a_record(ended=None).seconds is None
