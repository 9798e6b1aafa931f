"""The tables of a bag: rows, columns, types and missing values, whatever the program that wrote them."""

import gzip
import random
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.bag.bagit import Bag
from datapack.inspect.survey import payload_files
from datapack.inspect.tables import read_tables
from datapack.progress import Silent
from tests.bags import write_bag

PLAIN = "id,depth,species,seen,note\n1,2.5,cod,2024-01-01,\n2,NA,eel,2024-01-02 10:00,x\n3,7,eel,,007\n"


@pytest.fixture
def read(tmp_path):
    """Return a function that makes a bag of one file, and returns its table."""

    def read(content, name="t.csv"):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_bag(folder, {name: content if isinstance(content, bytes) else content.encode()})
        bag = Bag.open(folder)
        (table,) = read_tables(bag, Silent(), payload_files(bag))
        assert table.path == name
        return table

    return read


def summary(table):
    return [tuple(column) for column in table.columns]


EXPECTED = [
    ("id", "whole number", 0),
    ("depth", "number", 1),
    ("species", "text", 0),
    ("seen", "date", 1),
    ("note", "text", 1),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_common_form_gives_the_same_table(read, encoding, delimiter, newline):
    """Encodings, delimiters and ends of lines differ from program to program; the table is the same."""
    content = PLAIN.replace(",", delimiter).replace("\n", newline).encode(encoding)
    for name, packed in (("t.csv", content), ("T.CSV.gz", gzip.compress(content)), ("t.tsv", content)):
        table = read(packed, name)
        assert (table.rows, summary(table), table.problem, table.ragged) == (3, EXPECTED, "", 0)


def test_types(read):
    """Numbers as people and programs write them; what begins with 0 is a name; a mixed column is text."""
    rows = [
        ("whole", "number", "comma", "code", "date", "british", "truth", "mixed", "empty", "blank"),
        ("-1", "1e-3", '"1,5"', "007", "2024-01-01T00:00:00Z", "31/12/2024", "true", "1", "", " "),
        ("+20", "nan", '"2,25"', "12", "2024-01-01 10:00:00.5+01:00", "1.2.2024", "False", "x", "NULL", "n/a"),
    ]
    table = read("\n".join(",".join(row) for row in rows))
    types = ["whole number", "number", "number", "text", "date", "date", "true or false", "text", "empty", "empty"]
    assert [column.type for column in table.columns] == types
    assert [column.missing for column in table.columns] == [0, 1, 0, 0, 0, 0, 0, 0, 2, 2]


def test_quoted_values_hold_delimiters_and_ends_of_lines(read):
    """A row may take several lines."""
    table = read('name,text\n"a, b","one\ntwo ""quoted""\nthree"\nc,d\n')
    assert (table.rows, [column.name for column in table.columns]) == (2, ["name", "text"])
    assert (table.ragged, table.problem) == (0, "")


def test_names_in_latin_1_are_legible(read):
    """Old spreadsheets write them; the table is read all the same."""
    table = read("Länge;Größe\n1;2\n".encode("latin-1"))
    assert [column.name for column in table.columns] == ["Länge", "Größe"]


def test_numbers_only_have_no_header(read):
    """The first row is data then, and is counted."""
    table = read("1,2.5\n3,4\n")
    assert (table.rows, table.has_header) == (2, False)
    assert summary(table) == [("", "whole number", 0), ("", "number", 0)]


def test_ragged_rows_are_counted(read):
    """Too long and too short ones, with the line of the first; empty lines are no rows."""
    table = read("a,b,c\n1,2,3\n\n1,2\n1,2,3,4\n1,2,3\n")
    assert (table.rows, table.ragged, table.first_ragged) == (4, 2, 4)
    assert [column.missing for column in table.columns] == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "rows", "columns"),
    [("", 0, 0), ("a,b\n", 0, 2), ("\n\n\n", 0, 0), ("alone\n1\n2\n", 2, 1), ("a,a,\n1,2,3\n", 1, 3)],
)
def test_small_tables(read, content, rows, columns):
    """Empty files, a header alone, one column, names that are empty or occur twice."""
    table = read(content)
    assert (table.rows, len(table.columns), table.problem) == (rows, columns, "")


