"""No server can hold a request for ever, whatever part of its answer it drags out."""

import itertools
import time

import pytest

from datapack.web import InvalidAnswerError, NoConnectionError, TransferError, Web, WebError
from tests.registries import self_signed
from tests.servers import RawServer, read_head

OK = b"HTTP/1.1 200 OK\r\n"


def drip(*parts, every=0.1, forever=b"x"):
    """Send the parts at once, then a part every tenth of a second, for ever."""

    def talk(connection):
        read_head(connection)
        connection.sendall(b"".join(parts))
        for part in itertools.repeat(forever):
            time.sleep(every)
            connection.sendall(part)

    return talk


def flood(start, *, forever):
    """Send a part without a pause, for ever."""

    def talk(connection):
        read_head(connection)
        connection.sendall(start)
        while True:
            connection.sendall(forever)

    return talk


def ask(url, **options):
    """Return the body of an answer, or raise the error."""
    with Web(**{"timeout": 1.0, **options}).request("GET", url) as response:
        return b"".join(response.blocks())


SLOW = {
    "nothing": (drip(forever=b""), "silent for 1 s"),
    "bytes of a status": (drip(OK[:3], forever=b"2"), "no complete headers within 1 s"),
    "bytes of a header": (drip(OK, b"A: "), "no complete headers within 1 s"),
    "a header each": (drip(OK, forever=b"A: b\r\n"), "no complete headers within 1 s"),
    "100 Continue": (drip(forever=b"HTTP/1.1 100 Continue\r\n\r\n"), "no complete headers within 1 s"),
    "bytes of a body": (drip(OK, b"Content-Length: 9999999\r\n\r\n"), "under 1,000 bytes a second"),
    "bytes of a body without length": (drip(OK, b"\r\n"), "under 1,000 bytes a second"),
    "chunks": (drip(OK, b"Transfer-Encoding: chunked\r\n\r\n", forever=b"1\r\nx\r\n"), "under 1,000 bytes a second"),
    "a chunk's size": (drip(OK, b"Transfer-Encoding: chunked\r\n\r\n", forever=b"0"), "under 1,000 bytes a second"),
    "trailers": (
        drip(OK, b"Transfer-Encoding: chunked\r\n\r\n0\r\n", forever=b"A: b\r\n"),
        "under 1,000 bytes a second",
    ),
}


@pytest.mark.parametrize(("talk", "reason"), SLOW.values(), ids=SLOW)
def test_a_slow_server_is_left(talk, reason):
    """A byte now and then is not enough, in any part of an answer."""
    with RawServer(talk) as server:
        began = time.monotonic()
        with pytest.raises(TransferError, match=reason):
            ask(server.url)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("talk", [SLOW["bytes of a header"], SLOW["chunks"]], ids=["headers", "body"])
def test_a_slow_server_is_left_over_tls(talk, tmp_path, monkeypatch):
    """The deadlines hold inside TLS too."""
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with RawServer(talk[0], certificate) as server, pytest.raises(TransferError, match=talk[1]):
        ask(server.url)


