"""`datapack run` without an engine: options and files, wrong ones as one clear line; folders and bags."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
from functools import partial

import pytest

from datapack.bag.bagit import write_tags
from datapack.bag.listing import list_payload
from datapack.bag.manifest import Manifest
from datapack.engine import Engine
from datapack.errors import ImageError, MismatchError, UsageError
from datapack.progress import Silent
from datapack.rehearse.arguments import limited, strict, with_gpu, with_mounts
from datapack.rehearse.arrival import imports_nothing, list_files, verify_arrival
from datapack.rehearse.flags import FLAGS, read_opt_file, volumes
from datapack.rehearse.folders import is_abandoned, open_folders, remove_abandoned
from datapack.rehearse.settings import parse_bytes, read_env_file, read_words, show_bytes
from datapack.rehearse.subject import Dataset, find_stored, find_subject
from datapack.workspace.folder import Workspace
from tests.conftest import PROJECT
from tests.workplace import REFERENCE

PODMAN = Engine("Podman", "4.3.1", limits_memory=True, limits_swap=True)
DOCKER = Engine("Docker", "20.10.24", limits_memory=True, limits_swap=True)

# ---- Settings and files


@pytest.mark.parametrize("what", ["oci:dist/reef-v1", "oci-archive:reef.tar"])
def test_an_image_on_disk_is_for_apptainer(what):
    """The error says how to rehearse it; no engine is asked."""
    with pytest.raises(UsageError, match=r"an engine runs no image on disk; rehearse its name@version, .* apptainer"):
        find_subject(None, what, None, None, Silent())


def test_only_a_version_of_the_catalog_is_to_be_built(catalog):
    """The error for a version that does not exist is that of `build`; for another, it names the command."""
    workspace = Workspace(catalog.root)
    for launch in (partial(find_subject, None), partial(find_stored, folder=catalog.root)):
        find = partial(launch, workspace=workspace, base=None, reporter=Silent())
        with pytest.raises(UsageError, match="reef has no version v9: expected one of reef@v1"):
            find(what="reef@v9")
        with pytest.raises(ImageError, match="its image has not been built; build it first: 'datapack build reef@v1'"):
            find(what="reef@v1")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4g", 4 << 30), ("4 Gb", 4 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("1t", 1 << 40)],
)
def test_amounts_of_memory(text, amount):
    """Amounts are read as docker and podman read them, and printed so that they can be read again."""
    assert parse_bytes(text) == amount
    assert parse_bytes(show_bytes(amount)) == amount


@pytest.mark.parametrize("text", ["", "4x", "-1g", "0", "many", "4g4"])
def test_wrong_amounts_of_memory(text):
    """Anything else raises an error that explains the format."""
    with pytest.raises(ValueError, match="such as 4g"):
        parse_bytes(text)


def test_an_env_file(tmp_path, monkeypatch):
    """Values stay unchanged; a name alone takes its value from this environment, if it has one."""
    monkeypatch.setenv("HERE", "value")
    monkeypatch.delenv("NOT_HERE", raising=False)
    path = tmp_path / "variables"
    path.write_text('\ufeff# a remark\n\n  A=b c \nQUOTED="x"\nEMPTY=\nHERE\nNOT_HERE\nE=1=2\n', encoding="utf-8")
    assert read_env_file(path) == ["A=b c ", 'QUOTED="x"', "EMPTY=", "HERE=value", "E=1=2"]


@pytest.mark.parametrize("line", ["=value", "A KEY=value", "A KEY"])
def test_a_malformed_variable(tmp_path, line):
    """The error has the file, the line number and the expected form."""
    path = tmp_path / "variables"
    path.write_text(f"A=b\n{line}\n")
    with pytest.raises(UsageError) as error:
        read_env_file(path)
    expected = f"{path}:2: not an environment variable: expected KEY=VALUE, with no space in KEY, found {line!r}"
    assert str(error.value) == expected


def test_the_words_of_a_file(tmp_path):
    """Several words per line, quoted as in a shell; the error for an open quotation has its line."""
    path = tmp_path / "arguments"
    path.write_text("train --config '/safe_data/my train.yml' # a remark\n\n--seed 1\n")
    words = [(1, "train"), (1, "--config"), (1, "/safe_data/my train.yml"), (3, "--seed"), (3, "1")]
    assert list(read_words(path)) == words
    path.write_text("train\n--config 'oh\n")
    with pytest.raises(UsageError, match=f"^{path}:2: can't be split into words: found No closing quotation"):
        list(read_words(path))


def test_unreadable_files(tmp_path):
    """A missing file and a binary one are named."""
    with pytest.raises(UsageError, match="missing: can't read the file: found No such file"):
        read_env_file(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="binary: not text in UTF-8"):
        read_env_file(tmp_path / "binary")


# ---- Podman's flags


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("-e A=1 --env B=2 --env=C=3 -eD=4", {"environment": ["A=1", "B=2", "C=3", "D=4"]}),
        ("-m 1g\n--memory=2g", {"mem_limit": 2 << 30}),
        ("--cpus 1.5", {"nano_cpus": 1_500_000_000}),
        ("--shm-size=64m", {"shm_size": 64 << 20}),
        ("-u 1:2 -w /work -h name", {"user": "1:2", "working_dir": "/work", "hostname": "name"}),
        ("--read-only", {"read_only": True}),
        ("--read-only=false --user 1", {"read_only": False, "user": "1"}),
        ("--tmpfs /a --tmpfs=/b/:size=1m", {"tmpfs": {"/a": "", "/b": "size=1m"}}),
        ("--entrypoint /bin/sh", {"entrypoint": ["/bin/sh"]}),
        ("""--entrypoint '["sh", "-c"]'""", {"entrypoint": ["sh", "-c"]}),
        ("--ulimit nofile=1:2", {"ulimits": [{"name": "nofile", "soft": 1, "hard": 2}]}),
        ("--ulimit core=-1", {"ulimits": [{"name": "core", "soft": -1, "hard": -1}]}),
        ("--pids-limit -1", {"pids_limit": -1}),
        ("--cap-drop ALL --cap-drop=A,B", {"cap_drop": ["ALL", "A", "B"]}),
        ("--security-opt no-new-privileges", {"security_opt": ["no-new-privileges"]}),
        ("--label a=b -l c", {"labels": {"a": "b", "c": ""}}),
        ("-v /tmp:/in/ --volume=/:/root:ro", {"volumes": ["/tmp:/in:rw", "/:/root:ro"]}),
        ("--net none --network=none", {"network_mode": "none"}),
        ("# nothing\n", {}),
    ],
)
def test_flags(tmp_path, text, arguments):
    """Each supported flag becomes the argument of docker's SDK with the same meaning."""
    path = tmp_path / "options"
    path.write_text(text)
    assert read_opt_file(path) == arguments


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("--user 1\n--privileged", "2: this flag is not supported: expected one of --cap-drop, --cpus, "),
        ("--privileged=true", "1: this flag is not supported: "),
        ("-p 80:80", "1: this flag is not supported: "),
        ("--memry 1g", "found --memry; did you mean '--memory'?"),
        ("\nimage", "2: not a flag: "),
        ("--user 1 2", "1: not a flag: "),
        ("--memory", "1: --memory needs a value"),
        ("--memory much", "1: wrong value for --memory: expected a number of bytes with"),
        ("--network host", "1: wrong value for --network: expected none: a container in the Safe Haven has no network"),
        ("--net=bridge", "1: wrong value for --network: "),
        ("--cpus none", "1: wrong value for --cpus: expected a number of cores, such as 2 or 0.5, found 'none'"),
        ("--cpus 0", "1: wrong value for --cpus: "),
        ("--read-only=maybe", "1: wrong value for --read-only: expected true or false"),
        ("--security-opt seccomp=unconfined", "1: wrong value for --security-opt: "),
        ("--tmpfs tmp", "1: wrong value for --tmpfs: "),
        ("--ulimit nofile", "1: wrong value for --ulimit: "),
        ("--ulimit host", "1: wrong value for --ulimit: "),
        ("--entrypoint '[1]'", "1: wrong value for --entrypoint: expected a program, or a JSON list of words"),
        pytest.param("--entrypoint " + "[" * 100_000, "1: wrong value for --entrypoint: expected a program", id="deep"),
        ("--entrypoint '[\"a\"'", "1: wrong value for --entrypoint: "),
        ("--pids-limit few", "1: wrong value for --pids-limit: expected a whole number, found 'few'"),
        ("-v name:/in", "1: wrong value for --volume: expected /FOLDER/HERE:/FOLDER/INSIDE"),
        ("-v /no/such/folder:/in", "expected an existing file or folder on this machine"),
        ("-e =1", "1: wrong value for --env: expected KEY=VALUE"),
    ],
)
def test_unsupported_flags(tmp_path, text, line):
    """The error names the flag, the file and the line."""
    path = tmp_path / "options"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_opt_file(path)
    assert str(error.value).startswith(f"{path}:")
    assert line in str(error.value)


