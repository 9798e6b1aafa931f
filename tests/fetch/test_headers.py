"""Headers that give access: from the environment, to the right servers only, and shown nowhere."""

import json
import re

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import CocoSource, ListSource, LocalSource, UrlSource
from datapack.download.secret_headers import SecretHeaders
from datapack.errors import FetchError
from tests.servers import Reply, Server, png, redirect
from tests.workplace import Workplace

SECRET = "a-token-for-tests-0123456789"
BEARER = {"Authorization": "Bearer ${REEF_TOKEN}"}


class LoginServer(Server):
    """A server that gives its files only to who has the token."""

    def answer(self, handler, path):
        if handler.headers.get("Authorization") != f"Bearer {SECRET}":
            return Reply(b"no", status=401)
        return super().answer(handler, path)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with LoginServer({"/a.bin": Reply(b"hello"), "/b.png": Reply(png())}) as running:
        yield running


@pytest.fixture
def other():
    """Another host, which must not see the token."""
    with Server({"/a.bin": Reply(b"hello"), "/b.png": Reply(png())}, host="127.0.0.2") as running:
        yield running


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("REEF_TOKEN", SECRET)


def sent(server):
    """The values of the header that a server got."""
    return [headers.get("Authorization") for headers in server.headers]


def test_the_header_is_sent_and_its_value_is_written_nowhere(place, server, tmp_path):
    """Neither in the bag, nor in the cache of hashes, nor in a note."""
    assert place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER)).urls == {
        "data/a.bin": f"{server.url}/a.bin"
    }
    assert sent(server) == [f"Bearer {SECRET}"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert SECRET not in "".join(place.notes)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_gets_no_header(place, server, other, status):
    """The file arrives from there, as from a storage with signed URLs."""
    server.reply("/a.bin", redirect(f"{other.url}/a.bin", status))
    assert place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER)).hashes
    assert sent(server) == [f"Bearer {SECRET}"]
    assert sent(other) == [None]


def test_a_redirect_to_another_port_gets_no_header(place, server):
    """Another port may be another person's server."""
    with Server({"/a.bin": Reply(b"hello")}) as neighbour:
        server.reply("/a.bin", redirect(f"{neighbour.url}/a.bin"))
        assert place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER)).hashes
        assert sent(neighbour) == [None]


def test_a_redirect_on_the_same_host_keeps_the_header(place, server):
    """Files often have a second address on their own host."""
    server.reply("/old.bin", redirect("/a.bin"))
    assert place.fetch(UrlSource(url=f"{server.url}/old.bin", headers=BEARER)).hashes
    assert sent(server) == [f"Bearer {SECRET}"] * 2


def test_a_chain_that_left_the_host_and_comes_back_gets_no_header(place, server, other):
    """Another host must not choose what is requested with the token."""
    server.reply("/a.bin", redirect(f"{other.url}/back"))
    other.reply("/back", redirect(f"{server.url}/b.png"))
    with pytest.raises(FetchError, match="401 Unauthorized"):
        place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER))
    assert sent(server) == [f"Bearer {SECRET}", None]


@pytest.mark.parametrize("port", ["", ":443", ":80", ":8080"])
def test_a_header_for_https_is_not_sent_over_http(port):
    """Not even to the same host and port; one for http may go to the same host's https."""
    secure = SecretHeaders.to({"A": SECRET}, [f"https://a.example{port}/"])
    assert secure.for_request([f"https://a.example{port}/x"])
    assert not secure.for_request([f"http://a.example{port}/x"])
    assert not secure.for_request([f"https://a.example{port}/x", f"http://a.example{port}/x"])
    plain = SecretHeaders.to({"A": SECRET}, [f"http://a.example{port}/"])
    assert plain.for_request([f"http://a.example{port}/x"])
    assert bool(plain.for_request(["https://a.example/x"])) == (port in {"", ":80"})
    assert SECRET not in repr(secure)