PROBLEMS = [
    (b"\0\1\2\3" * 100, "t.csv", "not text"),
    (b"PK\x03\x04 a spreadsheet", "t.csv", "a ZIP file, as spreadsheets are, and not text"),
    (b"<!doctype html><html>", "t.csv", "a web page instead of the file"),
    (b"a,b\n1," + b"x" * 40_000_000, "t.csv", "line 2: a line of more than 16 million characters"),
    (b'a,b\n1,2\n3,"' + b"xy\n" * 8_000_000, "t.csv", "a value of more than 16 million characters, or a quote that is"),
    (b"a," * 100_001 + b"b\n", "t.csv", "line 2: 100,002 columns, and a table may have at most 100,000"),
    (b"a,b\n1,2\n", "t.csv.gz", "a gzip file that is broken or cut off"),
    (gzip.compress(PLAIN.encode(), mtime=0)[:-12], "t.csv.gz", "a gzip file that is broken or cut off"),
    (
        gzip.compress(b"a,b\n" + (b"1," + b"x" * 100_000 + b"\n") * 300, mtime=0),
        "t.csv.gz",
        "unpacks to more than 200 times its size",
    ),
    (b"PAR1 no footer PAR1", "t.parquet", "not a readable Parquet file"),
    (b"", "t.parquet", "not a readable Parquet file"),
]


@pytest.mark.parametrize(("content", "name", "problem"), PROBLEMS)
def test_problems(read, content, name, problem):
    """Each says what is wrong, and keeps what was read before; nothing is raised."""
    started = time.process_time()
    assert problem in read(content, name).problem
    assert time.process_time() - started < 30


def test_parquet(tmp_path, read):
    """Rows, types and missing values are in the footer; nested columns say nothing of missing ones."""
    table = pa.table(
        {
            "id": [1, 2, 3],
            "name": ["a", None, "c"],
            "when": pa.array([1, 2, None], pa.timestamp("s")),
            "at": [[1], [], None],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    found = read((tmp_path / "x.parquet").read_bytes(), "x.parquet")
    assert (found.rows, found.problem) == (3, "")
    assert summary(found) == [
        ("id", "int64", 0),
        ("name", "string", 1),
        ("when", "timestamp[ms]", 1),
        ("at", "list<element: int64>", -1),
    ]
    pq.write_table(table, tmp_path / "y.parquet", write_statistics=False)
    found = read((tmp_path / "y.parquet").read_bytes(), "y.parquet")
    assert {column.missing for column in found.columns} == {-1}


def test_parquet_without_pyarrow(read, monkeypatch):
    """The problem says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert read(b"PAR1", "x.pq").problem == "needs pyarrow: pip install 'datapack[parquet]'"


def test_a_large_table_takes_flat_memory(tmp_path):
    """Nine times as many rows take no more memory."""
    code = (
        "import sys; from pathlib import Path; from datapack.bag.bagit import Bag\n"
        "from datapack.inspect.survey import payload_files; from datapack.inspect.tables import read_tables\n"
        "from datapack.progress import Silent\n"
        "bag = Bag.open(Path(sys.argv[1]))\n"
        "print(read_tables(bag, Silent(), payload_files(bag))[0].rows)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for number in (50_000, 450_000):
        folder = tmp_path / str(number)
        write_bag(folder, {"t.csv": b"id,value\n" + b"".join(b"%d,0.%d\n" % (row, row) for row in range(number))})
        out = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout
        rows, peak = map(int, out.split())
        assert rows == number
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 10_000  # kB; reading all would take 50 MB more


def test_many_tables_take_seconds(tmp_path):
    """A folder of thousands of small tables is common."""
    draw = random.Random(1)
    rows = "".join(f"{row},{draw.random():.4f},x\n" for row in range(40))
    write_bag(tmp_path, {f"t/{number}.csv": f"a,b,c\n{rows}".encode() for number in range(2000)})
    bag, started = Bag.open(tmp_path), time.process_time()
    assert {table.rows for table in read_tables(bag, Silent(), payload_files(bag))} == {40}
    assert time.process_time() - started < 4


@given(st.one_of(st.binary(max_size=500), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
@settings(max_examples=300, deadline=2000)
def test_arbitrary_bytes_never_raise(tmp_path_factory, content):
    """Whatever a file holds, it is a table or has a problem."""
    for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet"):
        folder = tmp_path_factory.mktemp("bag")
        write_bag(folder, {name: content})
        bag = Bag.open(folder)
        (table,) = read_tables(bag, Silent(), payload_files(bag))
        assert "\n" not in table.problem
        assert table.rows >= 0
        for column in table.columns:
            column.name.encode()  # it can be printed
