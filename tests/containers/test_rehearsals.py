"""`datapack run` on real engines: images run as in the Safe Haven, and their output is checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers.engines import CONTAINERS_CONF, STAND_IN, START_TIMEOUT, Engine, need, unavailable
from tests.containers.importer import PROGRAM
from tests.containers.rehearsing import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


NOBODY = 12345  # a user without a name and without subordinate user IDs
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CORRUPT = """#!/bin/sh
/usr/local/bin/honest "$@"
chmod u+w /safe_outputs/reef/v1/data /safe_outputs/reef/v1/data/7.bin
printf X | dd of=/safe_outputs/reef/v1/data/7.bin bs=1 seek=9 conv=notrunc 2>/dev/null
echo "$DATAPACK_LAST"
"""


# ---- Import containers


@pytest.mark.every_engine
@pytest.mark.parametrize("strict", [(), ("--strict",)], ids=["plain", "strict"])
def test_an_import_is_rehearsed_and_verified(stage: Stage, strict: tuple[str, ...]) -> None:
    """The image in the lock is loaded into the engine and run, and every imported byte is verified."""
    done = stage.ok("reef@v1", *strict)
    lines = done.stdout.splitlines()
    ok = next(number for number, line in enumerate(lines) if line.startswith("IMPORT OK reef@v1 sha256:"))
    assert lines[ok + 1] == "rehearsed reef@v1"
    assert lines[ok + 2].startswith("verified, every byte: ")
    assert "20 files, 2 MB" in lines[ok + 2]
    assert lines[ok + 3] == f"receipt  {lines[ok]}"
    outputs = stage.kept() / "safe_outputs"
    assert (outputs / "reef/v1/data/7.bin").read_bytes() == b"\x07" * 100_000
    assert str(outputs) in done.stderr
    assert "4g of memory, no network" in done.stderr
    assert "this image is not for a Safe Haven: it is based on a stand-in base" in done.stderr
    assert ("strict: " in done.stderr) == bool(strict)


def test_the_json_of_a_rehearsal(stage: Stage) -> None:
    """With --json the container's log is on standard error, and the output is one document."""
    done = stage.ok("reef@v1", "--json")
    found = json.loads(done.stdout)
    assert (found["image"], found["written"]) == ("reef@v1", [])
    assert found["imported"]["scope"] == "full"
    assert found["imported"]["receipt"] == f"IMPORT OK reef@v1 {found['imported']['digest']}"
    assert f"{found['imported']['receipt']}\n" in done.stderr


@pytest.mark.every_engine
def test_an_image_is_loaded_into_the_engine_once(stage: Stage) -> None:
    """An image whose ID the engine has is not sent again; by its name it is rehearsed in the same way."""
    stage.ok("reef@v1")
    assert "loading" not in stage.ok("reef@v1").stderr
    assert "receipt  IMPORT OK reef@v1 sha256:" in stage.ok("reef:v1").stdout
    stage.engine.run("image", "rm", "--force", "reef:v1")
    assert "loading reef@v1 into the engine" in stage.ok("reef@v1").stderr


def test_the_newer_launch_shows_safe_data_alone(stage: Stage) -> None:
    """Without /safe_outputs the import says what is missing; with --to it copies to a writable /safe_data."""
    assert "status 3" in stage.fails(3, "reef@v1", "--launch", "podman")
    done = stage.ok("reef@v1", "--launch", "podman", "--", "--to", "/safe_data")
    assert f"verified, every byte: {stage.kept()}/safe_data/reef/v1" in done.stdout
    to_data = ("--", "--to", "/safe_data")
    assert "status 3" in stage.fails(3, "reef@v1", "--launch", "podman", "--data-read-only", *to_data)
    assert "status 3" in stage.fails(3, "reef@v1", *to_data)


def test_list_imports_nothing(stage: Stage) -> None:
    """``--list`` copies nothing, and the rehearsal expects no data."""
    assert "written  nothing" in stage.ok("reef@v1", "--", "--list").stdout


