"""What all commands have in common: JSON, how much is shown, colour, help, and the nearest word to a mistyped one."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from datapack.cli import STOPPED, main
from datapack.cli.output import Marked, say
from datapack.cli.parser import COMMANDS, make_parser
from datapack.progress import Console, Level
from tests import registries
from tests.conftest import PROJECT, make_base
from tests.terminals import in_terminal

NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]
WIDEST = 100  # columns


def parsers():
    """The parser of each command, by its name."""
    (commands,) = make_parser()._subparsers._group_actions
    return commands.choices


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (["init", "new"], {"folder", "written", "commit"}),
        (["list"], {"versions"}),
        (["list", "--names"], {"names"}),
        (["fetch", "reef@v1"], {"reference", "digest", "files", "bytes", "bag"}),
        (["build", "reef@v1"], {"reference", "digest", "files", "bytes", "bag", "image", "target", "provenance"}),
        (["verify", "reef@v1"], {"where", "scope", "digest", "files", "bytes"}),
        (["verify", "oci:dist/reef-v1"], {"where", "scope", "digest", "reference", "image", "base", "stand_in"}),
        (["doctor"], {"results", "counts"}),
        (["completion", "bash"], {"shell", "script"}),
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_json_is_one_document(built, command, keys, place):
    """With --json, before or after the command, standard output is one JSON document."""
    done = built.run("--json", *command) if place == "before" else built.run(*command, "--json")
    assert done.returncode == 0, done.stderr
    assert keys <= json.loads(done.stdout).keys()


def test_the_json_of_list_has_every_version(built):
    """Values that text shortens or leaves out are whole: the digest, the title, what is not known as null."""
    with (built.root / "datasets.yml").open("a") as file:
        file.write("      v2:\n        sources:\n          - local: source\n")
    first, second = json.loads(built.ok("list", "--json"))["versions"]
    assert first["reference"] == "reef@v1"
    assert (first["fetched"], first["built"], first["title"]) == (True, "here", "A small reef")
    assert re.fullmatch("sha256:[0-9a-f]{64}", first["digest"])
    assert (second["reference"], second["fetched"], second["built"], second["digest"]) == ("reef@v2", False, None, None)


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["verify", "nope@v1", "--json"], 2, "no nope@v1 in the catalog"),
        (["--json", "-C", "nowhere", "list"], 2, "no such folder"),
        (["biuld", "--json"], 2, "no such command: biuld"),
        (["build", "--json"], 2, "the following arguments are required: REF"),
        (["build", "reef@v1", "--json", "--nonsense"], 2, "no such option: --nonsense"),
    ],
)
def test_an_error_is_json_too(catalog, arguments, status, what):
    """With --json, an error is a document with its parts, and the same line as ever is on standard error."""
    done = catalog.run(*arguments)
    error = json.loads(done.stdout)["error"]
    assert error.keys() == {"message", "what", "where", "expected", "found", "fix", "details", "status"}
    assert (done.returncode, error["status"], error["what"]) == (status, status, what)
    assert done.stderr == f"error: {error['message']}\n"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_is_json_unless_the_answer_is_there(moment):
    """A command that is stopped answers with an error; where the signal came after the answer, there is no second."""
    code = f"""