def test_the_reference_lists_every_flag():
    """The documentation lists exactly the flags that --opt-file supports."""
    page = (PROJECT / "docs/reference/commands.md").read_text()
    section = page.split("## Flags of `--opt-file`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `--([a-z-]+)`", section, re.MULTILINE) == sorted(FLAGS)


# ---- Arguments for the engine


def test_memory_is_limited_if_the_engine_can():
    """Swap is part of the limit; an engine that can't limit memory is not asked to."""
    assert limited({}, 64, DOCKER) == {"mem_limit": 64, "memswap_limit": 64}
    assert limited({}, 64, Engine("Docker", "1", limits_memory=True, limits_swap=False))["memswap_limit"] is None
    nothing = {"mem_limit": None, "memswap_limit": None}
    assert limited({"mem_limit": 64}, 64, Engine("Docker", "1", limits_memory=False, limits_swap=False)) == nothing


def test_strict_overrides_flags_but_keeps_their_tmpfs():
    """A user or capabilities from a flag do not weaken --strict; a requested tmpfs stays."""
    flags = {"user": "0", "cap_drop": ["A"], "read_only": False, "tmpfs": {"/tmp": "size=1m"}}
    for engine, hidden in ((DOCKER, {}), (PODMAN, {"/run": "ro", "/var/tmp": "ro"})):
        asked = strict(flags, engine)
        assert (asked["user"], asked["cap_drop"], asked["read_only"]) == ("54321:54321", ["ALL"], True)
        assert asked["tmpfs"] == {"/tmp": "size=1m", **hidden}


