"""The public Python API: what a notebook can rely on."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import datapack
from datapack.api.reference import reference
from datapack.errors import CatalogError, MismatchError, UsageError
from datapack.progress import Silent
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLE = PROJECT / "examples" / "notebook.py"
FUNCTIONS = ("build", "check", "fetch", "report", "verify")


def run(code: str, folder: Path = PROJECT, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **options)


def answer(catalog: Any, *command: str) -> dict[str, Any]:
    """What the command says for programs."""
    value: dict[str, Any] = json.loads(catalog.ok(*command, "--json"))
    return value


def test_the_example_runs(catalog) -> None:
    """The example for notebooks runs as a script in a folder with a catalog, and leaves an image that is right."""
    done = run(EXAMPLE.read_text(), catalog.root)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "verified, every byte: oci:" in done.stdout
    assert (catalog.root / "dist" / "reef-v1.report.html").is_file()


def test_fetch_says_what_the_command_says(catalog) -> None:
    """The function and the command give the same facts about the same version."""
    fetched = datapack.fetch("reef@v1", catalog=catalog.root)
    same = answer(catalog, "fetch", "reef@v1")
    assert {**dataclasses.asdict(fetched), "bag": str(fetched.bag)} == same
    assert (fetched.bag / "data").is_dir()


def test_build_says_what_the_command_says(fetched) -> None:
    """A version that the function built is built already for the command, with the same digests."""
    built = datapack.build("reef@v1", catalog=fetched.root / "datasets.yml")
    same = answer(fetched, "build", "reef@v1")
    facts = {**dataclasses.asdict(built), "bag": str(built.bag), "provenance": str(built.provenance)}
    assert facts.pop("runnable") is False
    assert facts == same


def test_verify_says_what_the_command_says(built) -> None:
    """Bags and images, named in any form, get the same result."""
    for what, quick in (("reef@v1", False), ("oci:dist/reef-v1", True), ("data/reef/v1", False)):
        verified = datapack.verify(what, quick=quick, catalog=built.root)
        same = answer(built, "verify", what, *["--quick"] * quick)
        assert [verified.where, verified.scope, verified.digest, verified.files] == [
            same[key] for key in ("where", "scope", "digest", "files")
        ]
        assert str(verified).startswith("complete by names" if quick else "verified, every byte")
    assert datapack.verify(built.root / "data" / "reef" / "v1").files == verified.files


def test_check_and_report_say_what_the_commands_say(fetched) -> None:
    """Findings are values with their codes, the same as in the commands' JSON; a check that fails raises nothing."""
    checked = datapack.check("reef@v1", catalog=fetched.root, strict=True)
    done = fetched.run("check", "reef@v1", "--strict", "--json")
    same = json.loads(done.stdout)
    assert (checked.passed, done.returncode) == (same["passed"], 0 if same["passed"] else 1)
    assert {name: getattr(checked, name) for name in same["checked"]} == same["checked"]
    assert [found.rule.code for found in checked.findings] == [found["code"] for found in same["findings"]]
    page = datapack.report("reef@v1", fetched.root / "page.html", samples=False, catalog=fetched.root)
    assert page.path.stat().st_size == page.bytes
    assert (page.samples, page.no_samples != "") == (0, True)


def test_an_error_is_one_line_and_ends_nothing(fetched, tmp_path, capfd) -> None:
    """Wrong input raises a DatapackError of the right kind; nothing is printed, and no program ends."""
    wrong: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: datapack.fetch("reef", catalog=fetched.root), UsageError),
        (lambda: datapack.fetch("reef@v9", catalog=fetched.root), UsageError),
        (lambda: datapack.fetch("reef@v1", catalog=tmp_path / "nowhere"), CatalogError),
        (lambda: datapack.check(tmp_path / "nothing"), UsageError),
        (lambda: datapack.build("reef@v1", "elsewhere:x", catalog=fetched.root), datapack.DatapackError),
        (lambda: datapack.verify("", catalog=fetched.root), UsageError),
        (lambda: datapack.verify("reef@v1", quick=True, keys=["key.pub"], catalog=fetched.root), UsageError),
        (lambda: datapack.verify("x" * 5000, catalog=fetched.root), datapack.DatapackError),  # an OSError of the system
        (lambda: datapack.check("x" * 5000, catalog=fetched.root), datapack.DatapackError),
    ]
    for call, kind in wrong:
        with pytest.raises(datapack.DatapackError) as caught:
            call()
        assert isinstance(caught.value, kind), caught.value
        assert "\n" not in str(caught.value)
    (fetched.root / "data" / "reef" / "v1" / "data" / "extra").touch()
    with pytest.raises(MismatchError) as found:
        datapack.verify("reef@v1", catalog=fetched.root)
    assert any("extra" in line for line in found.value.details)
    with pytest.raises(UsageError, match=r"/key\.pub: "):  # one file alone is no list of letters
        datapack.verify("reef@v1", keys="key.pub", catalog=fetched.root)
    with pytest.raises(ValueError, match="streams must be at least 1"):
        datapack.build("reef@v1", streams=0, catalog=fetched.root)
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_silent_build_prints_nothing_and_a_loud_one_says_how_far_it_is(fetched, capfd) -> None:
    """Progress is on standard error, and only if it was asked for."""
    datapack.build("reef@v1", catalog=fetched.root)
    assert tuple(capfd.readouterr()) == ("", "")
    shutil.rmtree(fetched.root / "dist")
    labels: list[str] = []

    class Labels(Silent):
        def progress(self, label: str, total: int, unit: str) -> Any:
            labels.append(label)
            return super().progress(label, total, unit)

    datapack.build("reef@v1", catalog=fetched.root, progress=Labels())
    assert labels
    assert tuple(capfd.readouterr()) == ("", "")
    datapack.verify("reef@v1", catalog=fetched.root, progress=True)
    assert capfd.readouterr().out == ""