import os, signal, sys
from datapack import cli
def send(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
real = cli.say_json
def say(*arguments):
    real(*arguments)
    try:
        send()
    except BaseException:  # as a library may
        pass
if {moment!r} == "before":
    cli._check_encoding = send
else:
    cli.say_json = say
sys.exit(cli.main(["completion", "bash", "--json"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == STOPPED
    assert done.stderr == "stopped; run the same command again to continue\n"
    found = json.loads(done.stdout)  # fails for two documents
    assert ("error" in found) == (moment == "before")
    if moment == "before":
        assert found["error"]["status"] == STOPPED


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["completion", "bash"], ["nope", "--json"]])
def test_an_answer_that_can_not_be_written(catalog, arguments):
    """On a full disk there is one line and a status, and no traceback at Python's end either."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            catalog.command(*arguments),
            **catalog.options(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert re.fullmatch("error: [^\n]*\n", done.stderr)
    assert done.returncode == (2 if "nope" in arguments else 1)


def test_the_details_of_an_error_are_whole_in_json(fetched):
    """A program gets every difference, where people see the first ones; with -v, people see all of them too."""
    for number in range(30):
        (fetched.root / f"data/reef/v1/data/{number:02}").touch()
    done = fetched.run("verify", "reef@v1", "--json")
    assert done.returncode == 3
    assert len(json.loads(done.stdout)["error"]["details"]) == 30
    assert done.stderr.splitlines()[-1] == "  and 10 more"
    assert fetched.run("-v", "verify", "reef@v1").stderr.count("\n  extra    data/") == 30


def test_an_image_on_standard_output_stays_whole(fetched):
    """With --to oci-archive:- the image is the output, so the document goes to standard error, alone with -q."""
    done = subprocess.run(
        fetched.command("build", "reef@v1", "oci-archive:-", "--json", "-q"),
        **fetched.options(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stderr)["reference"] == "reef@v1"
    assert done.stdout[257:262] == b"ustar"


def test_quiet_and_verbose(catalog):
    """-q shows the answer alone; -v adds what DVC says and how long each step took; the last one given counts."""
    others = [catalog.copy(catalog.root.with_name(name)) for name in ("normal", "verbose")]
    quiet = catalog.run("-q", "fetch", "reef@v1")
    assert (quiet.stderr, quiet.stdout.splitlines()[0][:7]) == ("", "fetched")
    normal = others[0].run("fetch", "reef@v1")
    assert "versioning data/reef/v1 with DVC" in normal.stderr
    verbose = others[1].run("-q", "fetch", "reef@v1", "-v")
    assert set(normal.stderr.splitlines()) < set(verbose.stderr.splitlines())
    assert re.search(r"^[a-z].*: \d+\.\d s$", verbose.stderr, re.MULTILINE)
    assert normal.stdout == verbose.stdout


def test_errors_and_warnings_are_shown_with_quiet(catalog, capsys):
    """-q hides notes, not what nobody should miss."""
    assert catalog.fails("-q", "verify", "nope@v1", status=2).startswith("error: ")
    console = Console(level=Level.QUIET)
    console.note("a note")
    console.detail("a detail")
    console.warn("a warning")
    assert "a warning" in (shown := capsys.readouterr().err)
    assert "a note" not in shown
    assert "a detail" not in shown


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_takes_it(tmp_path, environment, is_coloured):
    """On a terminal, an error's first word is red, unless NO_COLOR or TERM forbids it."""
    command = [sys.executable, "-m", "datapack", "list"]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    shown = in_terminal(command, tmp_path, {**plain, "PYTHONPATH": str(PROJECT), **environment})
    assert b"no datasets.yml here" in shown
    assert (b"\x1b[1;31merror:\x1b[0m" in shown) == is_coloured
    assert (b"\x1b" in shown) == is_coloured


def test_no_colour_in_a_file_and_no_foreign_escape(capsys):
    """Where the output is no terminal, a marked line is plain; its text is escaped anywhere."""
    say(Marked("ok\x1b", "green", " a\nb"))
    assert capsys.readouterr().out == "ok\\x1b a\\nb\n"


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_the_terminal_and_100_columns(name, columns, monkeypatch, capsys):
    """No line of a help is wider than 100 columns, or, but for examples, than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main([name, "--help"] if name else ["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDEST
    assert max(map(len, text.partition("examples:")[0].splitlines())) <= columns


@pytest.mark.parametrize("name", NAMES)
def test_every_help_has_examples_that_can_be_parsed(name):
    """Each example is a command line that the parser accepts, so none is out of date."""
    _, _, examples = parsers()[name].epilog.partition("examples:\n")
    assert examples
    for line in examples.splitlines():
        assert len(line) <= WIDEST
        words = shlex.split(line.replace('eval "$(', "").replace(')"', ""), comments=True)
        words = words[: words.index("|")] if "|" in words else words
        words = words[: words.index("--")] if "--" in words else words
        assert words[0] == "datapack"
        make_parser().parse_args(words[1:])
        assert name in words


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["biuld", "x"], "datapack: no such command: biuld; did you mean build?"),
        (["xyzzy"], "datapack: no such command: xyzzy; see 'datapack --help'"),
        (["push", "a@v1", "--replcae"], "datapack push: no such option: --replcae; did you mean --replace?"),
        (["build", "a@v1", "--bsae=x:1"], "datapack build: no such option: --bsae; did you mean --base?"),
        (["--dirctory", "x", "list"], "datapack: no such option: --dirctory; did you mean --directory?"),
        (["list", "--nonse"], "datapack list: no such option: --nonse; see 'datapack list --help'"),
        (
            ["run", "x", "--launch", "podmn"],
            "datapack run: --launch: no such choice: expected ces, podman, apptainer, found 'podmn'; did you mean podm",
        ),
        (
            ["diff", "a@v1", "a@v2", "a@v3"],
            "datapack diff: unexpected argument: found 'a@v3'; see 'datapack diff --help'",
        ),
        (["build", "a@v1", "--streams", "0"], "datapack build: argument --streams: expected a whole number"),
        (["list", "\x1b[2J"], r"datapack list: unexpected argument: found '\x1b[2J'; see 'datapack list --help'"),
        (["\x1b[2J"], r"datapack: no such command: \x1b[2J; see 'datapack --help'"),
    ],
)
def test_the_nearest_word(arguments, error, capsys):
    """A mistyped command, option or choice gets one line with the nearest one, or where to look."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {error}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["reef@v1", "docker://127.0.0.1:1/x"],
        ["reef@v1", "--replace", "docker://127.0.0.1:1/x"],
        ["--replace", "reef@v1", "docker://127.0.0.1:1/x", "-q"],
        ["reef@v1", "--to", "docker://127.0.0.1:1/x"],
        ["reef@v1", "--to=docker://127.0.0.1:1/x"],
    ],
)
def test_a_target_needs_no_option(catalog, arguments):
    """`push REF docker://...` is what `push REF --to docker://...` is, wherever options are."""
    assert "127.0.0.1:1/x:v1: the registry can't be reached" in catalog.fails("push", *arguments)


