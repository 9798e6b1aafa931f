"""Builds that are killed, stopped, run twice at once, or have no space: nothing incomplete has a final name."""

import os
import shutil
import signal
import subprocess
import time

import pytest


def test_two_builds_at_once(catalog):
    """The second of two builds in one folder says which process is running, and does no harm."""
    first = catalog.start("build", "reef@v1")
    while not (catalog.root / ".datapack/writer").exists() or not (catalog.root / ".datapack/writer").read_text():
        time.sleep(0.01)
    error = catalog.fails("build", "reef@v1")
    assert "another datapack process is running in this folder: found build reef@v1 (process " in error
    assert first.wait() == 0
    catalog.ok("build", "reef@v1")


@pytest.mark.slow
@pytest.mark.parametrize("moment", [f"{n / 100:.2f}" for n in (15, 30, 45, 60, 80, 100, 120, 140, 160, 180)])
def test_killed_at_any_moment(catalog, moment):
    """A kill at any moment leaves nothing incomplete under a final name, and the same command resumes."""
    process = catalog.start("build", "reef@v1")
    time.sleep(float(moment))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bag, image = catalog.root / "data/reef/v1", catalog.root / "dist/reef-v1"
    if bag.exists():
        subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=bag, check=True)
    if image.exists():
        catalog.ok("verify", "oci:dist/reef-v1")
    catalog.ok("build", "reef@v1")
    assert catalog.ok("verify", "oci:dist/reef-v1").startswith("verified")
    assert not catalog.leftovers()
    assert not list(catalog.root.rglob("*.partial"))


def test_temporary_files_of_a_killed_run_are_removed(catalog):
    """Wherever a killed run left one beside the bag, the next run removes it."""
    catalog.ok("build", "reef@v1")
    left = [catalog.root / "data/reef/.datapack-0123", catalog.root / ".datapack-4567"]
    for path in left:
        path.write_bytes(b"half")
    catalog.ok("build", "reef@v1")
    assert not catalog.leftovers()


def test_terminated_build_says_so(catalog):
    """SIGTERM ends a build with one line and a status that is not zero."""
    process = catalog.start("build", "reef@v1")
    while not (catalog.root / ".dvc").exists():  # DVC takes longest here
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "stopped; run the same command again to continue"
    catalog.ok("build", "reef@v1")


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("size", ["8k", "24k", "36k", "44k"])
@pytest.mark.parametrize("target", ["oci:dist/reef-v1", "oci-archive:dist/reef.tar"])
def test_full_disk_while_writing_layers(fetched, size, target):
    """A full disk gives one error line; nothing has a final name, and with more space the same command resumes."""
    (fetched.root / "dist").mkdir()
    script = (
        f'mount -t tmpfs -o size={size} tmpfs dist && cd . && "$@"; echo "status $?"; find dist -type f; '
        'mount -o remount,size=10m dist && "$@"'
    )
    command = fetched.command("build", "reef@v1", "--to", target)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        **fetched.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "status 1\n" in done.stdout
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "not enough space on the disk: expected" in error or "No space left on device" in error
    left = [line for line in done.stdout.splitlines() if line.startswith("dist/")]
    assert not [name for name in left if not name.startswith("dist/reef-v1.partial/blobs/sha256/")]
    assert not [name for name in left if ".datapack-" in name]


def test_leftovers_of_a_killed_replacement_are_no_obstacle(built):
    """An old bag that a kill left behind does not block the next replacement."""
    shutil.copytree(built.root / "data/reef/v1", built.root / "data/reef/v1+replaced.partial")
    (built.root / "source/z").write_bytes(b"Z")
    built.ok("build", "reef@v1", "--refresh", "--update-lock")
    assert (built.root / "data/reef/v1/data/z").read_bytes() == b"Z"
    assert not list(built.root.rglob("*.partial"))
