"""Lists of URLs: as people, spreadsheets and sha256sum write them, and broken ones."""

import hashlib
import json
import tracemalloc

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import ListSource, LocalSource
from datapack.errors import DatapackError, FetchError
from datapack.fetch.list_file import read_list
from tests.servers import Reply, Server
from tests.workplace import Workplace

A, B = b"first", b"second"
SHA256, SHA1, MD5 = (hashlib.new(name, A).hexdigest() for name in ("sha256", "sha1", "md5"))


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    files = {"/x/a.bin": Reply(A), "/x/b.bin": Reply(B), "/x/sub%20dir/%C3%A4.bin": Reply(B)}
    with Server(files) as running:
        yield running


def fill(place, content, name="files.csv", **options):
    """Fetch a list with this content, and its files."""
    place.write(name, content.encode() if isinstance(content, str) else content)
    return place.fetch(LocalSource(local=name), ListSource(list=name, **options))


def names(fetched):
    return sorted(set(fetched.hashes) - {"data/files.csv"})


def test_a_list_of_urls_is_enough(place, server):
    """The name is the last part of the URL; the file's hash is that of its bytes."""
    fetched = fill(place, f"url\n{server.url}/x/a.bin\n{server.url}/x/b.bin\n", into="files")
    assert names(fetched) == ["data/files/a.bin", "data/files/b.bin"]
    assert fetched.hashes["data/files/a.bin"] == SHA256
    assert fetched.urls["data/files/a.bin"] == f"{server.url}/x/a.bin"


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_columns_are_found_by_name(place, server, delimiter):
    """In any order and case, among others; fields may be quoted, with the delimiter, a quote or a line end inside."""
    name = f"x{delimiter.strip()}.bin"
    row = ["7", f'"a {delimiter} ""b""\nc"', f'"sub dir/{name}"', SHA256.upper(), f"{server.url}/x/a.bin"]
    header = delimiter.join(["id", "note", " Path ", "SHA-256", '"URL"'])
    fetched = fill(place, f"{header}\n{delimiter.join(row)}\n")
    assert names(fetched) == [f"data/sub dir/{name}"]


@pytest.mark.parametrize("name", ["files.csv", "list.tsv", "urls.txt"])
def test_a_list_of_a_spreadsheet_is_read(place, server, name):
    """With a byte order mark, CRLF, empty lines, rows of commas, and comments."""
    lines = [
        "",
        "# made by hand",
        "url,path",
        "",
        f"{server.url}/x/a.bin,1.bin",
        ",",
        "# next",
        f"{server.url}/x/b.bin,",
    ]
    fetched = fill(place, "\ufeff" + "\r\n".join(lines), name)
    assert sorted(set(fetched.hashes) - {f"data/{name}"}) == ["data/1.bin", "data/b.bin"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sha256", SHA256),
        ("sha1", SHA1),
        ("md5", MD5.upper()),
        ("checksum", f"md5:{MD5}"),
        ("checksum", f"SHA-1: {SHA1}"),
        ("checksum", SHA256),
        ("checksum", f"sha512:{hashlib.sha512(A).hexdigest()}"),
        ("size", "5"),
    ],
)
def test_a_row_is_checked_with_what_it_says(place, server, column, value):
    """The right file arrives; of a wrong one the error says which check failed."""
    assert fill(place, f"url,{column}\n{server.url}/x/a.bin,{value}\n").hashes["data/a.bin"] == SHA256
    with pytest.raises(FetchError, match=r"wrong (sha256|sha512|sha1|md5|size) \(expected .*, found .*\).*/x/b\.bin"):
        fill(place, f"url,{column}\n{server.url}/x/b.bin,{value}\n")


def test_a_file_of_another_size_is_not_kept(place, server):
    """A size that is added later is compared with the file that is here."""
    fill(place, f"url\n{server.url}/x/a.bin\n")
    with pytest.raises(FetchError, match=r"wrong size \(expected 6 bytes, found 5\)"):
        fill(place, f"url,size\n{server.url}/x/a.bin,6\n")
    assert "data/a.bin" not in place.hashes()


