"""Which addresses a request may go to: each is checked before anything connects to it."""

import contextlib
import socket
import threading
import time

import pytest

from datapack.web import InvalidAnswerError, NoConnectionError, PrivateAddressError, TransferError, Web
from tests.registries import self_signed
from tests.servers import RawServer, read_head


def answer(connection):
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def server():
    with RawServer(answer) as running:
        yield running


def names(monkeypatch, *answers):
    """Let each look-up of a name give the next of these lists of addresses."""
    lists, looked_up = list(answers), []

    def look_up(host, port, *_, **__):
        looked_up.append(host)
        found = lists.pop(0) if len(lists) > 1 else lists[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]"])
def test_a_private_address_gets_no_connection(server, host):
    """In any notation that the system understands; not even a connection is opened."""
    url = server.url.replace("127.0.0.1", host)
    with pytest.raises(PrivateAddressError):
        Web(timeout=5.0).request("GET", url, public_only=True)
    assert server.connections == 0


def test_one_private_address_is_enough(server, monkeypatch):
    """A name with a public and a private address could lead to the second one."""
    names(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(PrivateAddressError):
        Web(timeout=5.0).request("GET", server.url.replace("127.0.0.1", "x.org"), public_only=True)
    assert server.connections == 0


def test_the_name_is_looked_up_once(server, monkeypatch):
    """A name that stands for another address at its second look-up (DNS rebinding) has no second look-up."""
    looked_up = names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    web = Web(timeout=5.0, is_public=lambda ip: ip == "127.0.0.1")
    with web.request("GET", server.url.replace("127.0.0.1", "x.org"), public_only=True) as response:
        assert response.read() == b"ok"
    assert looked_up == ["x.org"]


def test_the_next_address_is_tried(server, monkeypatch):
    """A host with an address that refuses connections is still there at its other ones."""
    names(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    with Web(timeout=5.0).request("GET", server.url.replace("127.0.0.1", "x.org")) as response:
        assert response.read() == b"ok"


@pytest.mark.parametrize("host", ["a" * 64 + ".org", "nowhere.invalid", ".", "a..b"])
def test_a_name_without_an_address(host):
    """Names that no look-up accepts count as unknown."""
    with pytest.raises((NoConnectionError, InvalidAnswerError), match=r"host name not found|not a URL"):
        Web(timeout=5.0).request("GET", f"http://{host}/")


def test_a_proxy_may_be_private(server, monkeypatch):
    """The user names it; but a private host is not requested through it where only public ones may be."""
    monkeypatch.setenv("http_proxy", server.url)
    web = Web(timeout=5.0)
    with web.request("GET", "http://x.invalid/", public_only=True) as response:
        assert response.read() == b"ok"
    with pytest.raises(PrivateAddressError):
        web.request("GET", "http://10.0.0.1/", public_only=True)
    assert server.connections == 1


def test_a_connection_is_used_again():
    """After an answer was read, or closed with little left of it."""

    def answers(connection):
        while True:
            answer_once(connection)

    def answer_once(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000)

    with RawServer(answers) as server:
        web = Web(timeout=5.0)
        for _ in range(3):
            with web.request("GET", server.url) as response:
                assert response.length == 2000
        assert server.connections == 1


def relay(target):
    """Answer CONNECT by a connection to the server at this URL, whatever was asked for."""

    def talk(connection):
        assert read_head(connection).startswith("CONNECT x.invalid:443 ")
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as other:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=copy, args=(other, connection), daemon=True).start()
            copy(connection, other)

    return talk


def copy(source, target):
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)


@pytest.mark.parametrize("secure", [False, True], ids=["http proxy", "https proxy"])
def test_a_tunnel_through_a_proxy(tmp_path, monkeypatch, secure):
    """TLS goes through the proxy, and inside its own TLS if it has an https URL; the deadlines hold there, too."""
    certificate = self_signed(tmp_path)

    def drip(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        while True:
            time.sleep(0.1)
            connection.sendall(b"x")

    for talk in (answer, drip):
        with (
            RawServer(talk, certificate) as server,
            RawServer(relay(server.url), certificate if secure else None) as proxy,
        ):
            monkeypatch.setenv("https_proxy", proxy.url)
            with Web(verify=False, timeout=1.0).request("GET", "https://x.invalid/") as response:
                if talk is answer:
                    assert response.read() == b"ok"
                    continue
                with pytest.raises(TransferError, match="under 1,000 bytes a second"):
                    response.read()