def test_a_target_is_given_once(catalog):
    """Two targets are an error, even if they are the same."""
    error = catalog.fails("build", "reef@v1", "oci:a", "--to", "oci:a", status=2)
    assert "reef@v1: two targets: found oci:a and oci:a; name one" in error


def test_init_makes_its_folder_and_says_what_to_commit(catalog, tmp_path):
    """`init DIR` works in a folder that is not there, or that has things, which stay; never over a catalog."""
    printed = catalog.ok("init", str(tmp_path / "new"))
    assert (tmp_path / "new/datasets.yml").is_file()
    assert printed.splitlines()[-2:] == [
        "Commit now:                  git add datasets.yml .gitignore",
        "Commit after each build:     git add datasets.lock data .dvc",
    ]
    other = tmp_path / "other"
    (other / "my-dataset").mkdir(parents=True)
    (other / ".gitignore").write_text("mine")
    (other / "my-dataset/file").write_text("mine")
    catalog.ok("init", str(other))
    assert (other / ".gitignore").read_text().startswith("mine\n/.datapack/\n")
    assert [path.name for path in (other / "my-dataset").iterdir()] == ["file"]
    assert "a catalog already exists" in catalog.fails("init", str(other), status=2)
    assert "not a folder" in catalog.fails("init", str(other / "my-dataset/file/x"), status=2)


def test_init_below_another_catalog_says_which_one_counts(catalog):
    """A catalog in a folder of a workspace is found first from there on."""
    assert f"instead of the one in {catalog.root}" in catalog.ok("init", "below")


def test_what_init_says_to_commit_is_all_that_git_lists(tmp_path):
    """After a fetch, nothing that others need is left for git, and nothing of the data is added."""

    def run(*command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    run("git", "init", "-q")
    lines = run(sys.executable, "-m", "datapack", "init").splitlines()
    run(sys.executable, "-m", "datapack", "fetch", "my-dataset@v1")
    for line in lines[-2:]:
        run(*line.partition(":")[2].split())
    status = run("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert [line for line in status if not line.startswith("A ")] == ["?? my-dataset/README.txt"]
    assert "data/my-dataset/v1.dvc" in "".join(status)
    assert "manifest-sha256.txt" not in "".join(status)


@pytest.mark.registry
def test_the_json_of_push_and_base(fetched, tmp_path):
    """A push gives the commands for the data manager, and a pinned base what it was before."""
    make_base(tmp_path / "tiny")
    with registries.serve(tmp_path) as registry:
        pushed = json.loads(fetched.ok("push", "reef@v1", f"docker://{registry}/reef", "--json"))
        assert pushed["commands"][1] == f"ces-run {registry}/reef:v1"
        assert pushed["last_line"] == f"IMPORT OK reef@v1 {pushed['digest']}"
        assert pushed["target"] == f"docker://{registry}/reef:v1@{pushed['image']}"
        name, _, digest = registries.push(tmp_path / "tiny", registry, "tiny:1").partition("@")
        catalog = fetched.root / "datasets.yml"
        catalog.write_text(catalog.read_text().replace('"oci:base"', f"{name}@sha256:{'0' * 64}"))
        assert json.loads(fetched.ok("base", "--json")) == {
            "old": f"{name}@sha256:{'0' * 64}",
            "new": f"{name}@{digest}",
        }