def test_hosts_of_a_list_that_the_catalog_does_not_name_get_no_header(place, server, other):
    """Whoever wrote the list must not be able to send the token to a server of their own."""
    place.write("files.csv", f"url\n{server.url}/a.bin\n{other.url}/b.png\n".encode())
    source = ListSource(list="files.csv", mirrors={server.url: [server.url]}, headers=BEARER)
    place.fetch(LocalSource(local="files.csv"), source)
    assert sent(server) == [f"Bearer {SECRET}"]
    assert sent(other) == [None]


def test_hosts_are_sent_headers_only_over_https(place, server):
    """`hosts` names no scheme, and a list may have a URL with http."""
    place.write("files.csv", f"url\n{server.url}/a.bin\n".encode())
    source = ListSource(list="files.csv", hosts=[server.url.removeprefix("http://")], headers=BEARER)
    with pytest.raises(FetchError, match="401 Unauthorized"):
        place.fetch(LocalSource(local="files.csv"), source)
    assert sent(server) == [None]


def test_images_of_a_coco_file_are_fetched_with_headers(place, server):
    """The mirrors of the source say where they go."""
    row = {"id": 1, "file_name": "b.png", "coco_url": "https://reef.example/b.png"}
    place.write("train.json", json.dumps({"images": [row]}).encode())
    mirrors = {"https://reef.example": [server.url]}
    source = CocoSource(coco="train.json", into="images", mirrors=mirrors, headers=BEARER)
    assert place.fetch(LocalSource(local="train.json"), source).urls == {
        "data/images/b.png": "https://reef.example/b.png"
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_variable_and_not_its_value(place, server, status):
    """Also in the report of failures; a mirror's refusal counts the same."""
    server.reply("/a.bin", Reply(b"expired", status=status))
    with pytest.raises(FetchError) as error:
        place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER))
    assert re.search(rf"{status} \w+.*check that REEF_TOKEN is still valid", str(error.value))
    assert SECRET not in str(error.value) + place.failures.read_text()


@pytest.mark.parametrize("header", ["Content-Encoding", "Transfer-Encoding"])
def test_a_server_that_repeats_the_value_does_not_bring_it_into_the_error(place, server, header):
    """Other requests show what the server said."""
    server.reply("/a.bin", Reply(b"hello", headers={header: SECRET}))
    with pytest.raises(FetchError, match=r"an? (encoding|transfer coding) that was not requested:") as error:
        place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER))
    assert SECRET[:20] not in str(error.value) + place.failures.read_text()


def test_forbidden_with_headers_is_not_a_missing_file(place, server):
    """An expired token must not make a dataset smaller."""
    server.reply("/a.bin", Reply(b"expired", status=403))
    place.write("files.csv", f"url\n{server.url}/a.bin\n".encode())
    source = ListSource(list="files.csv", mirrors={server.url: [server.url]}, headers=BEARER, missing=1)
    with pytest.raises(FetchError, match="403 Forbidden"):
        place.fetch(LocalSource(local="files.csv"), source)


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_variable_is_one_line_before_anything_is_fetched(place, server, monkeypatch, value):
    """The earlier source is not fetched either."""
    monkeypatch.delenv("REEF_TOKEN") if value is None else monkeypatch.setenv("REEF_TOKEN", value)
    with pytest.raises(FetchError, match=r"^url .*a\.bin: the environment variable REEF_TOKEN is not set; export REEF"):
        place.fetch(UrlSource(url=f"{server.url}/b.png"), UrlSource(url=f"{server.url}/a.bin", headers=BEARER))
    assert not server.requests


