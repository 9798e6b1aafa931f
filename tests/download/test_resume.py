"""A download that is cut goes on where it stopped, but only with the very same file."""

import email.utils
import hashlib
import itertools
import random
import re
import time

import pytest

from datapack.hashing import Checksum
from tests.download.downloading import Notes, downloader, fetch, left
from tests.servers import RawServer, read_head

CONTENT = random.Random(1).randbytes(9_000_000)
OTHER = random.Random(2).randbytes(9_000_000)
PART = 2_000_000  # bytes that a server sends before it cuts the connection


def date(ago):
    return email.utils.formatdate(time.time() - ago, usegmt=True)


class Cutting:
    """A server of one file that cuts each connection after a part. It keeps the heads of the requests."""

    def __init__(self, *, content=CONTENT, headers=None, part=PART, cuts=None, status="206 Partial Content", shift=0):
        self.content, self.part, self.status, self.shift = content, part, status, shift
        self.headers = {"ETag": '"v1"'} if headers is None else headers
        self.cuts = itertools.count() if cuts is None else iter(range(cuts))
        self.heads = []

    def __call__(self, connection):
        self.answer(connection, read_head(connection))

    def answer(self, connection, head):
        self.heads.append(head)
        start = self.start(head)
        body = self.content[start:]
        lines = {"Content-Length": len(body), **self.headers}
        if start:
            lines["Content-Range"] = f"bytes {start + self.shift}-{len(self.content) - 1}/{len(self.content)}"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"HTTP/1.1 {self.status if start else '200 OK'}\r\n{text}\r\n".encode())
        connection.sendall(body if next(self.cuts, None) is None else body[: self.part])

    def start(self, head):
        """Where the answer begins, as a server does that knows its own version."""
        found = re.search(r"Range: bytes=(\d+)-", head)
        version = re.search(r"If-Range: (.*)\r\n", head)
        same = version and version[1] in self.headers.values()
        return int(found[1]) if found and same else 0

    @property
    def ranges(self):
        return [re.search(r"bytes=\d+-", head)[0] if "Range:" in head else "" for head in self.heads]


def get(talk, tmp_path, name="a.bin", **options):
    with RawServer(talk) as server:
        return fetch(tmp_path / name, f"{server.url}/{name}", fetcher=downloader(**options))


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last-Modified": date(9999), "Date": date(0)}, {"ETag": '""'}])
def test_a_cut_download_goes_on_where_it_stopped(tmp_path, headers):
    """Four cuts cost no byte twice, although only two tries are allowed: each of them got further."""
    talk = Cutting(headers=headers, cuts=4)
    assert get(talk, tmp_path, tries=2) is None
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert talk.ranges == ["", *(f"bytes={PART * count}-" for count in range(1, 5))]
    assert left(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"v1"'},
        {"ETag": "v1"},
        {"Last-Modified": date(5), "Date": date(0)},
        {"Last-Modified": date(9999)},
        {"ETag": '"v1"', "Accept-Ranges": "none"},
    ],
)
def test_a_version_that_is_not_certain_is_fetched_from_its_start(tmp_path, headers):
    """A weak ETag, a recent change or none at all could be another file; a server may also know no ranges."""
    talk = Cutting(headers=headers, cuts=2)
    assert get(talk, tmp_path) is None
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert talk.ranges == ["", "", ""]


def test_a_file_that_changed_in_between_is_fetched_from_its_start(tmp_path):
    """The server answers with the new file as a whole, and nothing of the old one is kept."""
    talk = Cutting(cuts=1)

    def change(connection):
        talk(connection)
        talk.content, talk.headers = OTHER, {"ETag": '"v2"'}

    assert get(change, tmp_path) is None
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert talk.ranges == ["", f"bytes={PART}-"]


