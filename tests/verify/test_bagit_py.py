"""Random changes to bags: datapack accepts none that bagit.py refuses, and what only datapack refuses is listed."""

from __future__ import annotations

import re
import tempfile
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.verify.any_bag import A, is_valid, make, problem, reseal

FUZZING = 60  # seconds
CONTENTS = [
    b"",
    b"\n",
    b"\xef\xbb\xbf",
    b"\x00",
    b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n",
    b"BagIt-Version: 0.96\nTag-File-Character-Encoding: utf-8\r\n",
    b"Payload-Oxum: 11.4\n",
    b"Payload-Oxum: 011.04\nPayload-Oxum: 1.1\n",
    b"Payload-Oxum: 11\n",
    "A: b\x85c\n".encode(),
    "A: b\u2028 c: d\n".encode(),
    b" A: b\n  c\n",
    f"{A}  data/a.png\n".encode(),
    f"{A} *./data/a.png\n".encode(),
    f"{A}  data/a.png\n{A}  data/a.png\n".encode(),
    b"https://example.org/a 3 data/a.png\n",
    b"https://example.org/a - data/a.png\n\n",
    b"file:///a 3 data/a.png\n",
    b"a 3 ../../etc/passwd\n",
]
PIECES = [
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"*",
    b"#",
    b"%0A",
    b"%25",
    b"./",
    b"../",
    b"\xff",
    "\u2028".encode(),
    b"a",
    b"0",
    b":",
    b"~",
]
NEW = [
    "data/new",
    "data/deep/new",
    "manifest-md5.txt",
    "manifest-sha3_256.txt",
    "tagmanifest-sha1.txt",
    "fetch.txt",
    "x",
]
STRICTER = {  # what only datapack refuses, beside links and devices
    r"spelled": "a file whose name has another Unicode form in the manifest",
    r"is not allowed": "names that tools read in two ways, and '.' parts",
    r"not a manifest line|not a bag|not a field|not a line of|not UTF-8": "lines that bagit.py ignores or repairs",
    r"a manifest of an unknown kind": "manifests that bagit.py ignores",
    r"names a file that is not allowed": "tag files in a manifest of the payload, and the other way round",
    r"named twice": "lines that are there twice in a bag of version 0.97",
    r"proves nothing|is empty": "bags that prove nothing",
    r"BagIt version|an encoding": "versions before 0.97, encodings other than UTF-8",
    r"unlisted": "manifests that leave out a file",
    r"in no manifest": "files to fetch that are in no manifest",
    r"size     ": "a Payload-Oxum whose label is in lower case",
}
EDITS = {  # of a file's content: at a position, with a piece and a number
    "insert": lambda content, at, piece, _: content[:at] + piece + content[at:],
    "cut": lambda content, at, *_: content[:at],
    "flip": lambda content, at, _, number: content[:at] + bytes(b ^ 1 << number % 8 for b in content[at:][:1]),
    "replace": lambda *arguments: CONTENTS[arguments[-1] % len(CONTENTS)],
    "repeat": lambda content, at, *_: content + content[at:],
}
MOVES = {  # of a file
    "delete": lambda path, _: path.unlink(),
    "rename": lambda path, _: path.rename(path.with_name(f"{path.name}~")),
    "decompose": lambda path, _: path.rename(path.with_name(unicodedata.normalize("NFD", path.name))),
    "link": lambda path, moved: path.rename(moved) and path.symlink_to(moved),
    "copy": lambda path, _: path.with_name("manifest-sha512.txt").write_bytes(path.read_bytes()),
}
changes = st.tuples(
    st.sampled_from(["add", *EDITS, *MOVES]),
    st.integers(0, 30),
    st.integers(0, 400),
    st.sampled_from(PIECES),
    st.integers(0, 30),
)


def change(bag: Path, kind: str, file: int, at: int, piece: bytes, number: int) -> None:
    """Change one file of a bag."""
    files = sorted(path for path in bag.rglob("*") if path.is_file() and not path.is_symlink())
    if kind == "add":
        path = bag / NEW[file % len(NEW)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(CONTENTS[number % len(CONTENTS)])
    elif files and kind in EDITS:
        path = files[file % len(files)]
        content = path.read_bytes()
        rest = content[at % (len(content) + 1) + 1 :] if kind == "flip" else b""
        path.write_bytes(EDITS[kind](content, at % (len(content) + 1), piece, number) + rest)
    elif files:
        path = files[file % len(files)]
        MOVES[kind](path, bag.parent / f"moved-{path.name}")


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["ours", "bagit.py", "md5"]), st.lists(changes, min_size=1, max_size=3), st.booleans())
def compare(kind: str, made: list[tuple], sealed: bool) -> None:
    """Change a bag and compare the two judgements."""
    with tempfile.TemporaryDirectory() as folder:
        bag = make(Path(folder) / "bag", kind)
        for one in made:
            change(bag, *one)
        if sealed:
            reseal(bag)
        found, valid = problem(bag), is_valid(bag)
        assert found or valid, "bagit.py finds it invalid"
        if found and valid and not any(path.is_symlink() for path in bag.rglob("*")):
            assert any(re.search(reason, found) for reason in STRICTER), found


def test_what_bagit_py_calls_invalid_is_invalid():
    """Random changes: datapack accepts no bag that bagit.py refuses, and what only datapack refuses is listed above."""
    compare()


@pytest.mark.slow
def test_what_bagit_py_calls_invalid_is_invalid_for_a_minute():
    """The same, for a constant time."""
    end = time.monotonic() + FUZZING
    while time.monotonic() < end:
        compare()