@pytest.fixture
def corrupting(stage: Stage, tmp_path: Path) -> Iterator[str]:
    """Make an import container whose program changes a byte after the import reported success."""
    stage.ok("reef@v1", "--", "--list")  # loads the image into the engine
    stage.engine.run("tag", "reef:v1", "localhost/honest:v1")
    shutil.copy(PROGRAM, tmp_path / "honest")
    (tmp_path / "corrupt").write_text(CORRUPT)
    for name in ("honest", "corrupt"):
        (tmp_path / name).chmod(0o555)
    (tmp_path / "Dockerfile").write_text(
        "FROM localhost/honest:v1\nCOPY honest /usr/local/bin/honest\nCOPY corrupt /usr/local/bin/import\n"
    )
    stage.engine.build(tmp_path / "Dockerfile", tmp_path, "localhost/corrupting:v1")
    yield "localhost/corrupting:v1"
    stage.engine.run("image", "rm", "--force", "localhost/corrupting:v1", "localhost/honest:v1")


def test_a_copy_that_was_changed_is_status_3(stage: Stage, corrupting: str) -> None:
    """A byte that changed after the import's own check is found, and its file is named."""
    done = stage.run("run", corrupting)
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert "IMPORT OK" in done.stdout
    assert "error: " in done.stderr
    assert "the data does not match its manifest: found 1 changed" in done.stderr
    assert "changed  data/7.bin" in done.stderr
    stage.nothing_is_left()


def test_a_last_line_that_says_failed_is_a_failure(stage: Stage, corrupting: str, tmp_path: Path) -> None:
    """The Safe Haven shows every job as completed: the last line counts, even with status 0."""
    variables = tmp_path / "variables"
    variables.write_text("DATAPACK_LAST=IMPORT FAILED: of course\n")
    assert "'IMPORT FAILED: of course'" in stage.fails(1, corrupting, "--env-file", str(variables))
    assert "'TRAINING FAILED: no data'" in stage.fails(1, *stage.sh("echo TRAINING FAILED: no data"))


# ---- Any image