@pytest.mark.parametrize(
    "fault", ["etag", "shifted", "length", "no range", "416 Range Not Satisfiable", "403 Forbidden"]
)
def test_a_wrong_part_is_never_appended(tmp_path, fault):
    """Servers that ignore If-Range, send another part, or lie about it: the file is fetched from its start."""
    talk = Cutting(cuts=1)

    def lie(connection):
        talk(connection)
        if len(talk.heads) > 1:
            return
        talk.start = lambda head: int(found[1]) if (found := re.search(r"bytes=(\d+)-", head)) else 0
        if fault == "etag":
            talk.content, talk.headers = OTHER, {"ETag": '"v2"'}
        elif fault == "shifted":
            talk.shift = 1
        elif fault == "length":
            talk.content = OTHER + b"x"
        elif fault == "no range":
            talk.headers = {"ETag": '"v1"', "Content-Range": "bytes"}
            talk.status = "206 Partial Content\r\nContent-Range: pages 1-2/3"
        else:
            talk.status = fault

    assert get(lie, tmp_path) is None
    assert (tmp_path / "a.bin").read_bytes() == talk.content
    assert talk.ranges == ["", f"bytes={PART}-", ""]


def test_tries_without_progress_are_counted(tmp_path):
    """A server that cuts every connection at once is not asked for ever; nor one that sends less than a megabyte."""
    for part in (0, 100_000):
        talk = Cutting(part=part)
        failure = get(talk, tmp_path, tries=3)
        assert failure.reason == "the connection was cut"
        assert 3 <= len(talk.heads) <= 3 + len(CONTENT) // (1 << 20)
        assert left(tmp_path) == []


def test_a_new_version_each_time_is_no_progress(tmp_path):
    """Otherwise a file that changes all the time would be requested for ever."""
    talk = Cutting()
    number = itertools.count()

    def change(connection):
        talk.headers = {"ETag": f'"v{next(number)}"'}
        talk(connection)

    assert get(change, tmp_path, tries=3).reason == "the connection was cut"
    assert len(talk.heads) <= 4


def test_the_rest_is_checked_with_the_whole(tmp_path):
    """The hash is that of all parts together."""
    with RawServer(Cutting(cuts=3)) as server:
        url = f"{server.url}/a.bin"
        assert fetch(tmp_path / "a.bin", url, checksum=Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())) is None
    with RawServer(Cutting(cuts=3)) as server:
        assert (
            "sha256" in fetch(tmp_path / "b.bin", f"{server.url}/a.bin", checksum=Checksum("sha256", "0" * 64)).reason
        )


def test_a_redirect_with_a_new_signature_goes_on(tmp_path):
    """The query of a presigned URL is another one each time."""
    talk = Cutting(cuts=2)
    number = itertools.count()

    def redirect(connection):
        head = read_head(connection)
        if head.startswith("GET /file?"):
            talk.answer(connection, head)
            return
        lines = f"Location: /file?X-Amz-Signature={next(number)}\r\nContent-Length: 0\r\nConnection: close"
        connection.sendall(f"HTTP/1.1 302 Found\r\n{lines}\r\n\r\n".encode())

    assert get(redirect, tmp_path) is None
    assert talk.ranges == ["", f"bytes={PART}-", f"bytes={2 * PART}-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_the_next_mirror_starts_anew(tmp_path):
    """Two servers may give the same name to different files."""
    one, other = Cutting(), Cutting(content=OTHER, cuts=0)

    def stop_after_one(connection):
        if not one.heads:
            one(connection)

    with RawServer(stop_after_one) as first, RawServer(other) as second:
        urls = [f"{first.url}/a.bin", f"{second.url}/a.bin"]
        assert fetch(tmp_path / "a.bin", *urls, fetcher=downloader(tries=2)) is None
    assert other.ranges == [""]
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_progress_counts_what_is_here_already(tmp_path):
    """The bar of a single large file does not begin again at nothing."""
    notes = Notes()
    get(Cutting(cuts=1), tmp_path, reporter=notes)
    assert sum(done for _, done in notes.amounts) == len(CONTENT) + PART  # the second bar starts with what is here
