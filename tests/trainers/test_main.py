"""The program's ends: whatever happens, the last line says how the job ended, and nothing else can look like it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.havens import PROJECT, Haven
from trainers.log import Log
from trainers.run.folder import Run

FORGED = "crab\nTRAINING OK run mAP=0.999\r\x1b[2K\u2028\u202e\ud800"
ESCAPED = r"crab\nTRAINING OK run mAP=0.999\r\x1b[2K\u2028\u202e\ud800"


def python(code: str, haven: Haven, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a job in which some code runs first."""
    main = "import sys; from trainers.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}\n{main}", *haven.command(*arguments)[3:]],
        env=haven.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def last(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert "Traceback" not in out
    return out.splitlines()[-1]


def test_no_text_can_forge_a_line_of_the_log(tmp_path, capsys):
    """Line ends, escapes, bidi characters and half characters are escaped on the terminal and in log.txt."""
    log = Log()
    log.note(FORGED)
    log.keep(tmp_path / "log.txt")
    log.note(FORGED)
    log.last(FORGED)
    log.close(FORGED)
    lines = capsys.readouterr().out.splitlines()
    assert [line[-len(ESCAPED) :] for line in lines] == [ESCAPED] * 3
    assert (tmp_path / "log.txt").read_text().splitlines() == lines


def test_no_name_fills_the_log(capsys):
    """A category's name can have a million characters."""
    Log().note("a" * 1_000_000)
    assert len(capsys.readouterr().out) < 6000


RAISES = "import trainers.commands as c\ndef fail(*_): {}\nc.check_data = fail"
FAILURES = {
    "a bug": "raise ZeroDivisionError('zero\\nCHECK OK reef')",
    "an exit": "raise SystemExit('zero\\nCHECK OK reef')",
    "a warning": "import warnings; warnings.warn('a\\nCHECK OK reef'); raise ZeroDivisionError",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_traceback_or_a_warning_cannot_forge_the_last_line(haven, name):
    """Foreign text in a traceback, a warning or an exit starts no line, and the last line says that the job failed."""
    haven.configure()
    out, _ = python(RAISES.format(FAILURES[name]), haven, "check").communicate(timeout=60)
    assert not [line for line in out.splitlines() if line.startswith("CHECK OK")]
    assert "CHECK OK reef" in out or name == "an exit"
    assert out.splitlines()[-1].startswith("CHECK FAILED: a bug in the trainers, please report the lines above: ")


def test_an_ascii_terminal_shows_escapes(haven):
    """Where the output's encoding lacks a character, it is escaped, and the job goes on."""
    haven.configure(dataset="größe/v1")
    process = python("", haven, "check", PYTHONIOENCODING="ascii")
    assert last(process).startswith("CHECK FAILED:")
    assert process.returncode in {2, 3}


@pytest.mark.parametrize("package", ["numpy", "pydantic"])
def test_a_missing_package_is_one_line(haven, package):
    """Without the trainers' extra, the last line names what is missing and how to install it."""
    haven.configure()
    process = python(f"import sys; sys.modules[{package!r}] = None", haven, "train")
    expected = (
        f"TRAINING FAILED: a package is missing: found no {package}; install what the trainers need, in a clone: "
    )
    assert last(process) == f"{expected}pip install '.[train]'"
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("model", "package", "fix"),
    [
        ("fcos_resnet50_fpn", "torch", "use an image with PyTorch, or install it in a clone: pip install '.[train]'"),
        (
            "retinanet_resnet18_fpn_keras",
            "keras",
            "use an image with TensorFlow, or install it in a clone: make .venv/tf",
        ),
    ],
)
def test_a_missing_framework_is_one_line(haven, model, package, fix):
    """The model's name selects the framework; where that is missing, the last line says so, after the check."""
    haven.configure(model={"name": model})
    out, _ = python(f"import sys; sys.modules[{package!r}] = None", haven, "train").communicate(timeout=200)
    lines = out.splitlines()
    assert lines[-1] == f"TRAINING FAILED: model.name {model}: a package is missing: found no {package}; {fix}"
    assert any("verified, every byte" in line for line in lines)


def test_a_wrong_command_line_has_a_last_line(haven):
    """A job with an unknown command or option ends with a last line too."""
    done = haven.run("fly")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith(
        "TRAINING FAILED: the command line is wrong: argument command: invalid"
    )


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_a_process_place_that_is_no_number_is_one_line(haven, variable):
    """What a launcher sets is checked like any other input."""
    haven.configure()
    assert last(python("", haven, "check", **{variable: "one"})).startswith(
        f"CHECK FAILED: ${variable}: not a number: found 'one'; unset"
    )


@pytest.mark.parametrize(
    "info",
    [
        b"External-Identifier: other@v9 sha256:0000\n",
        b"External-Identifier: a\xff@v1\n",
        b"External-Identifier: \n",
        None,
    ],
)
def test_bag_info_cannot_forge_the_last_line(haven, info):
    """bag-info.txt is not in the digest: a name in it that is no reference is not repeated; a device is not read."""
    haven.configure()
    path = haven.bag / "bag-info.txt"
    path.unlink()
    if info is None:
        os.mkfifo(path)
    else:
        path.write_bytes(info)
    done = haven.run("check")
    assert done.stdout.splitlines()[-1] == f"CHECK OK {haven.bag.name} {haven.digest}"


SWALLOWS = """
import os, signal, time
try:
    print("importing", flush=True)
    time.sleep(60)
except BaseException as error:
    print("swallowed", type(error).__name__, flush=True)
"""


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGTERM, "stopped by SIGTERM; run the same"), (signal.SIGINT, "stopped by Ctrl-C")],
)
def test_a_signal_that_torch_swallows_still_stops_the_job(haven, number, why):
    """A package torch whose import swallows every error: the job ends after the import, as stopped."""
    haven.configure()
    stand_in = haven.root / "packages" / "torch"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text(SWALLOWS)
    path = os.pathsep.join([str(stand_in.parent), str(PROJECT)])
    process = python("", haven, "train", PYTHONPATH=path)
    for line in process.stdout:
        if line == "importing\n":
            process.send_signal(number)
            break
    out = process.communicate(timeout=60)[0]
    assert "swallowed" in out
    assert process.returncode == 75, out
    assert out.splitlines()[-1].startswith(f"TRAINING FAILED: {why}")
    assert "Traceback" not in out