def test_the_safe_havens_folders(stage: Stage, tmp_path: Path) -> None:
    """/safe_data is the named folder, read-only; outputs stay, scratch is deleted; there is no network."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.yml").write_text("epochs: 1\n")
    script = """
        cat /safe_data/train.yml
        touch /safe_data/x 2>/dev/null && echo writable
        mkdir /safe_outputs/run && echo 12345 >/safe_outputs/run/log.txt && echo 1 >/scratch/x && ls /scratch
        ls /sys/class/net
    """
    done = stage.ok(*stage.sh(script, "--data", str(tmp_path / "data"), "--outputs", str(tmp_path / "new" / "out")))
    assert done.stdout.splitlines()[:4] == ["epochs: 1", "x", "lo", f"rehearsed {STAND_IN}"]
    assert f"written  1 file, 6 B: {tmp_path}/new/out" in done.stdout
    assert "6 B  run/log.txt" in done.stdout
    assert (tmp_path / "new/out/run/log.txt").read_text() == "12345\n"
    assert list((tmp_path / "data").iterdir()) == [tmp_path / "data" / "train.yml"]


@pytest.mark.every_engine
def test_strict_drops_what_may_be_missing(stage: Stage, tmp_path: Path) -> None:
    """With --strict: a read-only root and /tmp, a user without a name, no capabilities; outputs stay writable."""
    script = """
        id -u; id -g; grep -c 54321 /etc/passwd /etc/group
        for folder in / /tmp /run /var/tmp; do touch $folder/x 2>/dev/null && echo "$folder is writable"; done
        grep -e CapEff -e CapBnd -e NoNewPrivs /proc/self/status
        echo 1 >/safe_outputs/x && echo 1 >/scratch/x && stat -c %a /safe_outputs
    """
    outputs = tmp_path / "outputs"
    outputs.mkdir(mode=0o750)
    done = stage.ok(*stage.sh(script, "--strict", "--outputs", str(outputs)))
    assert done.stdout.split()[:4] == ["54321", "54321", "/etc/passwd:0", "/etc/group:0"]
    assert "is writable" not in done.stdout
    assert "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1" in done.stdout
    assert (outputs / "x").exists()
    assert stat.S_IMODE(outputs.stat().st_mode) == 0o750
    done = stage.ok(*stage.sh("touch /safe_outputs/x", "--strict"))
    assert stat.S_IMODE(stage.kept().stat().st_mode) == 0o700


def test_files_of_options_arguments_and_variables(stage: Stage, tmp_path: Path) -> None:
    """The settings in files like those of the Safe Haven reach the container."""
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "file").write_text("mounted\n")
    (tmp_path / "options").write_text(
        "# a remark\n-e ONE=1 --env=TWO='two words'\n--hostname=rehearsal\n--user 1234:5678\n-w /safe_outputs\n"
        "--shm-size=1m\n--tmpfs /extra:size=2m\n--ulimit nofile=100:200 --ulimit=nproc=4096:4096\n--pids-limit 99\n"
        "--cap-drop ALL --security-opt no-new-privileges\n--memory\n64m\n--cpus=0.5\n--network none\n--read-only\n"
        f"--label x=y --volume={tmp_path}/mounted:/mounted:ro\n"
    )
    (tmp_path / "variables").write_text("# a remark\n\nTHREE='as it stands' \nFOUR=a=b\n")
    (tmp_path / "arguments").write_text(
        "sh -c  # the program\n'env; id; pwd; hostname; cat /mounted/file; ulimit -n; df'\n"
    )
    files = [part for name in ("opt", "env", "arg") for part in (f"--{name}-file", "")]
    files[1::2] = [str(tmp_path / name) for name in ("options", "variables", "arguments")]
    done = stage.ok(STAND_IN, *files)
    for line in (
        "ONE=1",
        "TWO=two words",
        "THREE='as it stands' ",
        "FOUR=a=b",
        "/safe_outputs",
        "rehearsal",
        "mounted",
    ):
        assert line in done.stdout.splitlines()
    assert "uid=1234" in done.stdout
    assert "64m of memory" in done.stderr
    sizes = {line.split()[-1]: line.split()[1] for line in done.stdout.splitlines() if line.count("%") == 1}
    assert (sizes["/dev/shm"], sizes["/extra"]) == ("1024", "2048")


def test_a_memory_limit_holds(stage: Stage) -> None:
    """A container that exceeds its memory limit is killed, and datapack says so."""
    line = stage.fails(137, *stage.sh("exec dd if=/dev/zero of=/dev/null bs=200M count=1", "--memory", "64m"))
    assert "used more than its 64m of memory" in line
    assert "64m" not in stage.fails(7, *stage.sh("exit 7", "--memory", "64m"))


def test_a_status_is_passed_on(stage: Stage) -> None:
    """If the container ends with 7, datapack ends with 7."""
    line = stage.fails(7, *stage.sh("echo no >&2; exit 7"))
    assert line == f"error: {STAND_IN}: the container failed: found status 7; its log is above"


def test_the_log_comes_as_it_is_printed(stage: Stage) -> None:
    """Half a line is shown at once, both streams stay separate, and bytes that are not text pass through."""
    script = "printf half; while [ ! -e /safe_data/go ]; do sleep 0.1; done; echo ' whole'; echo err >&2"
    data = stage.root / "dist" / "data"
    data.mkdir(exist_ok=True)
    with stage.start(*stage.sh(script, "--data", str(data))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert os.read(process.stdout.fileno(), 4) == b"half"
        (data / "go").touch()
        assert process.stdout.read().startswith(" whole\nrehearsed")
        assert "err\n" in process.stderr.read()
    shutil.rmtree(data)
    done = subprocess.run(
        [sys.executable, "-m", "datapack", "run", *stage.sh(r"printf '\377\376\n'; seq 1 200000")],
        cwd=stage.root,
        env=stage.environment,
        capture_output=True,
        check=True,
    )
    numbers = b"".join(b"%d\n" % number for number in range(1, 200_001))
    assert done.stdout.startswith(b"\xff\xfe\n" + numbers + b"rehearsed ")


# ---- Podman without root


@pytest.fixture
def rootless(stand_in_base: Path) -> Iterator[Stage]:
    """Podman and datapack as an unprivileged user with its own folder."""
    need("podman", "runc", "skopeo", "setpriv")
    python = [*AS_NOBODY, sys.executable, "-c", "import docker"]
    if subprocess.run(python, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("only root may use this Python")
    with tempfile.TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        archive = folder / "image.tar"
        skopeo = ["skopeo", "copy", "--quiet", f"oci:{stand_in_base}", f"docker-archive:{archive}:{STAND_IN}"]
        subprocess.run(skopeo, check=True)
        settings = folder / "containers.conf"
        settings.write_text(CONTAINERS_CONF.format(folder=folder / "run"))
        for part in ("home", "run", "catalog"):
            (folder / part).mkdir(mode=0o700)
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        command = (*AS_NOBODY, "podman", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs")
        own = {"HOME": f"{folder}/home", "XDG_RUNTIME_DIR": f"{folder}/run", "CONTAINERS_CONF": str(settings)}
        engine = Engine("podman", command, f"unix://{folder}/podman.sock", own)
        serve = [*command, "system", "service", "--time", "0", engine.url]
        service = subprocess.Popen(
            serve, cwd=folder, env={**os.environ, **own}, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not (folder / "podman.sock").exists() and service.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if engine.run("load", "--input", archive, check=False).returncode:
                unavailable("Podman does not run here without root")
            yield Stage(folder / "catalog", engine, own, AS_NOBODY)
        finally:
            os.killpg(service.pid, signal.SIGKILL)  # it re-executes itself as root of a user namespace
            service.wait()
            for pause in folder.rglob("pause.pid"):  # the process that keeps the namespace alive
                os.kill(int(pause.read_text()), signal.SIGKILL)


def test_without_root(rootless: Stage) -> None:
    """Rootless Podman works too; if it can't limit the memory, as on cgroups v1, datapack says so."""
    done = rootless.ok(*rootless.sh("id -u; echo 1 >/safe_outputs/x; echo 1 >/scratch/x"))
    assert done.stdout.startswith("0\n")
    assert (rootless.kept() / "safe_outputs" / "x").stat().st_uid == NOBODY
    can = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert ("this engine can't limit memory here" in done.stderr) != can


