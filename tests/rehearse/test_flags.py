"""Podman's flags in `--opt-file`, and the arguments that an engine gets."""

from __future__ import annotations

import re

import pytest

from datapack.engine import Engine
from datapack.errors import ImageError, UsageError
from datapack.rehearse.arguments import limited, strict, with_gpu, with_mounts
from datapack.rehearse.flags import FLAGS, read_opt_file, volumes
from tests.conftest import PROJECT

PODMAN = Engine("Podman", "4.3.1", limits_memory=True, limits_swap=True)
DOCKER = Engine("Docker", "20.10.24", limits_memory=True, limits_swap=True)


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
