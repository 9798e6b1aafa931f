"""Files and tables on the page: types, sizes, copies, folders, columns."""

from datapack.inspect.model import Column, Table
from datapack.report.files import MOST_FOLDERS, duplicates, largest, tree, types
from datapack.report.tables import summarise
from tests.report.surveys import a_file


def plain(cell) -> str:
    return getattr(cell, "text", None) or str(cell).replace("<code>", "").replace("</code>", "").replace(
        "<bdi>", ""
    ).replace("</bdi>", "")


def rows(listing) -> list[list[str]]:
    return [[plain(cell) for cell in row] for row in listing.rows]


def test_files_are_grouped_by_type():
    """The extension counts, whatever its case; the largest type is first."""
    found = types([a_file("a.PNG", 100), a_file("b/c.png", 200), a_file("README", 700)])
    assert rows(found) == [["no extension", "1", "700 B", "70 %"], [".png", "2", "300 B", "30 %"]]


def test_the_largest_files_are_listed():
    """Ten at most, by size, then by name."""
    found = rows(largest([a_file(f"{number:02}", number % 3) for number in range(40)]))
    assert len(found) == 10
    assert found[0] == ["02", "2 B"]


def test_copies_are_found_by_content():
    """Files with one sha256 are copies; empty files are not."""
    files = [a_file("a", 5, "x"), a_file("b", 5, "x"), a_file("c", 5, "x"), a_file("d", 0, "e"), a_file("e", 0, "e")]
    found = duplicates(files)
    assert found.summary == "2 files are copies of another, 10 B in all."
    assert rows(found.listing) == [["a, b, c", "3", "5 B", "10 B"]]
    assert duplicates(files[3:]).summary == "No two files have the same content."


def test_the_tree_has_every_folder_or_says_how_many_are_left_out():
    """Counts and sizes include what is below; of many folders the largest are shown."""
    top = tree([a_file("a/b/1", 5), a_file("a/2", 7), a_file("3", 1)])
    assert (top.all_files, top.bytes, top.files) == (3, 13, 1)
    (a,) = top.shown
    assert (a.name, a.files, a.all_files, a.bytes) == ("a", 1, 2, 12)
    many = tree(a_file(f"{number % 70}/{number}/f", number) for number in range(5000))
    assert len(many.shown) + many.left_out == 70
    shown = [many]
    for folder in shown:
        shown += folder.shown
    assert len(shown) <= MOST_FOLDERS + 1


def test_tables_with_the_same_columns_are_shown_once():
    """5,000 files of one form are one table on the page, with the sums of their missing values."""
    columns = (Column("id", "whole number", 0), Column("depth", "number", 2))
    tables = [Table(f"{number}.csv", 10, columns) for number in range(4999)]
    other = Table("x.csv", 10, (Column("id", "text", 0), Column("depth", "number", 2)))
    found = summarise([*tables, other, Table("broken.csv", 0, (), problem="not UTF-8")])
    assert found.summary == "5,000 tables with 50,000 rows in all, all with the same columns: they can be read as one."
    (form,) = found.forms
    assert rows(form.columns) == [
        ["id", "whole number (4,999), text (1)", "0", "0 %"],
        ["depth", "number", "10,000", "20 %"],
    ]
    assert form.others == 4999
    assert rows(found.unreadable) == [["broken.csv", "not UTF-8"]]


def test_what_a_table_does_not_tell_is_not_made_up():
    """Parquet may not count missing values; rows of another length and missing headers are named."""
    one = Table("a.parquet", 4, (Column("", "string", -1),))
    other = Table("b.csv", 4, (Column("", "text", 1),), ragged=3, first_ragged=2, has_header=False)
    forms = summarise([one, other]).forms
    assert rows(forms[0].columns) == [["(no name)", "string", "not known", "not known"]]
    assert (
        forms[1].columns.caption
        == "Columns: 1 table, 4 rows, 1 column, 3 rows with another number of values, no header"
    )
    assert rows(forms[1].columns) == [["(no name)", "text", "1", "25 %"]]


def test_tables_of_many_forms_are_cut():
    """Twelve forms are shown, the ones of most files first."""
    tables = [Table(f"{number}.csv", 1, (Column(f"c{number}", "text", 0),)) for number in range(30)]
    twice = Table("again.csv", 1, tables[7].columns)
    found = summarise([*tables, twice])
    assert (len(found.forms), found.left_out, found.forms[0].others) == (12, 18, 1)
    assert summarise([]) is None
