"""Records with a DOI, from stand-ins for doi.org, Zenodo, Figshare and a Dataverse at their own addresses."""

import hashlib
import json
import os
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import DoiSource
from datapack.errors import FetchError
from tests.fakeweb import VARIABLES, FakeWeb, as_json, make_certificate
from tests.servers import Reply, redirect
from tests.workplace import Workplace

HOSTS = ("doi.org", "zenodo.org", "api.figshare.com", "ndownloader.figshare.com", "dataverse.example", "other.example")
FILES = {"data.csv": b"a,b\n1,2\n", "images/a b.bin": b"image", "readme.txt": b"read me\n"}
DATA = b"a,b\n1,2\n"
ZENODO, CONCEPT = "10.5281/zenodo.1234567", "10.5281/zenodo.1234566"
FIGSHARE = "10.6084/m9.figshare.14763051.v2"
DATAVERSE = "10.7910/DVN/ABCDEF"


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("web"), HOSTS)


@pytest.fixture
def web(certificate, monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name in VARIABLES]:
        monkeypatch.delenv(name)
    with FakeWeb(certificate) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def point(web, doi, page):
    """Let a DOI lead to a page."""
    value = {"index": 1, "type": "URL", "data": {"format": "string", "value": page}}
    web.replies[f"https://doi.org/api/handles/{doi}?type=URL"] = as_json({"responseCode": 1, "values": [value]})


def zenodo(web, files=FILES, doi=ZENODO, **fields):
    """Let Zenodo have a record with these files."""
    number = doi.rpartition(".")[2]
    point(web, doi, f"https://zenodo.org/record/{number}")
    rows = []
    for name, content in files.items():
        url = f"https://zenodo.org/api/records/{number}/files/{quote(name)}/content"
        web.replies[url] = Reply(content)
        rows.append({"key": name, "size": len(content), "checksum": f"md5:{md5(content)}", "links": {"self": url}})
    record = {"id": int(number), "doi": doi, "conceptdoi": CONCEPT, "metadata": {"access_right": "open"}, "files": rows}
    web.replies[f"https://zenodo.org/api/records/{number}"] = as_json({**record, **fields})