def test_a_gpu():
    """Docker gets a device request, a new Podman a CDI device; an old Podman would silently ignore it."""
    (request,) = with_gpu({}, DOCKER)["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])
    for version in ("5.4.0", "6.0.0-dev", "10.1"):
        (request,) = with_gpu({}, Engine("Podman", version, True, True))["device_requests"]
        assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])
    for version in ("4.9.3", "5.3.2", "?"):
        with pytest.raises(ImageError, match=r"expected Podman 5\.4 or newer, or Docker"):
            with_gpu({}, Engine("Podman", version, True, True))


def test_two_mounts_at_the_same_path(tmp_path):
    """A flag can't mount over the Safe Haven's folders, however it is written."""
    options = tmp_path / "options"
    for text in (f"-v {tmp_path}:/scratch/", "--tmpfs /scratch"):
        options.write_text(text)
        flags = read_opt_file(options)
        with pytest.raises(UsageError, match="something else is mounted there: found /scratch"):
            with_mounts(flags, {"/scratch": (tmp_path, False)}, options)
    options.write_text(f"-v {tmp_path}:/other")
    assert volumes(read_opt_file(options)) == {"/other": tmp_path}


# ---- Folders


def test_folders_are_private_and_writable_only_during_the_rehearsal(tmp_path):
    """Other users can't reach the folders; permissions are restored; empty folders are removed."""
    outputs, data = tmp_path / "outputs", tmp_path / "data"
    data.mkdir(mode=0o750)
    with open_folders(tmp_path / "kept", data, outputs, anyone=True) as folders:
        assert stat.S_IMODE(folders.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(folders.scratch.stat().st_mode) == stat.S_IMODE(outputs.stat().st_mode) == 0o777
        assert stat.S_IMODE(data.stat().st_mode) == 0o750
        (folders.scratch / "x").write_text("x")
        assert is_abandoned(folders.root) is False
    assert stat.S_IMODE(outputs.stat().st_mode) & 0o002 == 0
    assert not folders.root.exists()
    assert is_abandoned(folders.root) is None
    with open_folders(tmp_path / "kept", None, None, anyone=False) as folders:
        assert stat.S_IMODE(folders.outputs.stat().st_mode) & 0o002 == 0
        (folders.outputs / "x").write_text("x")
    assert list(folders.root.rglob("*")) == [folders.outputs, folders.outputs / "x"]


def test_a_failure_keeps_the_outputs(tmp_path):
    """What was written before a failure stays; the rest is removed."""

    def interrupted() -> None:
        with open_folders(tmp_path, None, None, anyone=True) as folders:
            (folders.outputs / "x").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (root,) = tmp_path.iterdir()
    assert [path.name for path in root.iterdir()] == ["safe_outputs"]


def test_a_killed_process_is_detected(tmp_path):
    """The kernel releases the lock however the process ends; the outputs stay."""
    code = f"""
import os, signal, sys
from pathlib import Path
from datapack.rehearse.folders import open_folders
with open_folders(Path({str(tmp_path)!r}), None, None, True) as folders:
    (folders.outputs / "x").write_text("x")
    (folders.scratch / "x").write_text("x")
    print(folders.root, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (root,) = tmp_path.iterdir()
    assert str(root) == done.stdout.strip()
    assert is_abandoned(root) is True
    remove_abandoned(root)
    assert [path.name for path in root.iterdir()] == ["safe_outputs"]
    assert is_abandoned(root) is True  # its container may still have to be removed


def test_a_folder_without_the_marker_is_left(tmp_path):
    """Whatever a container's label says, only a rehearsal's own folder loses its scratch."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "precious").write_text("x")
    remove_abandoned(tmp_path)
    assert (tmp_path / "scratch" / "precious").exists()


# ---- What arrived


@pytest.fixture
def arrived(tmp_path):
    """The outputs of a correct import, and the dataset that the image names."""
    outputs = tmp_path / "outputs"
    bag = outputs / "reef" / "v1"
    (bag / "data").mkdir(parents=True)
    (bag / "data" / "z").write_bytes(b"z")
    manifest = Manifest.of({"data/z": hashlib.sha256(b"z").hexdigest()})
    write_tags(bag, manifest, list_payload(bag), {"External-Identifier": "reef@v1"}, {})
    (outputs / "reef" / "v1.import.txt").write_text(f"files 1\nIMPORT OK reef@v1 {manifest.digest}\n")
    return outputs, Dataset(REFERENCE, manifest.digest)


def test_the_import_is_found_where_it_was_sent(arrived):
    """`--to` may name a path below any mounted folder; the last one counts."""
    outputs, dataset = arrived
    for arguments, mounts in (
        ((), {"/safe_outputs": outputs}),
        (("--to", "/x", "--to", "/safe_data/"), {"/safe_data": outputs}),
        (("--to", "/safe_outputs/below"), {"/safe_outputs": outputs.parent, "/safe_outputs/below": outputs}),
        (("--to", f"/up/{outputs.name}"), {"/up": outputs.parent}),
    ):
        found = verify_arrival(dataset, arguments, mounts, Silent())
        assert (found.verified.scope, found.verified.digest) == ("full", dataset.digest)
    with pytest.raises(MismatchError, match="no folder of this machine was mounted at /elsewhere"):
        verify_arrival(dataset, ("--to", "/elsewhere"), {"/safe_outputs": outputs}, Silent())


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("reef/v1/data/z", b"Z", "1 changed"),
        ("reef/v1/data/extra", b"", "1 extra"),
        ("reef/v1/data/z", None, "1 missing"),
        ("reef/v1/bag-info.txt", b"", "not as datapack would have made it: found 1 problem"),
        ("reef/v1/manifest-sha256.txt", b"", "the bag is empty: its manifest names no file"),
        ("reef/v1/tagmanifest-sha256.txt", None, "tagmanifest-sha256.txt: can't read the file"),
        ("reef/v1.import.txt", b"IMPORT FAILED: stopped\n", "found IMPORT FAILED: stopped"),
        ("reef/v1.import.txt", None, "found no receipt"),
    ],
)
def test_any_difference_is_a_mismatch(arrived, path, content, problem):
    """Whatever is wrong with what arrived, datapack ends with status 3."""
    outputs, dataset = arrived
    (outputs / path).unlink(missing_ok=True)
    if content is not None:
        (outputs / path).write_bytes(content)
    with pytest.raises(MismatchError) as error:
        verify_arrival(dataset, (), {"/safe_outputs": outputs}, Silent())
    assert problem in str(error.value)
    assert error.value.exit_code == 3


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "link"])
def test_a_receipt_that_is_no_file_is_a_mismatch(arrived, kind):
    """A container wrote it: a FIFO is not waited for, and a link is not followed, whatever it leads to."""
    outputs, dataset = arrived
    path = outputs / "reef" / "v1.import.txt"
    path.rename(outputs / "moved")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outputs / "moved" if kind == "link" else kind)
    with pytest.raises(MismatchError, match=r"v1\.import\.txt: not a regular file: found a (FIFO|link)"):
        verify_arrival(dataset, (), {"/safe_outputs": outputs}, Silent())


