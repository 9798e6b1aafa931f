"""The stand-in for the Alpine base, `examples/stand_in_base.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from examples.stand_in_base import INSTALLED, build, debian_busybox, version
from tests.bags import contents, write_bag
from tests.containers.engines import PROJECT, STAND_IN, Engine, unavailable
from tests.containers.importer import FILES, Importer, build_import, copy_program, flip, halve

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


def test_its_busybox_is_alpine_s(engine: Engine) -> None:
    """It has the busybox of Alpine 3.22; where that can't be downloaded, the script says which one it has instead."""
    found = engine.run("run", "--rm", "--network=none", STAND_IN, "busybox").stdout.splitlines()[0]
    assert found.startswith("BusyBox v1.")
    if "v1.37." not in found:
        unavailable(f"Debian trixie's busybox can't be downloaded; the tests run on {found}")


def test_without_debian_s_archive(tmp_path: Path) -> None:
    """Without the archive, the installed busybox replaces trixie's; one line says so, and why."""
    if not INSTALLED.exists():
        unavailable("busybox-static is not installed")
    for name in ("examples/stand_in_base.py", "scripts/debian-unpack.sh"):  # a project without a cache
        (tmp_path / name).parent.mkdir()
        shutil.copy(PROJECT / name, tmp_path / name)
    env = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, tmp_path / "examples/stand_in_base.py", tmp_path / "base"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("busybox-static of Debian trixie can't be downloaded: ")
    assert line.endswith(f"; the installed busybox replaces it: {version(INSTALLED)}")
    assert not list((tmp_path / ".cache").iterdir())


def test_the_oldest_busybox(tmp_path: Path, podman: Engine) -> None:
    """The import program works with busybox 1.35, the oldest that is supported: a first, a half-filled, a full copy."""
    try:
        busybox = debian_busybox("bookworm")
    except FileNotFoundError as error:
        unavailable(str(error))
    build(tmp_path / "base", busybox)
    podman.load(tmp_path / "base", "localhost/oldest:latest", tmp_path)
    context, outputs = tmp_path / "context", tmp_path / "outputs"
    context.mkdir()
    outputs.mkdir()
    copy_program(context)
    digest = write_bag(context / "data/reef/v1", FILES)
    build_import(podman, context, "localhost/import-oldest:v1", digest, "localhost/oldest:latest")
    importer = Importer(podman, "localhost/import-oldest:v1", digest, outputs)
    assert "v1.35." in importer("busybox", options=("--entrypoint=env",)).log
    for prepare in (lambda: None, lambda: halve(importer.final), lambda: None):
        prepare()
        result = importer()
        assert (result.status, result.last) == (0, importer.ok), result.log
        assert contents(importer.final / "data") == FILES
    assert importer("--check").last == importer.ok
    flip(importer.final / "data/images/007.png")
    assert importer("--check").status == 6
    podman.run("image", "rm", "--force", importer.image, "localhost/oldest:latest")


def test_wrong_usage() -> None:
    """Without a folder, it prints its usage."""
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: stand_in_base.py DIR" in done.stderr
