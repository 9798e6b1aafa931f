"""Fetching a version walks the payload once and starts DVC once."""

import json
import subprocess
import sys

import pytest

# Runs one command of datapack, and counts what Python's audit hooks tell of it.
COUNTED = """
import json, sys
from datapack.cli import main
walked, started = [], []

def count(event, arguments):
    if event == "os.scandir" and str(arguments[0]).endswith(("v1.partial/data", "v1/data")):
        walked.append(str(arguments[0]))
    if event == "subprocess.Popen" and "dvc" in arguments[1]:
        started.append(arguments[1][arguments[1].index("dvc") + 1])

sys.addaudithook(count)
status = main(sys.argv[1:])
print(json.dumps({"walked": walked, "started": started}))
sys.exit(status)
"""


@pytest.fixture
def counted(catalog):
    """Run datapack; return the payload folders that it walked and the command of each DVC process."""

    def run(*arguments):
        command = [sys.executable, "-c", COUNTED, *arguments]
        done = subprocess.run(command, **catalog.options(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_first_build_walks_the_payload_once_and_does_not_start_dvc(counted, catalog):
    """A small build would spend most of its time starting DVC, a large one listing its files."""
    found = counted("build", "reef@v1")
    assert found["walked"] == [str(catalog.root / "data/reef/v1.partial/data")]
    assert found["started"] == []


def test_second_build_does_not_start_dvc(counted, catalog):
    """The bag is here and its hash is in the lock; DVC's settings and pointers are read from files."""
    counted("build", "reef@v1")
    found = counted("build", "reef@v1")
    assert found["walked"] == [str(catalog.root / "data/reef/v1/data")]
    assert found["started"] == []
    assert counted("verify", "reef@v1")["started"] == []
    assert counted("list")["started"] == []


def test_what_another_version_has_half_is_not_touched(catalog):
    """Version v1.replaced is another one than v1: a fetch and a removal of v1 leave its unfinished bag alone."""
    catalog.ok("fetch", "reef@v1")
    half = catalog.root / "data/reef/v1.replaced.partial/data/x.bin"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"x")
    catalog.ok("fetch", "reef@v1", "--refresh")
    assert half.exists()
    catalog.ok("remove", "reef@v1", "--yes", "--only-copy")
    assert not (catalog.root / "data/reef/v1").exists()
    assert half.exists()