def test_another_dataset_is_a_mismatch(arrived):
    """An intact bag of another dataset than the image names is refused."""
    outputs, _ = arrived
    with pytest.raises(MismatchError, match="this is not the dataset that the image names: expected sha256:0000"):
        verify_arrival(Dataset(REFERENCE, f"sha256:{'0' * 64}"), (), {"/safe_outputs": outputs}, Silent())


def test_arguments_that_import_nothing():
    """Only with --list and --help is an import expected to copy nothing."""
    assert imports_nothing(["--list"])
    assert imports_nothing(["--jobs", "1", "--help"])
    assert not imports_nothing([])
    assert not imports_nothing(["--check"])


def test_files_are_listed(tmp_path):
    """Every file is listed by its path with its size, links as links."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "b").write_bytes(b"123")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    assert list_files(tmp_path) == [("a", 0), ("link", len("nowhere")), ("run/b", 3)]


# ---- The command


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data", "missing"], "--data: no such folder: found "),
        (["--data", "datasets.yml"], "--data: no such folder: found "),
        (["--outputs", "source"], "source: the folder for the outputs is not empty; name another with --outputs"),
        (["--outputs", "datasets.yml"], "--outputs: not a folder: found "),
        (["--memory", "lots"], "--memory: not an amount of memory: expected a number of bytes with"),
        (["--cores", "0"], "--cores: wrong value: expected a number of cores, such as 2 or 0.5, found 0.0"),
        (["--env-file", "missing"], "missing: can't read the file: found No such file"),
        (["--arg-file", "missing"], "missing: can't read the file: found No such file"),
        (["--opt-file", "datasets.yml"], "datasets.yml:1: not a flag: "),
        (["--launch", "podman", "--outputs", "x"], "--launch podman: no folder for outputs is mounted"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_done(catalog, arguments, line):
    """Wrong input ends with status 2 before an engine is contacted."""
    catalog.env["DOCKER_HOST"] = f"unix://{catalog.root}/nobody.sock"
    assert line in catalog.fails("run", "reef@v1", *arguments, status=2)
    assert not (catalog.root / "dist").exists()


def test_no_engine_is_one_line(catalog):
    """Without an engine, the error names the socket and what to start."""
    catalog.env["DOCKER_HOST"] = f"unix://{catalog.root}/nobody.sock"
    assert "nobody.sock: no container engine answers; start Docker, or 'podman" in catalog.fails("run", "reef@v1")