def test_a_silent_tls_handshake_is_left():
    """A server that accepts the connection and then says nothing counts as down."""
    with (
        RawServer(lambda connection: time.sleep(20)) as server,
        pytest.raises(WebError, match="no connection within 1 s"),
    ):
        ask(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("talk", [SLOW["bytes of a status"], SLOW["bytes of a header"]], ids=["status", "header"])
def test_a_slow_proxy_is_left(talk, monkeypatch):
    """What a proxy answers before there is a connection is limited, too; so is a flood of it."""
    for way, reason in ((talk[0], talk[1]), (flood(OK, forever=b"A: b\r\n" * 100), "endless headers")):
        with RawServer(way) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            with pytest.raises(WebError, match=reason):
                ask("https://x.invalid/")


def test_a_proxy_that_refuses_gives_its_status(monkeypatch):
    """Without a login, that is 407."""

    def refuse(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    with RawServer(refuse) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NoConnectionError, match=r"the proxy gave no connection \(status 407\)"):
            ask("https://x.invalid/")


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints", "199 Other"])
def test_answers_that_only_inform_are_skipped(status):
    """The answer itself comes after them."""

    def talk(connection):
        read_head(connection)
        inform = f"HTTP/1.1 {status}\r\nLink: </a>\r\n\r\n".encode()
        connection.sendall(inform * 3 + OK + b"Content-Length: 2\r\n\r\nok")

    with RawServer(talk) as server:
        assert ask(server.url) == b"ok"


@pytest.mark.parametrize(
    ("start", "forever"),
    [(b"0\r\n", b"A: b\r\n" * 10), (b"1;", b"x" * 60), (b"", b"1;" + b"x" * 1000 + b"\r\nx\r\n")],
    ids=["trailers", "an extension", "extensions"],
)
def test_only_content_counts(start, forever):
    """What a server sends around it may come faster than the minimum rate, and is slow all the same."""
    talk = drip(OK, b"Transfer-Encoding: chunked\r\n\r\n", start, every=0.01, forever=forever)
    with RawServer(talk) as server, pytest.raises(TransferError, match="under 1,000 bytes a second"):
        ask(server.url)


FLOODS = {
    "100 Continue": (flood(b"", forever=b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "endless headers"),
    "103 Early Hints": (flood(b"", forever=b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 100), "endless headers"),
    "headers": (flood(OK, forever=b"A: b\r\n" * 100), "endless headers|not a valid HTTP answer"),
    "a header": (flood(OK + b"A: ", forever=b"x" * 1000), "endless headers|not a valid HTTP answer"),
    "a folded header": (flood(OK + b"A: ", forever=b"x\r\n " * 1000), "endless headers|not a valid HTTP answer"),
    "trailers": (flood(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", forever=b"A: b\r\n" * 100), "without content"),
    "a chunk's extension": (
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", forever=b"x" * 1000),
        "without content|not a valid HTTP answer",
    ),
}


@pytest.mark.parametrize(("talk", "reason"), FLOODS.values(), ids=FLOODS)
def test_a_flood_without_content_is_left(talk, reason):
    """Neither headers nor trailers can go on for ever, however fast they come."""
    with RawServer(talk) as server, pytest.raises(InvalidAnswerError, match=reason):
        ask(server.url, timeout=20.0)


def test_our_own_slowness_does_not_count():
    """Only waiting for the server does: a slow disk on our side costs no download."""

    def talk(connection):
        read_head(connection)
        connection.sendall(OK + b"Content-Length: 60\r\n\r\n" + b"x" * 60)

    with RawServer(talk) as server, Web(timeout=0.5).request("GET", server.url) as response:
        time.sleep(1)
        assert len(b"".join(response.blocks())) == 60


def test_a_steady_server_may_take_longer_than_the_timeout():
    """The timeout limits waiting, not the whole transfer."""

    def talk(connection):
        read_head(connection)
        connection.sendall(OK + b"Content-Length: 10000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.2)
            connection.sendall(b"x" * 1000)

    with RawServer(talk) as server:
        assert len(ask(server.url)) == 10_000


def test_a_server_that_takes_nothing_is_left():
    """An upload has the same minimum rate."""
    with RawServer(lambda connection: time.sleep(20)) as server:
        web = Web(timeout=1.0)
        with pytest.raises(TransferError, match=r"silent for 1 s|under 1,000 bytes a second"):
            web.request("PUT", server.url, body=(b"x" * 1_000_000 for _ in range(100)))


def test_a_small_answer_has_a_limit():
    """What has to fit into memory is not read on beyond its limit, with or without a Content-Length."""
    body = b"x" * 5000
    for length in (b"Content-Length: 5000\r\n", b"Content-Length: 9999999\r\n", b""):

        def talk(connection, length=length):
            read_head(connection)
            connection.sendall(OK + length + b"\r\n" + body)

        with RawServer(talk) as server:
            response = Web(timeout=1.0).request("GET", server.url)
            with response, pytest.raises(InvalidAnswerError, match="an answer of over 1,000 bytes"):
                response.read(1000)
