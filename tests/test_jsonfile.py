"""JSON from anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.errors import ImageError
from datapack.jsonfile import parse_json

BAD = {
    "nothing": (b"", "x:1: not valid JSON: found nothing"),
    "cut off": (b'{"a": [1,\n2', "x:2: not valid JSON: found the end of the text, where more is expected"),
    "HTML": (b"<html>", "x:1: not valid JSON: found '<html>'"),
    "Latin-1": (b'{"a":\n"\xe9"}', "x:2: not valid JSON: expected UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "x:1: not valid JSON: expected UTF-8"),
    "a surrogate in bytes": (b'"\xed\xa0\x80"', "x:1: not valid JSON: expected UTF-8"),
    "half of a pair": (rb'["\ud800"]', "x: not valid JSON: found half of a surrogate pair, which is no character"),
    "half as a key": (rb'{"\uDC00": 1}', "x: not valid JSON: found half of a surrogate pair, which is no character"),
    "nested lists": (b"[" * 200_000, "x: not valid JSON: found lists or objects nested too deeply"),
    "nested objects": (b'{"a":' * 200_000, "x: not valid JSON: found lists or objects nested too deeply"),
    "NaN": (b"[NaN]", "x: not valid JSON: found NaN, which is no number"),
    "Infinity": (b"-Infinity", "x: not valid JSON: found -Infinity, which is no number"),
    "infinite": (b"1e999", "x: not valid JSON: found 1e999, a number that is too large"),
    "5,000 digits": (b"9" * 5000, "x: not valid JSON: found a number of 5,000 digits"),
    "300 digits": (b"9" * 300, "x: not valid JSON: found a number of 300 digits"),
    "a key twice": (b'{"a": 1, "b": 2, "a": 3}', "x: not valid JSON: found the key 'a' twice"),
    "too large": (b" " * 101, "x: too large: expected at most 100 B, found 101 B"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_json_is_one_line(name):
    """The error names the problem, and its line if it has one."""
    content, message = BAD[name]
    with pytest.raises(ImageError) as error:
        parse_json(content, "x", ImageError, 100 if name == "too large" else 1 << 22)
    assert str(error.value) == message


def test_good_json_is_read():
    """Plain values, a byte order mark, surrogate pairs and texts about them are read."""
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -2.5, null, true]}', "x", ImageError) == {"a": [1, -2.5, None, True]}
    assert parse_json(rb'["\ud83d\ude00", "\\ud800"]', "x", ImageError) == ["😀", r"\ud800"]
    assert parse_json(b"18446744073709551615", "x", ImageError) == 2**64 - 1


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0d8eE+-.19NaI \n\x00é').map(str.encode))
def test_any_bytes_are_a_value_or_one_line(content):
    """No bytes raise anything but the error that the caller chose, and the error is one line of plain text."""
    problem = ""
    try:
        parse_json(content, "x", ImageError)
    except ImageError as error:
        problem = str(error)
    assert "\n" not in problem
    problem.encode()
