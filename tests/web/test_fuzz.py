"""Whatever a server sends, the outcome is an answer or one of our own reasons."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datapack.download.responses import parse_date, parse_retry_after
from datapack.urls import UrlError, check_url, hide_secrets, host_of, strip_signature
from datapack.web import Web, WebError
from tests.download.downloading import downloader, fetch
from tests.servers import RawServer, read_head

WHOLE = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: utf-8\r\nETag: "a"\r\nX: y\r\n\r\nhello'
CHUNKED = b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /x?y#z\r\nContent-Length: 0\r\n\r\n"
PIECES = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"-1", b"\xff", b"\r\n ", b"//", b"%", b";"]) | (
    st.sampled_from([b"9" * 30, b"9" * 5000, b"A" * 70_000, b"chunked", b"gzip", b"304", b"http://[", b"1xx"])
    | st.sampled_from([b"HTTP/1.1 100 C\r\n\r\n", b"Content-Length: 7\r\n"])
)


@st.composite
def answers(draw):
    """An answer with a few bytes taken away, put in or cut off."""
    content = draw(st.sampled_from([WHOLE, CHUNKED, MOVED]))
    for _ in range(draw(st.integers(0, 3))):
        at, gone = draw(st.integers(0, len(content))), draw(st.integers(0, 5))
        content = content[:at] + draw(PIECES | st.binary(max_size=4)) + content[at + gone :]
    return content


@pytest.fixture(scope="module")
def server():
    def talk(connection):
        read_head(connection)
        connection.sendall(talk.answer)

    talk.answer = b""
    with RawServer(talk) as running:
        yield running


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers())
@example(b"")
@example(b"HTTP/1.1 200\r\n\r\n")
@example(b"HTTP/9.9 999 \r\n\r\n")
def test_any_answer_is_an_answer_or_a_reason(server, answer):
    """No other exception comes through, from the headers nor from the body."""
    server.talk.answer = answer
    reason = ""
    try:
        with Web(timeout=2.0).request("GET", server.url) as response:
            response.read(1_000_000)
    except WebError as error:
        reason = str(error)
    assert "\n" not in reason
    assert len(reason) < 200


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers(), st.sampled_from(["a.bin", "a.png", "a.json.gz"]))
def test_any_answer_is_a_file_or_a_failure(server, tmp_path_factory, answer, name):
    """A download never ends with an exception, and leaves nothing but complete files."""
    server.talk.answer = answer
    folder = tmp_path_factory.mktemp("download")
    failure = fetch(folder / name, f"{server.url}/{name}", fetcher=downloader(timeout=2.0, tries=2))
    assert [path.name for path in folder.iterdir()] == ([] if failure else [name])


@given(st.text(st.characters()) | st.from_regex(r"(https?:)?//?[^/]*(/[^?]*)?(\?.*)?"))
def test_any_text_is_a_url_or_not(text):
    """A URL that may be requested has a host, and shows no secret."""
    try:
        url = check_url(text)
    except UrlError:
        pass
    else:
        assert host_of(url)
        assert check_url(url) == url
    assert strip_signature(strip_signature(text)) == strip_signature(text)


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_can_be_shown(text):
    """Even what is no URL."""
    assert "\n" not in hide_secrets(text).strip("\n")


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .*"))
def test_any_header_is_a_date_or_not(text):
    """And so is the wait that a server asks for."""
    assert parse_date(text) is None or isinstance(parse_date(text), float)
    wait = parse_retry_after(text)
    assert wait is None or wait >= 0
