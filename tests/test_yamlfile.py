"""A YAML file with its lines: what is read, what is refused, and where things stand."""

from pathlib import Path

import pytest

from datapack.errors import CatalogError
from datapack.yamlfile import Document, describe


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes a file and reads it as a document."""

    def read(content: str | bytes) -> Document:
        path = tmp_path / "file.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Document.read(path)

    return read


def test_values_and_their_lines(read):
    """Every value is found by its place, and every place has the line that it begins on."""
    document = read("a:\n  b: 1\n\n  c:\n    - x\n    - d: y\n")
    assert document.value == {"a": {"b": 1, "c": ["x", {"d": "y"}]}}
    places = [(), ("a",), ("a", "b"), ("a", "c"), ("a", "c", 0), ("a", "c", 1, "d")]
    assert [document.line(place) for place in places] == [1, 1, 2, 4, 5, 6]
    assert document.get(("a", "c", 1, "d")) == "y"
    assert document.where(("a", "b")).endswith("file.yml:2")


def test_a_place_that_is_not_there_has_the_line_around_it(read):
    """A key that is missing is shown at what it is missing in."""
    assert read("a:\n\n  b: 1\nc: [1]").line(("c", 7, "x")) == 4


def test_keys_stay_as_they_are_written(read):
    """A version called 1.0, a name called yes and a date are text, not a number, a truth or a day."""
    document = read("1.0: a\nyes: b\n2024-01-01: 2024-01-01\n")
    assert document.value == {"1.0": "a", "yes": "b", "2024-01-01": "2024-01-01"}


def test_an_alias_and_a_merged_key_are_read(read):
    """YAML's own ways not to write a thing twice work, and the key that stands there itself wins."""
    document = read("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n")
    assert document.value == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert document.line(("b", "y")) == 4


def test_an_empty_file_has_no_value(read):
    """A file of nothing, or of comments, is None."""
    assert read("").value is None
    assert read("# nothing\n").value is None
    assert read("").line(("a",)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n",
            "file.yml:5: the key 'c' stands twice in one place: found the first on line 3",
        ),
        ("a: [1, 2\n", "file.yml:2: not YAML"),
        ("a:\n\tb: 1\n", "file.yml:2: not YAML: found .*indent with spaces"),
        ("a: b: c\n", "file.yml:1: not YAML: found mapping values are not allowed"),
        ("a: *b\n", "file.yml:1: not YAML: found .*alias"),
        ("a: 1\n---\nb: 1\n", "file.yml:2: not YAML"),
        ("a: !!python/object:os.system {}\n", "file.yml:1: a tag is not allowed here: found .*os.system"),
        ("a: 1\nb: !!int x\n", "file.yml:2: a tag is not allowed here: found .*int; write the value without it"),
        ("a: !!timestamp x\n", "file.yml:1: a tag is not allowed here"),
        ("a: =\n", "file.yml:1: not YAML: found could not determine a constructor"),
        ("? [a, b]\n: 1\n", "file.yml:1: a key must be plain text: found a list or a mapping"),
        ("a: 1\nb: \x00\n", "file.yml:2: not YAML"),
        (b"a: 1\nb: \xff\n", "file.yml:2: not UTF-8; save the file as UTF-8"),
        ("a: 1\n<<<<<<< ours\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n", "file.yml:2: a merge conflict is not resolved"),
    ],
)
def test_what_is_in_doubt_is_refused_by_its_line(read, content, says):
    """A file that can't be read in one way only is refused in one line that names the file's line."""
    with pytest.raises(CatalogError, match=says) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    """A folder in the place of the file, or no file, is refused by its path."""
    with pytest.raises(CatalogError, match=r"can't be read: found Is a directory"):
        Document.read(tmp_path)
    with pytest.raises(CatalogError, match=r"none\.yml: the file can't be read: found No such file"):
        Document.read(tmp_path / "none.yml")


def test_places_are_written_as_people_read_them():
    """Keys with dots between them, positions in brackets, and quotes where a key would be misread."""
    assert (
        describe(("datasets", "reef", "versions", "v1", "sources", 0, "local"))
        == "datasets.reef.versions.v1.sources[0].local"
    )
    assert describe(("mirrors", "https://a.org", 1)) == "mirrors['https://a.org'][1]"
    assert describe(()) == ""
