"""The documentation: it names everything that a user can write."""

import argparse
import json
import re
from collections.abc import Iterator

import pytest

from datapack import errors
from datapack.catalog.source_entry import KINDS
from datapack.catalog.sources import Source
from datapack.cli.parser import make_parser
from tests.conftest import PROJECT
from trainers import errors as trainer_errors

CATALOG = (PROJECT / "docs/reference/catalog.md").read_text()
COMMANDS = (PROJECT / "docs/reference/commands.md").read_text()


def keys(schema: object) -> Iterator[str]:
    """Yield every key that a schema has."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keys(value)


def test_the_reference_has_every_key_of_the_catalog():
    """A key that nobody can look up is no use."""
    schema = json.loads((PROJECT / "datapack/catalog/datasets.schema.json").read_text())
    assert {key for key in keys(schema) if f"`{key}`" not in CATALOG} <= {"datasets"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_a_kind_of_source_has_every_key(kind):
    """The keys stand in the row of their own kind: one of another kind may have the same name."""
    (row,) = (line for line in CATALOG.splitlines() if line.startswith(f"| `{kind}` | ") and line.count(" | ") == 2)
    fields = KINDS[kind].model_fields.keys() - Source.model_fields.keys() - {kind}
    assert {key for key in fields if f"`{key}`" not in row.split(" | ")[1]} == set()


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    actions = make_parser()._actions
    (found,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


@pytest.mark.parametrize("name", commands())
def test_the_reference_has_every_option(name):
    """Each option of each command is in the reference, and each command in the README."""
    options = {option for action in commands()[name]._actions for option in action.option_strings}
    long = {option for option in options if option.startswith("--")} - {"--help"}
    assert {option for option in long if not re.search(rf"{option}(?![a-z-])", COMMANDS)} <= {
        "--full"
    }  # what `verify` does anyway
    assert f"`datapack {name}" in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize(("module", "section"), [(errors, "`datapack`"), (trainer_errors, "the trainers")])
def test_the_reference_has_every_exit_status(module, section):
    """Each kind of error ends with a status that the page explains."""
    page = (PROJECT / "docs/reference/exit-codes.md").read_text()
    table = page.partition(f"## Exit status of {section}\n")[2].partition("\n## ")[0]
    kinds = [
        kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, errors.DatapackError)
    ]
    assert len({kind.exit_code for kind in kinds}) > 2
    assert {kind.exit_code for kind in kinds} <= {int(row) for row in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}


def test_the_reference_has_every_key_of_the_receipt():
    """A program that reads `<version>.import.json` can look up each key that the import writes."""
    program = (PROJECT / "datapack/image/import.sh").read_text()
    call = program.partition("/usr/local/bin/import-json ")[2].partition(") || json=")[0]
    keys = re.findall(r'([a-z_]+)#? (?:"|1 )', call)
    page = (PROJECT / "docs/reference/import.md").read_text()
    assert {"format", "started", "result"} <= set(keys)
    assert [key for key in keys if f"`{key}`" not in page] == []