def figshare(web, files=FILES, doi=FIGSHARE, article="14763051", version="2", **fields):
    """Let Figshare have an item with these files, of which an answer lists a hundred."""
    point(web, doi, f"https://figshare.com/articles/dataset/Reef/{article}/{version}")
    address = f"https://api.figshare.com/v2/articles/{article}"
    web.replies[address] = as_json({"doi": FIGSHARE.replace("v2", "v5")})
    web.replies[f"{address}/versions/{version}"] = as_json({"doi": doi, "is_embargoed": False, **fields})
    rows = []
    for number, (name, content) in enumerate(files.items()):
        url = f"https://ndownloader.figshare.com/files/{number}"
        web.replies[url] = Reply(content)
        row = {"name": name, "size": len(content), "download_url": url, "computed_md5": md5(content)}
        rows.append({"id": number, "is_link_only": False, **row})
    for page in range(len(rows) // 100 + 1):
        part = as_json(rows[page * 100 : (page + 1) * 100])
        web.replies[f"{address}/versions/{version}/files?page={page + 1}&page_size=100"] = part


def dataverse(web, rows, doi=DATAVERSE, version="1.0", **fields):
    """Let a Dataverse have a dataset whose newest version is 2.1."""
    point(web, doi, f"https://dataverse.example/citation?persistentId=doi:{doi}")
    address = "https://dataverse.example/api/datasets/:persistentId/versions"
    newest = {"versionNumber": 2, "versionMinorNumber": 1, "versionState": "RELEASED", "files": rows}
    for name in (":latest-published", version):
        answer = {"status": "OK", "data": {**newest, **fields}}
        web.replies[f"{address}/{name}?persistentId=doi:{doi}"] = as_json(answer)


def row(web, number, label, content, **fields):
    """Return a file as a Dataverse lists it."""
    web.replies[f"https://dataverse.example/api/access/datafile/{number}"] = Reply(content)
    checksum = {"type": "MD5", "value": md5(content)}
    data = {"id": number, "filename": label, "filesize": len(content), "checksum": checksum, "md5": md5(content)}
    top = {name: fields.pop(name) for name in ("directoryLabel", "restricted") if name in fields}
    return {"label": label, "restricted": False, **top, "dataFile": {**data, **fields}}


def test_all_files_of_a_record_arrive_from_zenodo(place, web):
    """With the URLs of the version, and the sizes and checksums of the record."""
    zenodo(web)
    fetched = place.fetch(DoiSource(doi=ZENODO, into="reef"))
    assert set(fetched.hashes) == {f"data/reef/{name}" for name in FILES}
    url = "https://zenodo.org/api/records/1234567/files/images/a%20b.bin/content"
    assert fetched.urls["data/reef/images/a b.bin"] == url
    place.fetch(DoiSource(doi=ZENODO, into="reef"))
    assert web.urls.count(url) == 1


@pytest.mark.parametrize("written", [f"doi:{ZENODO}", f"https://doi.org/{ZENODO}", f" {ZENODO.upper()} "])
def test_a_doi_may_be_written_in_other_ways(written):
    """As pages and citations write it."""
    assert DoiSource(doi=written).doi.lower() == ZENODO


def test_files_are_chosen_by_patterns(place, web):
    """Names and patterns choose, `exclude` leaves out, and a pattern without a file is an error with the names."""
    zenodo(web)
    source = DoiSource(doi=ZENODO, files=["*.csv", "images"], exclude=["a b.*"])
    assert set(place.fetch(source).hashes) == {"data/data.csv"}
    with pytest.raises(FetchError, match=r"no file matches '\*\.png' in 'files': expected some of data\.csv, images/"):
        place.fetch(DoiSource(doi=ZENODO, files=["*.png"]))


def test_more_files_than_one_answer_has_arrive_from_figshare(place, web):
    """Its answers have pages."""
    files = {f"{number}.bin": b"%d" % number for number in range(200)}
    figshare(web, files)
    assert len(place.fetch(DoiSource(doi=FIGSHARE)).hashes) == 200


def test_a_university_s_figshare_is_known_by_its_pages(place, web):
    """It has a DOI and a host of its own."""
    doi = "10.1184/R1/7654321.v2"
    figshare(web, FILES, doi, "7654321")
    point(web, doi, "https://kilthub.example/articles/dataset/Reef/7654321/2")
    assert set(place.fetch(DoiSource(doi=doi)).hashes) == {f"data/{name}" for name in FILES}


def test_files_of_a_version_arrive_from_a_dataverse(place, web):
    """In their folders. A table comes as it was uploaded: that is what the checksum is of."""
    table = row(web, 3, "table.tab", DATA, tabularData=True, originalFileName="table.csv", originalFileSize=len(DATA))
    web.replies["https://dataverse.example/api/access/datafile/3"] = Reply(b"a\tb\n1\t2\n")
    web.replies["https://dataverse.example/api/access/datafile/3?format=original"] = Reply(DATA)
    table["dataFile"]["filesize"] = 99
    dataverse(web, [row(web, 1, "a.bin", b"a", directoryLabel="sub/deep"), table])
    fetched = place.fetch(DoiSource(doi=DATAVERSE, version="1.0"))
    assert fetched.urls == {
        "data/sub/deep/a.bin": "https://dataverse.example/api/access/datafile/1",
        "data/table.csv": "https://dataverse.example/api/access/datafile/3?format=original",
    }


def test_a_file_that_differs_from_its_record_fails(place, web):
    """The repository's md5 decides."""
    zenodo(web)
    web.replies["https://zenodo.org/api/records/1234567/files/data.csv/content"] = Reply(b"other")
    with pytest.raises(FetchError, match=rf"wrong size|wrong md5 \(expected {md5(FILES['data.csv'])}"):
        place.fetch(DoiSource(doi=ZENODO))


def test_a_doi_of_all_versions_is_refused_with_that_of_the_newest(place, web):
    """Otherwise the same catalog would give other files tomorrow."""
    zenodo(web)
    point(web, CONCEPT, f"https://zenodo.org/doi/{CONCEPT}")
    web.replies["https://zenodo.org/api/records/1234566"] = redirect("https://zenodo.org/api/records/1234567")
    with pytest.raises(FetchError, match=rf"all versions.*write 'doi: {ZENODO}', the newest now"):
        place.fetch(DoiSource(doi=CONCEPT))
    figshare(web)
    doi = FIGSHARE.removesuffix(".v2")
    point(web, doi, "https://figshare.com/articles/dataset/Reef/14763051")
    with pytest.raises(FetchError, match=rf"all versions.*write 'doi: {doi}\.v5', the newest now"):
        place.fetch(DoiSource(doi=doi))
    dataverse(web, [row(web, 1, "a.bin", b"a")])
    with pytest.raises(FetchError, match=r"all versions.*expected 'version'; add \"version: '2\.1'\", the newest now"):
        place.fetch(DoiSource(doi=DATAVERSE))
    assert place.hashes() == {}


def lacking(web):
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"status": 404}, 404)


def withdrawn(web):
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"status": 410, "message": "spam"}, 410)


def embargoed(web):
    zenodo(web, {}, metadata={"access_right": "embargoed", "embargo_date": "2030-01-01"})