def test_files_that_are_here_need_no_variable(place, server, monkeypatch):
    """Nothing is requested for them."""
    source = UrlSource(url=f"{server.url}/a.bin", headers=BEARER)
    place.fetch(source)
    monkeypatch.delenv("REEF_TOKEN")
    assert place.fetch(source).hashes
    assert len(server.headers) == 1


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Admin: 1", f"{SECRET}\n", "ü" + SECRET, f"{SECRET}\x7f"])
def test_a_value_that_could_change_the_request_is_refused(place, server, monkeypatch, value):
    """The error does not show it."""
    monkeypatch.setenv("REEF_TOKEN", value)
    with pytest.raises(FetchError, match=r"REEF_TOKEN can't be in a header: found a (line break|character)") as error:
        place.fetch(UrlSource(url=f"{server.url}/a.bin", headers=BEARER))
    assert SECRET not in str(error.value)
    assert not server.requests


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": f"Bearer {SECRET}"}, "a secret must not be in the catalog"),
        ({"Authorization": "Bearer $REEF_TOKEN"}, "a secret must not be in the catalog"),
        ({"Authorization": f"{SECRET}${{REEF_TOKEN}}"}, "what looks like a secret"),
        ({"Authorization": "Bearer ${REEF_TOKEN}\r\nX: y"}, "not a value for a header"),
        ({"Authorization": "Bearer ${REEF_TOKEN} ${1}"}, "not a value for a header"),
        ({"X Y": "${REEF_TOKEN}"}, "not the name of a header"),
        ({"A:": "${REEF_TOKEN}"}, "not the name of a header"),
        ({"host": "${REEF_TOKEN}"}, "a header that datapack sets itself"),
        ({"Range": "${REEF_TOKEN}"}, "a header that datapack sets itself"),
        ({"Proxy-Authorization": "${REEF_TOKEN}"}, "a header that datapack sets itself"),
        ({"A": "${REEF_TOKEN}", "a": "${OTHER}"}, "a header is named twice"),
        (f"Authorization: Bearer {SECRET}", "not names of headers with values"),
        ({"Authorization": 12345678901234567890}, "not names of headers with values"),
    ],
)
def test_unsafe_headers_are_refused(headers, message):
    """The error comes when the catalog is read, and repeats no value."""
    with pytest.raises(ValidationError, match=message):
        UrlSource(url="https://example.org/a", headers=headers)


def test_headers_need_a_host_that_the_catalog_names():
    """Otherwise nobody says where they may go."""
    with pytest.raises(ValidationError, match="'headers' need 'hosts'"):
        CocoSource(coco="train.json", into="", headers=BEARER)
    assert CocoSource(coco="train.json", into="", headers=BEARER, hosts=["reef.example"]).headers == BEARER


def test_a_secret_in_the_catalog_is_not_repeated_in_the_error(catalog):
    """The line names the place, not the value."""
    path = catalog.root / "datasets.yml"
    source = f"- url: https://example.org/a\n            headers: {{Authorization: Bearer {SECRET}}}"
    path.write_text(path.read_text().replace("- local: source", source))
    errors = catalog.fails("list", status=2)
    assert "sources[0].headers.Authorization: a secret must not be in the catalog" in errors
    assert SECRET not in errors


def test_headers_do_not_change_what_was_fetched(catalog):
    """Another variable, or none any more, gives the same files."""
    path = catalog.root / "datasets.yml"
    before = path.read_text().replace("- local: source", "- local: source\n          - url: URL")
    with LoginServer({"/a.bin": Reply(b"hello")}) as server:
        text = before.replace("URL", f"{server.url}/a.bin\n            headers: {{Authorization: 'Bearer ${{X}}'}}")
        path.write_text(text)
        catalog.env["X"] = SECRET
        catalog.ok("build", "reef@v1")
        del catalog.env["X"]
        path.write_text(text.replace("${X}", "${Y}"))
        catalog.ok("build", "reef@v1")
        assert len(server.headers) == 1
    for file in catalog.root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert SECRET.encode() not in file.read_bytes(), file
    provenance = json.loads((catalog.root / "dist/reef-v1.provenance.json").read_text())
    sources = provenance["predicate"]["buildDefinition"]["externalParameters"]["sources"]
    assert sources[1] == {"url": f"{server.url}/a.bin", "headers": {"Authorization": "Bearer ${Y}"}}