def test_calls_from_threads(built) -> None:
    """Two threads that are not the main one can verify at once, with the results of the main thread."""
    expected, results = datapack.verify("reef@v1", catalog=built.root), []
    threads = [
        threading.Thread(target=lambda: results.append(datapack.verify("reef@v1", catalog=built.root)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [expected, expected]


def test_a_build_in_a_thread_while_another_one_has_the_catalog(fetched) -> None:
    """Two builds at once: one of them says that the other is at work, or both are done one after the other."""
    results: list[object] = []

    def build() -> None:
        try:
            results.append(datapack.build("reef@v1", catalog=fetched.root).image)
        except datapack.DatapackError as error:
            results.append(error)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    images = [result for result in results if isinstance(result, str)]
    assert len(results) == 2
    assert len(set(images)) == 1


INTERRUPTED = """
import os, signal
import datapack, datapack.api.call
class Stop(datapack.api.call.Silent):
    def progress(self, label, total, unit):
        os.kill(os.getpid(), signal.SIGINT)
        return super().progress(label, total, unit)
try:
    datapack.build("reef@v1", progress=Stop())
except KeyboardInterrupt:
    print("stopped", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(datapack.build("reef@v1").image)
"""


def test_ctrl_c_leaves_nothing_half_written(catalog) -> None:
    """A stopped call raises KeyboardInterrupt, the next one continues, and Ctrl-C works as before."""
    done = run(INTERRUPTED, catalog.root, timeout=120)
    assert done.returncode == 0, done.stderr
    stopped, image = done.stdout.splitlines()
    assert stopped == "stopped True"
    assert datapack.verify("oci:dist/reef-v1", catalog=catalog.root).image == image
    assert not list(catalog.root.rglob("*.partial"))


def test_a_handler_of_the_caller_stays(built) -> None:
    """Who handles Ctrl-C in another way, as the command line does, goes on to do so."""
    mine, before = (lambda *_: None), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, mine)
    try:
        datapack.verify("reef@v1", catalog=built.root, quick=True)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("first", ["datapack.build.plan", "datapack.verify", "datapack.cli", "datapack.api.checking"])
def test_a_function_is_one_whatever_was_imported_before(first: str) -> None:
    """Functions that share their name with a package can be called before and after that package is imported."""
    code = (
        f"import datapack\nfor name in {FUNCTIONS}: assert callable(getattr(datapack, name))\nimport {first}\n"
        f"from datapack import build, verify\nimport inspect, datapack.build.build\n"
        "print(inspect.signature(datapack.build), callable(build), callable(datapack.verify), callable(verify))"
    )
    done = run(code)
    assert done.stdout.startswith("(reference: 'str', target: 'str | None' = None"), done.stderr
    assert done.stdout.endswith("True True True\n")


def test_the_import_is_light() -> None:
    """`import datapack` loads no module of it and no other package; what is public comes when it is used."""
    done = run("import sys; before = set(sys.modules); import datapack; print(*sorted(set(sys.modules) - before))")
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert loaded == {"datapack"}, done.stderr


def test_everything_public_is_documented() -> None:
    """Each name in `__all__` is there and in `dir()`, and each parameter and attribute is in a docstring."""
    assert set(datapack.__all__) <= set(dir(datapack))
    for name in FUNCTIONS:
        function = inspect.unwrap(getattr(datapack, name))
        text = inspect.getdoc(function) or ""
        assert all(f"    {parameter}: " in text for parameter in inspect.signature(function).parameters), name
        assert "Raises:" in text, name
    for kind in (datapack.Fetched, datapack.Built, datapack.Verified, datapack.Checked, datapack.Report):
        text = inspect.getdoc(kind) or ""
        own = [field.name for field in dataclasses.fields(kind)]
        inherited = {field.name for field in dataclasses.fields(datapack.Fetched)} if kind is datapack.Built else set()
        assert all(name in text for name in own if name not in inherited), kind
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined, unused-ignore]
    with pytest.raises(AttributeError, match="module 'datapack' has no attribute 'push'"):
        _ = datapack.push  # type: ignore[attr-defined, unused-ignore]


def test_results_fit_on_a_screen(fetched) -> None:
    """What a notebook shows of a result has its facts, and no arrays or lists of all files."""
    shown = repr(datapack.check("reef@v1", catalog=fetched.root))
    assert shown.startswith("Checked(what='reef@v1', digest='sha256:")
    assert "array(" not in shown
    assert "frozenset" not in shown
    assert len(shown) < 20_000


def test_the_reference_is_made_from_the_docstrings():
    """docs/reference/python-api.md is what `make reference` writes: every public name, every argument and attribute."""
    written = (PROJECT / "docs/reference/python-api.md").read_text()
    assert written == reference(EXAMPLE.read_text()), "run 'make reference'"
    assert all(f"`{name}`" in written or f"`datapack.{name}`" in written for name in datapack.__all__)
    for name in FUNCTIONS:
        section = written.partition(f"### `datapack.{name}`")[2].partition("\n### ")[0]
        arguments = inspect.signature(getattr(datapack, name)).parameters
        assert [argument for argument in arguments if f"\n| `{argument}` | " not in section] == []
    for kind in (datapack.Checked, datapack.Fetched, datapack.Finding, datapack.Report, datapack.Verified):
        section = written.partition(f"### class `{kind.__name__}`")[2].partition("\n### ")[0]
        assert [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in section] == []
