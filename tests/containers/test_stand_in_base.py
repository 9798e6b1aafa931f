"""The stand-in for the Alpine base, `examples/stand_in_base.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.containers.engines import PROJECT, STAND_IN, Engine

if TYPE_CHECKING:
    from pathlib import Path


PROGRAM = PROJECT / "examples" / "stand_in_base.py"


def make(folder: Path) -> str:
    return subprocess.run([sys.executable, PROGRAM, folder], check=True, capture_output=True, text=True).stdout.strip()


def test_the_same_bytes_each_time(stand_in_base: Path, tmp_path: Path) -> None:
    """Two builds give the same digest, which is printed; a second build in the same folder does no harm."""
    digest = json.loads((stand_in_base / "index.json").read_bytes())["manifests"][0]["digest"]
    assert make(tmp_path / "base") == digest
    assert make(tmp_path / "base") == digest
    assert len(list((tmp_path / "base" / "blobs" / "sha256").iterdir())) == 3


def test_it_says_what_it_is(engine: Engine) -> None:
    """Its labels say that it is for tests and the demo only, and it is an image for linux/amd64."""
    image = json.loads(engine.run("image", "inspect", STAND_IN).stdout)[0]
    assert image["Config"]["Labels"]["datapack.stand-in"] == "true"
    assert "tests and demo only" in image["Config"]["Labels"]["org.opencontainers.image.title"]
    assert (image["Os"], image["Architecture"]) == ("linux", "amd64")


def test_it_has_what_the_import_program_uses(engine: Engine) -> None:
    """Every program that the import program calls is there, for any user, and everyone can write to /tmp."""
    programs = "awk cat cp cut find head id mkdir mv nproc readlink rm sed seq setsid sha256sum sleep stat sync tr wc"
    command = f"for name in {programs} xargs; do command -v $name || exit 1; done; stat -c %a /tmp /root"
    found = engine.run("run", "--rm", "--network=none", "--user=12345:12345", STAND_IN, "sh", "-c", command).stdout
    assert found.split()[-2:] == ["1777", "700"]


def test_wrong_usage() -> None:
    """Without a folder, it prints its usage."""
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: stand_in_base.py DIR" in done.stderr
