"""The patterns of `exclude:`."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.catalog.patterns import Patterns, check_pattern


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        (".DS_Store", [".DS_Store", "a/b/.DS_Store", ".DS_Store/x"], ["a.DS_Store", ".DS_Store2", ".ds_store"]),
        ("*.bak", ["a.bak", ".bak", "x/y.bak", "x.bak/y"], ["a.bak2", "abak"]),
        (".git", [".git", "a/.git/config"], [".gitignore", "a.git"]),
        (".git/", [".git/config"], [".gitignore"]),
        ("raw/*.tif", ["raw/a.tif", "raw/a.tif/b"], ["raw/x/a.tif", "x/raw/a.tif", "a.tif"]),
        ("raw/**/*.tif", ["raw/a.tif", "raw/x/y/a.tif"], ["a.tif", "x/raw/a.tif"]),
        ("raw/**", ["raw/a", "raw/b/c"], ["raws", "x/raw/a"]),
        ("**/raw", ["raw/a", "x/raw", "x/y/raw/b"], ["rawer"]),
        ("raw", ["raw", "raw/a", "x/raw/b"], ["rawer", "draw"]),
        ("?.png", ["a.png", "x/ö.png"], ["ab.png", "/.png"]),
        ("[ab].png", ["a.png", "b.png"], ["c.png", "[.png"]),
        ("[!ab].png", ["c.png"], ["a.png", "x/a.png"]),
        ("[]].png", ["].png"], ["[.png"]),
        ("[a-c]1", ["b1"], ["d1", "-1"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)", "a.bb(c)"]),
        ("**", ["a", "a/b"], []),
        ("a/a/b", ["a/a/b"], ["a/b"]),
        ("a/**/**/b", ["a/b", "a/x/y/b"], ["a"]),
        ("a b", ["a b"], ["ab"]),
    ],
)
def test_what_a_pattern_matches(pattern, matches, others):
    """Names in any folder, or paths from the source's top; a folder stands for all that is in it."""
    patterns = Patterns([check_pattern(pattern)])
    assert [path for path in matches if not patterns.match(path)] == []
    assert [path for path in others if patterns.match(path)] == []


@given(st.text("ab.*?[]!-", min_size=1, max_size=8), st.text("ab.[]!-", min_size=1, max_size=6))
def test_a_name_matches_as_in_a_shell(pattern, name):
    """Within one part of a path, wildcards are those of Python's fnmatch."""
    if "**" not in pattern and "\\" not in pattern and "^" not in pattern and not _reversed_range(pattern):
        assert Patterns([pattern]).match(name) == fnmatch.fnmatchcase(name, pattern)


def _reversed_range(pattern):
    """fnmatch drops a range such as [b-a], which no one writes on purpose; ours is an error of the pattern."""
    return "-" in pattern and "[" in pattern


@pytest.mark.parametrize("pattern", ["", "/", "/a", "a//b", "../a", "a/..", "!a", ".", "./a", "[b-a]"])
def test_pattern_that_can_match_nothing_is_refused(pattern):
    """It would be packed although the catalog seems to exclude it."""
    with pytest.raises(ValueError, match="not a pattern of names"):
        check_pattern(pattern)


def test_patterns_that_matched_nothing_are_known():
    """A misspelt pattern leaves in the dataset what it should leave out."""
    patterns = Patterns(["*.bak", ".DS_store", "*.b*"])
    assert patterns.match("x/a.bak")
    assert patterns.unused == {".DS_store"}
    assert not Patterns([]).match("a")


def test_many_wildcards_take_no_longer_than_few():
    """The time does not grow with the number of ways to match."""
    began = time.process_time()
    assert not Patterns(["*a*a*a*a*a*a*b", "**/**/**/**/x"]).match("/".join(["a" * 60] * 30))
    assert time.process_time() - began < 2