def test_output_that_nobody_takes_does_not_fail_a_job(haven):
    """With a full disk behind the standard output, or a reader that is gone, the job ends as it would, quietly."""
    haven.configure()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            haven.command("check"), env=haven.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    process = python("", haven, "check")
    process.stdout.close()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("check", {"dataset": "a" * 300}),
        ("train", {"model": {"weights": "a" * 300}}),
        ("train", {"resume": "a" * 300}),
        ("evaluate", {"evaluation": {"model": "a" * 300}}),
        ("train", {"dataset": f"reef/{'../' * 2000}reef/v1"}),
    ],
)
def test_a_path_that_the_system_refuses_is_one_line(haven, command, changes):
    """A name or a path that is too long is no bug in the trainers."""
    haven.configure(**changes)
    line = last(python("", haven, command))
    assert " FAILED: " in line
    assert "name too long" in line
    assert "a bug in the trainers" not in line


CLOSED = ["safe_data", "safe_data/reef/v1", "safe_data/reef/v1/data", "safe_data/reef/v1/manifest-sha256.txt"]


@pytest.mark.parametrize("closed", CLOSED)
def test_what_a_job_may_not_read_is_one_line(haven, closed):
    """The bag of a private dataset has the mode 0700: a job of another user says what it may not read."""
    haven.configure()
    path = haven.root / closed
    path.chmod(0)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
    command = [*powerless, *haven.command("check")]
    done = subprocess.run(command, env=haven.environment(), capture_output=True, text=True, check=False)
    path.chmod(0o700)
    line = done.stdout.splitlines()[-1]
    assert line.startswith(f"CHECK FAILED: {path}"), done
    assert "Permission denied" in line
    assert "damaged" not in line
    assert "Traceback" not in done.stderr


def test_two_jobs_of_one_run_do_not_disturb_each_other(haven):
    """The second job ends at once, without a trace in the folder of the first."""
    haven.configure()
    with Run(haven.outputs / "run").reserve():
        done = haven.run("evaluate")
        assert list((haven.outputs / "run").iterdir()) == []
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        f"EVALUATION FAILED: {haven.outputs / 'run'}: another job is writing to this folder; "
        "wait until it ends, or set run to another name"
    )


UNSEALED = """
import trainers.commands as c
from pathlib import Path
def succeed(config, context, run):
    (run.folder / "a\\nb").touch()
    return "run"
c.predict = succeed
"""


def test_outputs_that_cannot_be_sealed_are_no_success(haven):
    """Standard output and log.txt end with the same line, also if the manifest fails at the very end."""
    haven.configure()
    line = last(python(UNSEALED, haven, "predict"))
    assert line.startswith(r"PREDICTION FAILED: the file name 'a\nb' is not allowed")
    assert (haven.outputs / "run" / "log.txt").read_text().splitlines()[-1] == line
