"""YAML files with line numbers: values, their lines, and what is refused."""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datapack import yamlfile
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


def test_words_and_times_stay_strings(read):
    """What YAML 1.1 takes for a boolean, a sum of minutes or an octal number is the text that people see."""
    file = read("a: off\nb: no\nc: 1:30\nd: 010\ne: 0x1F\nf: =\n<<: y\ng: [true, False, 12, -1.5, ~, null, 1_000]\n")
    words = {"a": "off", "b": "no", "c": "1:30", "d": "010", "e": "0x1F", "f": "=", "<<": "y"}
    assert file.value == {**words, "g": [True, False, 12, -1.5, None, None, 1000]}


ODD = ("off", "1e5", "0o7", "010", "1:30", "~", "<<", "=", "1_000", ".1", "-.inf", "a: b", "#", "é\n b")
texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)


@given(st.dictionaries(texts, texts))
def test_what_pyyaml_writes_is_read_back(values):
    """PyYAML puts a string in quotes where it would be something else: the lock depends on it."""
    assert (YamlFile.parse(Path("x"), yaml.safe_dump(values)).value or {}) == values


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: &x 1\nb: *x\n", "file.yml:2: aliases are not allowed: found '\\*' at b; write the value itself"),
        ("a: &x [1]\nb:\n  - c: *x\n", "file.yml:3: aliases are not allowed: found '\\*' at b\\[0\\].c; write"),
        ("a: &x {b: *x}\n", "file.yml:1: aliases are not allowed: found '\\*' at a.b; write"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "file.yml:3: aliases are not allowed: found '\\*' at b\\['<<'\\]"),
        ("a: &a b\n*a : 1\n", "file.yml:1: aliases are not allowed: found '\\*' at b; write"),
    ],
)
def test_aliases_are_refused(read, content, says):
    """A few of them can stand for more data than any memory holds, and one may stand for itself."""
    with pytest.raises(CatalogError) as error:
        read(content)
    assert re.search(says, str(error.value))


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader])
@given(text=st.text("ab:-[]{}&*!|>'\"%@`#,?\\ \n\t\x00=<1.0"))
def test_any_text_is_read_or_refused_in_one_line(loader, text):
    """No text raises anything but the error that the caller chose, and no error quotes the parser."""

    class Loader(yamlfile._Loader, loader):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamlfile, "_Loader", Loader)
        try:
            YamlFile.parse(Path("x"), text)
            message = ""
        except CatalogError as error:
            message = str(error)
    assert "\n" not in message
    assert not re.search("expected|context|parsing|scanning|token|node", message)


def test_a_file_has_a_limit(tmp_path):
    """A FIFO is not waited for, and a sparse file of a terabyte is not read."""
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 40)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CatalogError, match=r"huge: the file is too large: expected at most 16\.8 MB, found 1\.1 TB"):
        YamlFile.read(tmp_path / "huge")
    with pytest.raises(CatalogError, match="fifo: not a regular file: found a FIFO"):
        YamlFile.read(tmp_path / "fifo")


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
        ("a: [1, 2\n", "file.yml:2: not valid YAML: found a bracket that does not end; close it with '\\]' or '}'"),
        ("a:\n\tb: 1\n", "file.yml:2: not valid YAML: found a tab at the beginning of the line; indent with spaces"),
        ("a: b: c\n", "file.yml:1: not valid YAML: found ': ' in a value or below one; put the value in quotes"),
        ("a: *b\n", "file.yml:1: not valid YAML: found an alias"),
        ("a: 'b\n", "file.yml:2: not valid YAML: found a quote that does not end; add the missing quote"),
        ("a: @b\n", "file.yml:1: not valid YAML: found a character that no value begins with; put the value in quotes"),
        ("a: }\n", "file.yml:1: not valid YAML: found a bracket or a comma in the place of a value"),
        ("a:\n  - b\n c\n", "file.yml:3: not valid YAML: found a line that is not a key of the mapping above; check"),
        ("a: 1\n---\nb: 1\n", "file.yml:2: not valid YAML: found a second document; remove the line '---'"),
        ("a: !!python/object:os.system {}\n", "file.yml:1: tags are not allowed: found .*os.system"),
        ("a: 1\nb: !!int x\n", "file.yml:2: tags are not allowed: found .*int; remove the tag"),
        ("a: !!timestamp x\n", "file.yml:1: tags are not allowed"),
        ('a: "b\\0"\n', r"file.yml:1: control characters are not allowed: found '.x00'; remove it"),
        ('a:\n  - "b\\e[2J"\n', r"file.yml:2: control characters are not allowed: found '.x1b'"),
        ('"b\\x9b": 1\n', r"file.yml:1: control characters are not allowed: found '.x9b'"),
        ('"b\\L": 1\n', r"file.yml:1: control characters are not allowed: found '.u2028'"),
        ("a: b\u202ec\n", r"file.yml:1: control characters are not allowed: found '.u202e'"),
        ('"b\\x7f": 1\n', r"file.yml:1: control characters are not allowed: found '.x7f'"),
        ("? [a, b]\n: 1\n", "file.yml:1: a key must be plain text: found a list or a mapping"),
        ("a: 1\nb: \x00\n", "file.yml:2: not valid YAML: found a control character; remove it"),
        pytest.param("[" * 200_000, "file.yml:1: not valid YAML: found lists or mappings nested too deeply", id="deep"),
        pytest.param("1" * 5_000, "file.yml:1: not valid YAML: found a number with too many digits", id="number"),
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
    with pytest.raises(CatalogError, match=r"not a regular file: found a folder"):
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


def test_value_that_is_written_in_another_way_is_not_changed(read):
    """A value that is written with escapes is left to the user."""
    with pytest.raises(CatalogError, match=r"a\.b: can't be changed automatically: found .*; change it to new in an"):
        read('a: {b: "o\\x6cd"}\n').with_value(("a", "b"), "new")


def test_places_are_formatted_for_people():
    """Keys are joined by dots, indexes are in brackets, and unusual keys are in quotes."""
    assert (
        describe(("datasets", "reef", "versions", "v1", "sources", 0, "local"))
        == "datasets.reef.versions.v1.sources[0].local"
    )
    assert describe(("mirrors", "https://a.org", 1)) == "mirrors['https://a.org'][1]"
    assert describe(()) == ""
