"""YAML files with line numbers: values, their lines, and what is refused."""

import re
from pathlib import Path

import pytest

from datapack.errors import CatalogError, DatapackError
from datapack.yamlfile import YamlFile, describe


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes a file and reads it as YAML."""

    def read(content: str | bytes, **options) -> YamlFile:
        path = tmp_path / "file.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return YamlFile.read(path, **options)

    return read


def test_values_and_their_lines(read):
    """Every value is found by its place, and every place has the line that it begins on."""
    file = read("a:\n  b: 1\n\n  c:\n    - x\n    - d: y\n")
    assert file.value == {"a": {"b": 1, "c": ["x", {"d": "y"}]}}
    places = [(), ("a",), ("a", "b"), ("a", "c"), ("a", "c", 0), ("a", "c", 1, "d")]
    assert [file.line(place) for place in places] == [1, 1, 2, 4, 5, 6]
    assert file.get(("a", "c", 1, "d")) == "y"
    assert file.where(("a", "b")).endswith("file.yml:2")


def test_missing_place_has_the_line_of_its_parent(read):
    """A missing key is shown at the line of the mapping that should have it."""
    assert read("a:\n\n  b: 1\nc: [1]").line(("c", 7, "x")) == 4


def test_keys_and_dates_stay_strings(read):
    """A version 1.0, a name 'yes' and a date are strings, not a number, a boolean or a date object."""
    file = read("1.0: a\nyes: b\n2024-01-01: 2024-01-01\n")
    assert file.value == {"1.0": "a", "yes": "b", "2024-01-01": "2024-01-01"}


def test_aliases_and_merge_keys_work(read):
    """YAML's aliases and merge keys work, and a mapping's own key overrides a merged one."""
    file = read("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n")
    assert file.value == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert file.line(("b", "y")) == 4


def test_empty_file_has_no_value(read):
    """The value of an empty file, or of one with only comments, is None."""
    assert read("").value is None
    assert read("# nothing\n").value is None
    assert read("").line(("a",)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: 1\na: 2\n", "file.yml:2: duplicate key a: found the first one on line 1; keep only one"),
        (
            "a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\n",
            "file.yml:5: duplicate key b\\[0\\].c: found the first one on line 3; keep only one",
        ),
        ("a: [1, 2\n", "file.yml:2: not valid YAML"),
        ("a:\n\tb: 1\n", "file.yml:2: not valid YAML: found .*indent with spaces"),
        ("a: b: c\n", "file.yml:1: not valid YAML: found mapping values are not allowed"),
        ("a: *b\n", "file.yml:1: not valid YAML: found .*alias"),
        ("a: 1\n---\nb: 1\n", "file.yml:2: not valid YAML"),
        ("a: !!python/object:os.system {}\n", "file.yml:1: tags are not allowed: found .*os.system"),
        ("a: 1\nb: !!int x\n", "file.yml:2: tags are not allowed: found .*int; remove the tag"),
        ("a: !!timestamp x\n", "file.yml:1: tags are not allowed"),
        ("a: =\n", "file.yml:1: not valid YAML: found could not determine a constructor"),
        ("? [a, b]\n: 1\n", "file.yml:1: a key must be plain text: found a list or a mapping"),
        ("a: 1\nb: \x00\n", "file.yml:2: not valid YAML"),
        pytest.param("[" * 10_000, "file.yml:1: not valid YAML: found .*maximum", id="deep"),
        pytest.param("1" * 5_000, "file.yml:1: not valid YAML: found Exceeds the limit", id="number"),
        (b"a: 1\nb: \xff\n", "file.yml:2: not UTF-8; save the file as UTF-8"),
        ("a: 1\n<<<<<<< ours\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n", "file.yml:2: unresolved merge conflict"),
    ],
)
def test_invalid_or_ambiguous_file_is_refused_by_line(read, content, says):
    """A file that can't be read in exactly one way is refused in one line that names the line in the file."""
    with pytest.raises(CatalogError) as error:
        read(content)
    assert re.search(says, str(error.value))
    assert "\n" not in str(error.value)


def test_unreadable_file_is_named(tmp_path):
    """A folder in place of the file, or no file at all, is refused with its path."""
    with pytest.raises(CatalogError, match=r"can't read the file: found Is a directory"):
        YamlFile.read(tmp_path)
    with pytest.raises(CatalogError, match=r"none\.yml: can't read the file: found No such file"):
        YamlFile.read(tmp_path / "none.yml")


@pytest.mark.parametrize("content", ["a: 1\na: 2\n", "a: [\n", "a: !x 1\n", b"\xff", "=======\n"])
def test_caller_chooses_the_error(read, content):
    """Each problem in the file raises the error that the caller asks for."""

    class OwnError(DatapackError):
        pass

    with pytest.raises(OwnError, match=r"file\.yml:"):
        read(content, error=OwnError)


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        ("# c\na: {b: old, c: old}  # d\n", "# c\na: {b: new, c: old}  # d\n"),
        ('\ufeffa:\n  b: "old"\r\n', '\ufeffa:\n  b: "new"\r\n'),
    ],
)
def test_one_value_changes_and_every_other_byte_stays(read, content, changed):
    """A changed value leaves comments, quotes, line ends and a byte order mark as they are."""
    file = read(content).with_value(("a", "b"), "new")
    assert file.text == changed
    assert file.get(("a", "b")) == "new"


@pytest.mark.parametrize(
    "content",
    ["a: {b: &x old}\nc: *x\n", "a: &x {b: old}\nc: *x\n", "a: &x {b: old}\nc: {<<: *x}\n", 'a: {b: "o\\x6cd"}\n'],
)
def test_value_that_is_used_elsewhere_too_is_not_changed(read, content):
    """A value that an alias repeats, or that is written with escapes, is left to the user."""
    with pytest.raises(CatalogError, match=r"a\.b: can't be changed automatically: found .*; change it to new in an"):
        read(content).with_value(("a", "b"), "new")


def test_places_are_formatted_for_people():
    """Keys are joined by dots, indexes are in brackets, and unusual keys are in quotes."""
    assert (
        describe(("datasets", "reef", "versions", "v1", "sources", 0, "local"))
        == "datasets.reef.versions.v1.sources[0].local"
    )
    assert describe(("mirrors", "https://a.org", 1)) == "mirrors['https://a.org'][1]"
    assert describe(()) == ""