# ---- Errors


def test_what_can_not_be_run_is_one_clear_line(stage: Stage) -> None:
    """A missing image, a missing program, an invalid name or a missing GPU gives one clear line."""
    assert "nope:latest: the engine has no such image; pull or load it" in stage.fails(1, "nope:latest")
    assert "the engine can't find this image" in stage.fails(1, "Not An Image")
    assert "reef has no version v2: expected one of reef@v1" in stage.fails(2, "reef@v2")
    assert "the engine can't run this container: found" in stage.fails(1, STAND_IN, "--", "/no/such/program")
    assert "the engine can't create this container: found" in stage.fails(1, STAND_IN, "--name", "a b", "--", "true")
    gpu = stage.fails(1, STAND_IN, "--gpu", "--", "true")
    too_old = "expected Podman 5.4 or newer, or Docker, found Podman 4.3.1" in gpu
    assert too_old or "rehearse without --gpu, or set up the NVIDIA Container Toolkit" in gpu


def test_two_mounts_at_one_place_are_refused(stage: Stage, tmp_path: Path) -> None:
    """A flag that mounts over /safe_outputs is an error in both engines, although Podman would accept it."""
    options = tmp_path / "options"
    options.write_text(f"-v {tmp_path}:/safe_outputs/\n")
    line = stage.fails(2, STAND_IN, "--opt-file", str(options), "--", "true")
    assert line == f"error: {options}: something else is mounted there: found /safe_outputs"