def restricted(web):
    zenodo(web, {}, metadata={"access_right": "restricted"})


def forbidden(web):
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"status": 403}, 403)


def empty(web):
    zenodo(web, {})


def unreadable(web):
    zenodo(web, files_count=3)
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"doi": ZENODO, "files": [{"key": "a"}]})


def odd_checksum(web):
    link = {"self": "https://zenodo.org/a"}
    zenodo(web)
    rows = [{"key": "a", "size": 1, "checksum": "crc:1", "links": link}]
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"doi": ZENODO, "files": rows})


def not_json(web):
    page = Reply(b"<!doctype html><html>busy</html>", headers={"Content-Type": "text/html"})
    web.replies["https://zenodo.org/api/records/1234567"] = page


def twice(web):
    link = {"self": "https://zenodo.org/a"}
    rows = [{"key": "a", "size": 1, "checksum": f"md5:{'0' * 32}", "links": link}] * 2
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({"doi": ZENODO, "files": rows})


def climbing(web):
    zenodo(web, {"../../a": b"x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lacking, r"no such record: found 404 Not Found; see https://doi\.org/10\.5281/zenodo\.1234567"),
        (withdrawn, r"the record was withdrawn: found 410 Gone"),
        (embargoed, r"the files are not open to everybody: found embargoed access until 2030-01-01; ask its authors"),
        (restricted, r"the files are not open to everybody: found restricted access; ask its authors"),
        (forbidden, r"the record is not open to everybody: found 403 Forbidden; ask its authors for access"),
        (empty, r"the repository has no files"),
        (unreadable, r"an answer that datapack can't read: found files\.0\.size: Field required"),
        (odd_checksum, r"a checksum that datapack can't read: found crc:1"),
        (not_json, r"no list of the record's files: found a web page instead of the file"),
        (twice, r"two files are called a"),
        (climbing, r"the file name '\.\./\.\./a' is not allowed"),
    ],
)
def test_a_record_that_can_t_be_had_is_one_line(place, web, change, message):
    """The line names the DOI, and nothing is fetched."""
    zenodo(web)
    change(web)
    with pytest.raises(Exception, match=rf"^doi 10\.5281/zenodo\.1234567: {message}") as error:
        place.fetch(DoiSource(doi=ZENODO), tries=1)
    assert "\n" not in str(error.value)
    assert place.hashes() == {}


def test_an_unknown_doi_is_one_line(place, web):
    """As doi.org answers for it."""
    with pytest.raises(FetchError, match=r"^doi 10\.9999/nothing: no such DOI; check it at https://doi\.org"):
        place.fetch(DoiSource(doi="10.9999/nothing"))


def test_another_registrar_is_one_line(place, web):
    """A paper has a DOI too."""
    point(web, "10.1038/paper", "https://other.example/articles.html")
    expected = r"other\.example is no repository that datapack knows: expected a record of Zenodo, of Figshare or of a"
    with pytest.raises(FetchError, match=rf"^doi 10\.1038/paper: {expected}.*name its files with 'url' or 'list'"):
        place.fetch(DoiSource(doi="10.1038/paper"))
    point(web, "10.1038/s41586-1", "https://other.example/articles/s41586-1")
    with pytest.raises(FetchError, match=expected):
        place.fetch(DoiSource(doi="10.1038/s41586-1"))
    point(web, "10.1038/paper", "ftp://other.example/a")
    with pytest.raises(FetchError, match=r"the DOI leads to no web page: found ftp://"):
        place.fetch(DoiSource(doi="10.1038/paper"))


def test_what_figshare_does_not_have_is_one_line(place, web):
    """An embargo, a link to elsewhere, a collection, another item."""
    figshare(web, is_embargoed=True, embargo_date="2030-01-01T00:00:00")
    with pytest.raises(FetchError, match="not open to everybody: found embargoed until 2030-01-01;"):
        place.fetch(DoiSource(doi=FIGSHARE))
    figshare(web)
    page = "https://api.figshare.com/v2/articles/14763051/versions/2/files?page=1&page_size=100"
    rows = json.loads(web.replies[page].body)
    rows[0]["is_link_only"] = True
    web.replies[page] = as_json(rows)
    with pytest.raises(FetchError, match=r"data\.csv is not open to everybody: found only a link to another place"):
        place.fetch(DoiSource(doi=FIGSHARE))
    assert place.fetch(DoiSource(doi=FIGSHARE, exclude=["data.csv"])).hashes
    figshare(web, doi_="", doi=FIGSHARE)
    web.replies["https://api.figshare.com/v2/articles/14763051/versions/2"] = as_json({"doi": "10.6084/other.v2"})
    with pytest.raises(FetchError, match=r"Figshare has another record: found 10\.6084/other\.v2"):
        place.fetch(DoiSource(doi=FIGSHARE))
    collection = "10.6084/m9.figshare.c.14763051.v2"
    point(web, collection, "https://figshare.com/collections/Reef/14763051/2")
    with pytest.raises(FetchError, match="not the DOI of an item of Figshare"):
        place.fetch(DoiSource(doi=collection))


