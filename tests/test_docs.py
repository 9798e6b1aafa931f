"""The documentation: it names everything that a user can write."""

import argparse
import re

import pytest

from datapack import errors
from datapack.catalog import reference as catalog_reference
from datapack.catalog.source_entry import KINDS
from datapack.cli import STOPPED
from datapack.cli import reference as cli_reference
from datapack.cli.options import COMMON
from datapack.cli.parser import make_parser
from datapack.markdown import filled, marked, table
from tests.conftest import PROJECT
from trainers import errors as trainer_errors

COMMANDS = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)).choices


@pytest.mark.parametrize(("name", "parts"), [("commands", cli_reference.parts), ("catalog", catalog_reference.parts)])
def test_the_reference_is_made_from_the_code(name, parts):
    """What the parser and the models of the catalog say is in the page, each in its place, and none has no meaning."""
    page = (PROJECT / f"docs/reference/{name}.md").read_text()
    assert page == filled(page, parts()), "run 'make reference'"
    assert not re.search(r"\|\s*\|$", "\n".join(parts().values()), re.MULTILINE)


def test_the_parts_have_every_option_and_every_key():
    """No option and no key is left out on the way."""
    parts = cli_reference.parts()
    for name, parser in COMMANDS.items():
        options = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
        page = parts[f"datapack {name}"] + parts[COMMON]
        assert [option for option in options if f"`{option}" not in page] == []
        assert f"`datapack {name}" in (PROJECT / "README.md").read_text()
    section = catalog_reference.parts()["Source"]
    for kind, model in KINDS.items():
        rows = section.partition(f"### `{kind}`\n")[2].partition("\n### ")[0]
        assert [key for key in model.model_fields.keys() - {"exclude"} if f"\n| `{key}` | " not in rows] == []
    assert "Place: `defaults.retention`, `datasets.NAME.retention`\n" in catalog_reference.parts()["Retention"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_an_option_says_its_default(name):
    """A value that counts without the option is in its help."""
    for action in COMMANDS[name]._actions:
        if action.nargs != 0 and action.default and action.default != argparse.SUPPRESS:
            assert str(action.default) in COMMANDS[name]._get_formatter()._expand_help(action)


def test_names_in_a_text_are_code():
    """A reader sees what to type; prose and its punctuation stay as they are."""
    text = "'a b' with --to (default: dist/<name>.tar): oci:DIR, .pth or {a: 1}; not 2.5 or 4g. Sets' ends..."
    shown = (
        "`a b` with `--to` (default: `dist/<name>.tar`): `oci:DIR`, `.pth` or `{a: 1}`; not 2.5 or 4g. Sets' ends..."
    )
    assert marked(text) == shown
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n|---|---|\n| x\\|y | z |\n"
    with pytest.raises(ValueError, match="places for"):
        filled("no place", {"part": "text"})


def statuses(section: str) -> set[int]:
    """Return the numbers in a table of the page of exit codes."""
    page = (PROJECT / "docs/reference/exit-codes.md").read_text()
    rows = page.partition(f"## Exit status of {section}\n")[2].partition("\n## ")[0]
    return set(map(int, re.findall(r"^\| (\d+) \|", rows, re.MULTILINE)))


@pytest.mark.parametrize(
    ("module", "section", "more"), [(errors, "`datapack`", {0, STOPPED}), (trainer_errors, "the trainers", {0})]
)
def test_the_page_has_the_exit_statuses_of_the_errors(module, section, more):
    """Each kind of error ends with a status that the page explains, and the page has no other."""
    kinds = [
        kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, errors.DatapackError)
    ]
    known = {kind.exit_code for kind in kinds}
    assert len(known) > 2
    assert statuses(section) == known | more


def test_the_page_has_the_exit_statuses_of_the_import():
    """The program, its own help and the page have the same statuses."""
    program = (PROJECT / "datapack/image/import.sh").read_text()
    helped = program.partition("\nExit status: ")[2].partition(".\n")[0]
    used = {*re.findall(r"\bfail (\d+) ", program), *re.findall(r"\bverify_final (\d+)", program)}
    used = {int(status.replace("82", "2")) for status in used}
    assert statuses("`import`") == {0, *used}
    assert statuses("`import`") == set(map(int, re.findall(r"(?:^|;\s)(\d) ", helped)))


def test_the_reference_has_every_key_of_the_receipt():
    """A program that reads `<version>.import.json` can look up each key that the import writes."""
    program = (PROJECT / "datapack/image/import.sh").read_text()
    call = program.partition("/usr/local/bin/import-json ")[2].partition(") || json=")[0]
    keys = re.findall(r'([a-z_]+)#? (?:"|1 )', call)
    page = (PROJECT / "docs/reference/import.md").read_text()
    assert {"format", "started", "result"} <= set(keys)
    assert [key for key in keys if f"`{key}`" not in page] == []
