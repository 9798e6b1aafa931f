"""SIGTERM and Ctrl-C: the first one ends a command with one line, wherever it arrives."""

import os
import signal
import subprocess
import sys

import pytest

from datapack.cli import STOPPED, main
from tests.conftest import PROJECT

ONE_LINE = (STOPPED, "", "stopped; run the same command again to continue\n")

START = """
import argparse, atexit, os, runpy, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has no handler
def send(*_, number=signal.SIGTERM):
    os.kill(os.getpid(), number)
def before(owner, name, do):
    there = getattr(owner, name)
    def call(*arguments, **named):
        do()
        return there(*arguments, **named)
    setattr(owner, name, call)
"""


def python(code, *, timeout=50):
    """Run the start and the code; return the status and both outputs."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], cwd=PROJECT, capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout, done.stderr


# Each is a place where a signal was shown as a bug or a traceback, or lost.
PLACES = {
    "the parser": "before(cli, 'make_parser', send)\nend(cli.main(['list']))",
    "help": "before(argparse.ArgumentParser, 'format_help', send)\nend(cli.main(['--help']))",
    "two at once": """
def twice():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    send()
    send(number=signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
cli._check_encoding = twice
end(cli.main(['list']))
""",
    "one more while the line is printed": """
cli._check_encoding = send
before(cli, 'complain', send)
end(cli.main(['list']))
""",
    "an error that is shown": "before(cli, 'complain', send)\nend(cli.main(['verify', 'oci:nonsense']))",
    "a library that makes another error of it": """
def convert():
    try:
        send()
    except KeyboardInterrupt as error:
        raise ValueError('SchemaError: KeyboardInterrupt') from error
cli._check_encoding = convert
end(cli.main(['list']))
""",
    "a library that catches everything": """
def catch():
    try:
        send()
    except BaseException:
        pass
cli._check_encoding = catch
end(cli.main(['completion', 'bash']))
""",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_ends_a_command_with_one_line(place):
    """Nothing else is shown, and the status is that of a stopped command."""
    status, printed, error = python(f"from datapack import cli\nend = sys.exit\n{PLACES[place]}")
    printed = "" if place == "a library that catches everything" else printed  # this command had printed its result
    assert (status, printed, error) == ONE_LINE


@pytest.mark.parametrize(
    ("program", "status", "line"),
    [
        ("from datapack import cli\ncli._check_encoding = execute\nsys.exit(cli.main(['list']))", STOPPED, ONE_LINE[2]),
        (
            "import trainers.__main__ as t\nt._Job.run = execute\nsys.exit(t.main(['check']))",
            75,
            "CHECK FAILED: stopped by Ctrl-C\n",
        ),
    ],
    ids=["datapack", "trainers"],
)
def test_ctrl_c_in_code_that_is_executed(tmp_path, program, status, line):
    """As the code that makes a dataclass: Python would end ``python -m`` by SIGINT, not with the status."""
    execute = "def execute(*_):\n    exec('send(number=signal.SIGINT)')\n"
    (tmp_path / "stopped.py").write_text(START + execute + program)
    done = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (status, line)


# A function in which the main thread takes a lock that workers need, and which of its calls is interrupted.
@pytest.mark.parametrize(("caller", "nth"), [("acquire", 3), ("acquire", 10), ("done", 10), ("wait", 3)])
def test_a_signal_does_not_leave_a_lock_of_the_executor_taken(caller, nth):
    """A signal that comes just after the main thread has taken a lock is raised when it has released it."""
    code = f"""
from datapack import cli
from datapack.executor import run_all
from tests.locks import signal_after_lock
def unit(item, advance):
    time.sleep(0.001)
    advance(1)
def work():
    with signal_after_lock({caller!r}, {nth}):
        for _ in run_all(unit, range(100), workers=2):
            pass
cli._check_encoding = work
sys.exit(cli.main(['list']))
"""
    assert python(code, timeout=20) == ONE_LINE


def test_a_signal_after_the_command_changes_nothing():
    """The command has ended: a signal in a hook at exit does not change its status, nor is it shown."""
    code = """
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.1)
sys.slow = Slow()  # Python ends later
atexit.register(send, number=signal.SIGINT)
atexit.register(send)
sys.argv = ["datapack", "--version"]
runpy.run_module("datapack", run_name="__main__")
"""
    status, printed, error = python(code)
    assert (status, error) == (0, "")
    assert printed.startswith("datapack ")


def test_a_signal_that_python_ignored_does_no_harm_at_exit():
    """The signal that raises the exception again never comes after the command."""
    code = """
from datapack import cli
class Last:
    def __del__(self):
        send()
def work():
    Last()
    raise ValueError("a moment later")
cli._check_encoding = work
status = cli.main(["list"])
time.sleep(0.1)
sys.exit(status)
"""
    assert python(code) == ONE_LINE


def test_ctrl_c_while_datapack_imports_shows_no_traceback():
    """In the first tenth of a second there is nothing to tell: the process ends as one without a handler."""
    code = """
class Finder:
    def find_spec(self, name, *_):
        if name == "datapack.cli":
            send(number=signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["datapack", "--version"]
runpy.run_module("datapack", run_name="__main__")
"""
    assert python(code) == (-signal.SIGINT, "", "")


def test_ctrl_c_that_is_ignored_stays_so():
    """A background job of a shell is not for the Ctrl-C of the foreground."""
    code = """
from datapack import cli
signal.signal(signal.SIGINT, signal.SIG_IGN)
before(cli, "make_parser", lambda: send(number=signal.SIGINT))
sys.exit(cli.main(["completion", "bash"]))
"""
    status, _, error = python(code)
    assert (status, error) == (0, "")


def test_main_leaves_the_handlers_as_it_found_them(capsys):
    """A program that calls `main` keeps its own handlers."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    assert main(["completion", "bash"]) == 0
    assert ([signal.getsignal(number) for number in numbers], sys.unraisablehook) == before
    assert "datapack" in capsys.readouterr().out