def test_what_a_dataverse_does_not_have_is_one_line(place, web):
    """A version that does not exist or was withdrawn, restricted and embargoed files."""
    dataverse(web, [row(web, 1, "a.bin", b"a", restricted=True), row(web, 2, "b.bin", b"b")])
    with pytest.raises(FetchError, match=r"dataverse\.example has no published version 7\.0 of it: found 404"):
        place.fetch(DoiSource(doi=DATAVERSE, version="7.0"))
    with pytest.raises(FetchError, match=r"a\.bin is not open to everybody: found restricted; leave it out"):
        place.fetch(DoiSource(doi=DATAVERSE, version="1.0"))
    assert set(place.fetch(DoiSource(doi=DATAVERSE, version="1.0", files=["b.bin"])).hashes) == {"data/b.bin"}
    dataverse(web, [row(web, 1, "a.bin", b"a", embargo={"dateAvailable": "2030-01-01"})])
    with pytest.raises(FetchError, match=r"found embargoed until 2030-01-01"):
        place.fetch(DoiSource(doi=DATAVERSE, version="1.0"))
    dataverse(web, [], versionState="DEACCESSIONED")
    with pytest.raises(FetchError, match=r"version 1\.0: the record was withdrawn"):
        place.fetch(DoiSource(doi=DATAVERSE, version="1.0"))


def test_headers_go_only_to_the_hosts_that_the_catalog_names(place, web, monkeypatch):
    """Not to doi.org, and not to where the repository keeps its files; restricted files arrive with them."""
    monkeypatch.setenv("REEF_TOKEN", "a-token-for-tests")
    dataverse(web, [row(web, 1, "a.bin", b"a", restricted=True)])
    web.replies["https://dataverse.example/api/access/datafile/1"] = redirect("https://other.example/a.bin")
    web.replies["https://other.example/a.bin"] = Reply(b"a")
    headers = {"X-Dataverse-key": "${REEF_TOKEN}"}
    source = DoiSource(doi=DATAVERSE, version="1.0", headers=headers, hosts=["dataverse.example"])
    assert set(place.fetch(source).hashes) == {"data/a.bin"}
    got = {url.split("/")[2]: headers.get("X-Dataverse-key") for url, headers in web.requests}
    assert got == {"doi.org": None, "dataverse.example": "a-token-for-tests", "other.example": None}


def test_an_expired_token_is_named(place, web, monkeypatch):
    """Not its value."""
    monkeypatch.setenv("REEF_TOKEN", "a-token-for-tests")
    zenodo(web)
    web.replies["https://zenodo.org/api/records/1234567"] = as_json({}, 401)
    headers = {"Authorization": "Bearer ${REEF_TOKEN}"}
    with pytest.raises(FetchError, match="found 401 Unauthorized; check that REEF_TOKEN is still valid") as error:
        place.fetch(DoiSource(doi=ZENODO, headers=headers, hosts=["zenodo.org"]))
    assert "a-token-for-tests" not in str(error.value)


def test_a_private_address_behind_a_doi_is_not_requested(place, web):
    """Whoever registers a DOI must not reach servers inside our network."""
    point(web, "10.1038/inside", "https://10.0.0.1/citation")
    with pytest.raises(FetchError, match=r"a private address that the catalog does not name"):
        place.fetch(DoiSource(doi="10.1038/inside"), is_public=lambda ip: False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"doi": "zenodo.1234567"}, "not a DOI, such as"),
        ({"doi": "10.5281/zenodo.1?x=/../"}, "not a DOI, such as"),
        ({"doi": "10.5281/a b"}, "not a DOI, such as"),
        ({"version": "latest"}, "version"),
        ({"files": []}, "files"),
        ({"files": ["/a"]}, "not a pattern"),
        ({"headers": {"A": "${B}"}}, "'headers' need 'hosts'"),
    ],
)
def test_an_invalid_source_is_refused(fields, message):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError, match=message):
        DoiSource(**{"doi": ZENODO, **fields})


def test_a_version_is_only_for_a_dataverse(place, web):
    """Elsewhere each version has its own DOI."""
    zenodo(web)
    with pytest.raises(FetchError, match="'version' is only for a Dataverse; use the DOI of the version"):
        place.fetch(DoiSource(doi=ZENODO, version="1.0"))