@pytest.mark.parametrize("form", ["{}  {}", "{} *{}", "{}  ./{}"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
def test_what_sha256sum_writes_is_read(place, server, form, algorithm):
    """Also of its relatives; the URL is `base` and the path, quoted."""
    sums = [
        form.format(hashlib.new(algorithm, content).hexdigest(), path)
        for content, path in ((A, "a.bin"), (B, "sub dir/ä.bin"))
    ]
    fetched = fill(place, "\n".join(sums) + "\n", "SHA256SUMS", base=f"{server.url}/x/", into="in")
    assert fetched.urls["data/in/sub dir/ä.bin"] == f"{server.url}/x/sub%20dir/%C3%A4.bin"
    assert fetched.hashes["data/in/a.bin"] == SHA256
    with pytest.raises(FetchError, match=f"wrong {algorithm}"):
        fill(place, sums[0].replace("a.bin", "b.bin"), "SHA256SUMS", base=f"{server.url}/x/")


def test_a_table_of_paths_needs_a_base(place, server):
    """The URL is `base` and the path, where the table has no URLs."""
    assert names(fill(place, "path\nsub dir/ä.bin\n", base=f"{server.url}/x/")) == ["data/sub dir/ä.bin"]
    with pytest.raises(FetchError, match=r"names no column 'url'.*a list of paths needs 'base'"):
        fill(place, "path\na.bin\n")


def test_files_can_be_left_out_missing_or_from_mirrors(place, server):
    """As with a COCO file; missing.csv says which and why."""
    text = "url,path\nhttps://x.example/x/a.bin,a.bin\nhttps://x.example/x/no.bin,no.bin\nhttps://x.example/b,skip/b\n"
    mirrors = {"https://x.example": [server.url]}
    fetched = fill(place, text, mirrors=mirrors, exclude=["skip"], missing=["no.bin"])
    assert names(fetched) == ["data/a.bin", "data/missing.csv"]
    assert (place.bag / "data/missing.csv").read_text().splitlines()[1] == (
        "no.bin,https://x.example/x/no.bin,404 Not Found"
    )
    assert fill(place, text, mirrors=mirrors, exclude=["skip"], missing=1).hashes == fetched.hashes
    with pytest.raises(FetchError, match="404 Not Found"):
        fill(place, text, mirrors=mirrors, exclude=["skip"])
    with pytest.raises(FetchError, match="'missing' names a file that the list does not list: found other"):
        fill(place, text, mirrors=mirrors, missing=["other"])


def test_the_list_must_be_there_first(place):
    """The list is a part of the dataset, so an earlier source provides it."""
    with pytest.raises(FetchError, match=r"list files\.csv: no such file in the payload; list the source"):
        place.fetch(ListSource(list="files.csv"))


GOOD = "http://127.0.0.1:9/a.bin"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"files\.csv: the list is empty"),
        ("\n# nothing\n", r"files\.csv: the list is empty"),
        ("url\n", r"list files\.csv: the list names no file"),
        (GOOD, r"files\.csv:1: the first line names no column 'url': expected names of columns.*found http://127"),
        ("link,path\nx,y\n", r"files\.csv:1: the first line names no column 'url'.*found link, path"),
        ("url,path,URL\n", r"files\.csv:1: two columns are called url"),
        (f"url\n{GOOD}\nftp://x/a\n", r"files\.csv:3: not an http or https URL: expected http://"),
        ("url\nexample.org/a\n", r"files\.csv:2: not an http or https URL"),
        ("url\nhttp://u:p@x/a\n", r"files\.csv:2: a URL with a user name or password"),
        ("url\nhttp://x/\n", r"files\.csv:2: the URL does not end in a file name; add a column 'path'"),
        ("url,path\n,a.bin\n", r"files\.csv:2: the row has no URL"),
        (f"url,path\n{GOOD},../a\n", r"files\.csv:2: the file name '\.\./a' is not allowed: found an empty, '\.' or"),
        (f"url,path\n{GOOD},/a\n", r"files\.csv:2: the file name '/a' is not allowed: found a leading '/'"),
        (f"url,path\n{GOOD},a\\b\n", r"files\.csv:2: .*found a control character or a backslash"),
        (f'url,path\n{GOOD},"a\nb"\n', r"files\.csv:2: .*found a control character"),
        (f"url,path\n{GOOD},a\x00b\n", r"files\.csv:2: .*found a control character"),
        (f"url,path\n{GOOD},x/.git/y\n", r"files\.csv:2: x/\.git/y can't be in a dataset"),
        (f"url\n{GOOD}\n\n{GOOD}\n", r"files\.csv:4: two files would be a\.bin: found the other from files\.csv:2"),
        (f"url,path\n{GOOD},a\n{GOOD},a/b\n", r"files\.csv:3: a would be a file and a folder"),
        (f"url,path\n{GOOD},A\n{GOOD},a\n", r"files\.csv:3: .*same name on macOS and Windows"),
        (f"url,sha256\n{GOOD},{SHA256[:-1]}\n", r"files\.csv:2: not a sha256: expected 64 .* digits, found 63"),
        (f"url,sha256,md5\n{GOOD},{SHA256},x\n", r"files\.csv:2: not a md5: expected 32 hexadecimal digits"),
        (f"url,checksum\n{GOOD},crc:1\n", r"files\.csv:2: not a checksum: expected sha256:\.\.\., sha512"),
        (f"url,checksum\n{GOOD},{MD5}0\n", r"files\.csv:2: not a checksum"),
        (f"url,checksum\n{GOOD},sha1:{MD5}\n", r"files\.csv:2: not a sha1: expected 40 .* digits, found 32"),
        (f"url,size\n{GOOD},5.5\n", r"files\.csv:2: invalid size: expected whole bytes, found '5\.5'"),
        (f"url,size\n{GOOD},-1\n", r"files\.csv:2: invalid size"),
        (f"url,path\n{GOOD},b,c\n", r"files\.csv:2: more fields than the first line names: expected 2, found 3"),
        (f'url,note\n{GOOD},"x\n{GOOD},y\n', r"files\.csv:2: not a row of the list: found a quote that does not end"),
        (f'url,note\n{GOOD},"x"y\n', r"files\.csv:2: not a row of the list: found '[,]' expected after"),
        (f"url\r{GOOD}\r", r"files\.csv:1: a line end that is no line feed"),
        (b"url\nhttp://x/\xff\n", r"files\.csv:2: not UTF-8"),
        ("url\n".encode("utf-16"), r"files\.csv:1: not UTF-8; save the list as text in UTF-8"),
        ("url\n" + "x" * (1 << 20) + "\n", r"files\.csv:2: a line of over 1,048,576 bytes"),
        (f"{SHA256}  a.bin\n", r"files\.csv:1: a list without URLs: expected 'base'"),
    ],
)
def test_a_broken_list_is_one_line_that_names_the_line(place, content, message):
    """Nothing is requested for a list that has an error."""
    with pytest.raises(DatapackError, match=f"^{message}") as error:
        fill(place, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{SHA256}  a\nb\n", r"files\.csv:2: not a line of checksums: expected a hash, two spaces and a path.*'b'"),
        (f"{SHA256}  a\n{SHA256}0  a\n", r"files\.csv:2: a checksum of another length: .*found 65 digits"),
        (f"{SHA256}  a\n\\{SHA256}  a\\\\b\n", r"files\.csv:2: a file name with a backslash or a line feed"),
        (f"{SHA256}  ../a\n", r"files\.csv:1: the file name '\.\./a' is not allowed"),
        (f"{SHA256}  a\n{SHA256}  ./a\n", r"files\.csv:2: two files would be a: found the other from files\.csv:1"),
    ],
)
def test_a_broken_list_of_checksums_is_one_line(place, content, message):
    """The same holds for what sha256sum writes."""
    with pytest.raises(DatapackError, match=f"^{message}"):
        fill(place, content, base="http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "https://example.org/dir"}, "it must end in '/'"),
        ({"base": "ftp://example.org/dir/"}, "not an http or https URL"),
        ({"list": "../files.csv"}, "can't be used as a path"),
        ({"missing": -1}, "greater than or equal to 0"),
    ],
)
def test_an_invalid_source_is_refused(fields, message):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError, match=message):
        ListSource(**{"list": "files.csv", **fields})


def test_a_long_list_is_read_row_by_row(tmp_path):
    """Memory does not grow with the number of rows."""
    path = tmp_path / "files.csv"
    with path.open("w") as file:
        file.write("url,path,sha256,size\n")
        file.writelines(f"https://x.example/{n}.bin,sub/{n}.bin,{n:064x},{n}\n" for n in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_list(path, "files.csv", None)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_dataset_is_built_from_a_list(catalog):
    """A user's way: the list beside the catalog, and its files in the bag with their URLs in fetch.txt."""
    (catalog.root / "files.csv").write_text(f"url,path,md5\nhttps://x.example/x/a.bin,ä b.bin,{MD5}\n")
    with Server({"/x/a.bin": Reply(A)}) as server:
        source = {"list": "files.csv", "into": "files", "mirrors": {"https://x.example": [server.url]}}
        path = catalog.root / "datasets.yml"
        path.write_text(
            path.read_text().replace("local: source", f"local: files.csv\n          - {json.dumps(source)}")
        )
        catalog.ok("build", "reef@v1")
    assert (catalog.root / "data/reef/v1/fetch.txt").read_text() == "https://x.example/x/a.bin 5 data/files/ä b.bin\n"
    catalog.ok("verify", "reef@v1")
