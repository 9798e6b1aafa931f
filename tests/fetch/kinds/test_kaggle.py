"""Files from Kaggle, with the real kagglehub and a stand-in for Kaggle's servers, which tests can't use."""

import json
import os
import time

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import KaggleSource
from datapack.errors import FetchError
from tests.registries import self_signed
from tests.servers import FakeKaggle, RawServer, Reply, read_head
from tests.workplace import Workplace

FILES = {"train.json": b'{"images": []}', "eval.json": b"{}", "sub/a b.csv": b"1,2\n"}
SOURCE = KaggleSource(kaggle="fathomnet2024", files=["train.json", "eval.json"])


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """The stand-in server, and an environment with no other credential."""
    for name in [name for name in os.environ if name.startswith("KAGGLE") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home/.kaggle"))
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    with FakeKaggle(FILES) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_files_of_a_competition_arrive_with_their_url(place, kaggle, capfd):
    """Only the files are in the payload, and kagglehub prints nothing."""
    payload = place.fetch(SOURCE)
    assert (place.bag / "data/train.json").read_bytes() == FILES["train.json"]
    assert payload.urls == {
        "data/train.json": "https://www.kaggle.com/api/v1/competitions/data/download/fathomnet2024/train.json",
        "data/eval.json": "https://www.kaggle.com/api/v1/competitions/data/download/fathomnet2024/eval.json",
    }
    assert capfd.readouterr() == ("", "")


def test_complete_files_need_neither_kaggle_nor_a_credential(place, kaggle, monkeypatch):
    """A second run requests nothing."""
    place.fetch(SOURCE)
    asked = sum(kaggle.requests.values())
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    place.fetch(SOURCE)
    assert sum(kaggle.requests.values()) == asked


def test_files_of_a_dataset_arrive(place, kaggle):
    """Files of a dataset keep their folders below `into`; the URL has the version if the catalog names one."""
    payload = place.fetch(KaggleSource(kaggle="owner/name/versions/2", files=["sub/a b.csv"], into="x"))
    address = "https://www.kaggle.com/api/v1/datasets/download/owner/name/sub/a%20b.csv?datasetVersionNumber=2"
    assert payload.urls == {"data/x/sub/a b.csv": address}
    assert place.fetch(KaggleSource(kaggle="owner/name", files=["eval.json"])).hashes


def test_a_large_file_arrives(place, kaggle):
    """Our connections carry kagglehub's transfers, too."""
    kaggle.files["train.json"] = b"[" + b" " * 5_000_000 + b"]"
    assert place.fetch(KaggleSource(kaggle="fathomnet2024", files=["train.json"])).hashes


@pytest.mark.parametrize("at", ["api", "storage"])
def test_a_slow_server_is_left(place, kaggle, monkeypatch, at):
    """A byte now and then is not enough: each try ends, and so does the command."""
    monkeypatch.setattr("datapack.web.for_requests._PATIENCE", 0.5)
    monkeypatch.setattr("kagglehub.clients.DEFAULT_READ_TIMEOUT", 0.5)

    def drip(connection):
        head = read_head(connection)
        if at == "storage" and "/storage/" not in head.splitlines()[0]:
            target = "http://localhost/storage/train.json"
            lines = f"Location: {target}\r\nContent-Length: 0\r\nConnection: close"
            connection.sendall(f"HTTP/1.1 302 Found\r\n{lines}\r\n\r\n".encode())
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99999\r\n\r\n")
        while True:
            time.sleep(0.1)
            connection.sendall(b" ")

    with RawServer(drip) as server:
        monkeypatch.setenv("http_proxy", server.url)
        with pytest.raises(FetchError, match=r"Kaggle sent no file: found no answer \(under 1,000 bytes a second\)"):
            place.fetch(SOURCE, tries=2)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_are_those_of_all_requests(place, kaggle, monkeypatch, tmp_path, variable):
    """requests alone would not read SSL_CERT_FILE."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    certificate = self_signed(tmp_path)

    def redirect_or_answer(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    monkeypatch.setenv(variable, str(certificate[0]))
    with RawServer(redirect_or_answer, certificate) as server:
        kaggle.first = [Reply(status=302, headers={"Location": f"{server.url}/eval.json"})]
        assert place.fetch(KaggleSource(kaggle="fathomnet2024", files=["eval.json"])).hashes
        monkeypatch.delenv(variable)
        kaggle.first = [Reply(status=302, headers={"Location": f"{server.url}/eval.json"})] * 9
        with pytest.raises(FetchError, match="Kaggle sent no file: found no answer"):
            place.fetch(KaggleSource(kaggle="fathomnet2024", files=["eval.json"], into="other"), tries=1)


def test_missing_credential_error_lists_the_places(place, kaggle, monkeypatch):
    """The error lists all places, and where to create a credential."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(FetchError) as error:
        place.fetch(SOURCE)
    for part in ("no Kaggle credential", "KAGGLE_API_TOKEN", ".kaggle/access_token", "KAGGLE_USERNAME", "kaggle.json"):
        assert part in str(error.value)
    assert "https://www.kaggle.com/settings/api" in str(error.value)
    assert not kaggle.requests


@pytest.mark.parametrize("form", ["token file", "token file by variable", "user name and key", "key file"])
def test_every_form_of_credential_works(place, kaggle, monkeypatch, tmp_path, form):
    """Tokens work, and so does the older pair of user name and key."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    folder = tmp_path / "home/.kaggle"
    match form:
        case "token file":
            (folder / "access_token").write_text(kaggle.TOKEN + "\n")
        case "token file by variable":
            (tmp_path / "token").write_text(kaggle.TOKEN)
            monkeypatch.setenv("KAGGLE_API_TOKEN", str(tmp_path / "token"))
        case "user name and key":
            monkeypatch.setenv("KAGGLE_USERNAME", "user")
            monkeypatch.setenv("KAGGLE_KEY", "key")
        case "key file":
            (folder / "kaggle.json").write_text(json.dumps({"username": "user", "key": "key"}))
    assert len(place.fetch(SOURCE).hashes) == 2


@pytest.mark.parametrize(
    ("where", "content", "message"),
    [
        ("KAGGLE_API_TOKEN", "two s3cret words", "KAGGLE_API_TOKEN: the Kaggle credential can't be used"),
        ("KAGGLE_API_TOKEN", "s3cret" * 100 + " ", "KAGGLE_API_TOKEN: the Kaggle credential can't be used"),
        ("KAGGLE_USERNAME", "s3cret", "KAGGLE_USERNAME is set, KAGGLE_KEY is not"),
        ("KAGGLE_KEY", "s3cret", "KAGGLE_KEY is set, KAGGLE_USERNAME is not"),
        ("access_token", "two s3cret\nlines", ".kaggle/access_token: the Kaggle credential can't be used"),
        ("access_token", b"\xff\xfe", ".kaggle/access_token: the Kaggle credential is not text"),
        ("access_token", None, ".kaggle/access_token: can't read the Kaggle credential: found a folder"),
        ("kaggle.json", "s3cret", ".kaggle/kaggle.json: not a JSON file"),
        ("kaggle.json", "[" * 100_000, ".kaggle/kaggle.json: not a JSON file"),
        ("kaggle.json", '{"username": "s3cret"}', ".kaggle/kaggle.json: the Kaggle credential has no 'key'"),
        ("kaggle.json", '["s3cret"]', ".kaggle/kaggle.json: the Kaggle credential has no 'username'"),
    ],
)
def test_invalid_credential_is_named_but_not_shown(place, kaggle, monkeypatch, tmp_path, where, content, message):
    """The error names the variable or file, what is wrong with it, and where to create another."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    path = tmp_path / "home/.kaggle" / where
    if where.startswith("KAGGLE"):
        monkeypatch.setenv(where, content)
    elif content is None:
        path.mkdir()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FetchError) as error:
        place.fetch(SOURCE)
    assert message in str(error.value)
    assert "s3cret" not in str(error.value)
    assert not kaggle.requests


def test_unreadable_credential_file_is_named(place, kaggle, monkeypatch, tmp_path):
    """A wrong mode is a common mistake. Root can read every file, so this needs another user."""
    if os.getuid() == 0:
        pytest.skip("root may read every file")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    path = tmp_path / "home/.kaggle/access_token"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(FetchError, match="access_token: can't read the Kaggle credential: found Permission denied"):
        place.fetch(SOURCE)


def test_rejected_credential_is_named_but_not_shown(place, kaggle, monkeypatch):
    """The error names where the credential came from, not its content."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "s3cret")
    with pytest.raises(FetchError, match="found 401 Unauthorized, with KAGGLE_API_TOKEN; check") as error:
        place.fetch(SOURCE)
    assert "s3cret" not in str(error.value)


def test_rules_that_were_not_accepted(place, kaggle):
    """After a 403 the error says what to do and where."""
    kaggle.first = [Reply(b'{"code": 403, "message": "no"}', 403, {"Content-Type": "application/json"})]
    rules = "accept the competition's rules in the browser at https://www.kaggle.com/competitions/fathomnet2024/rules"
    with pytest.raises(FetchError, match=f"403 Forbidden, with KAGGLE_API_TOKEN; {rules}"):
        place.fetch(SOURCE)
    assert place.hashes() == {}


def test_file_that_kaggle_does_not_have(place, kaggle):
    """The error names the file and its page; earlier files are kept."""
    with pytest.raises(
        FetchError, match=r"fathomnet2024/test.json: Kaggle has no such file.*see https://www.kaggle.com/"
    ):
        place.fetch(KaggleSource(kaggle="fathomnet2024", files=["train.json", "test.json"]))
    assert list(place.hashes()) == ["data/train.json"]


@pytest.mark.parametrize(
    "failure", [Reply(status=429, headers={"Retry-After": "1"}), Reply(status=503), Reply(b"x" * 100, cut=10)]
)
def test_temporary_error_is_retried(place, kaggle, failure):
    """A rate limit, an outage and a cut connection are retried; a note announces the wait."""
    kaggle.first = [failure]
    assert len(place.fetch(SOURCE).hashes) == 2
    assert "trying again in" in place.notes[0]


def test_lasting_rate_limit_is_one_clear_error(place, kaggle):
    """After five tries the error says to come back later; datapack does not start to wait for a day."""
    kaggle.first = [Reply(status=429)] * 9
    with pytest.raises(
        FetchError, match=r"Kaggle sent no file: found 429 Too Many Requests; run the same command again"
    ):
        place.fetch(SOURCE)
    assert len(kaggle.first) == 4
    kaggle.first = [Reply(status=429, headers={"Retry-After": "86400"})]
    with pytest.raises(FetchError, match="429 Too Many Requests"):
        place.fetch(SOURCE)


def test_file_with_the_wrong_md5_is_fetched_again(place, kaggle):
    """If the md5 stays wrong, the file never gets its final name."""
    kaggle.damaged = 1
    assert len(place.fetch(SOURCE).hashes) == 2
    kaggle.damaged = 99
    with pytest.raises(FetchError, match="Kaggle sent no file: found a file with the wrong md5"):
        place.fetch(KaggleSource(kaggle="fathomnet2024", files=["sub/a b.csv"]))
    assert sorted(place.hashes()) == ["data/eval.json", "data/train.json"]


def test_web_page_instead_of_a_file_is_refused(place, kaggle):
    """This is the same as for every other source."""
    kaggle.files["train.json"] = b"<!DOCTYPE html><title>Kaggle</title>"
    with pytest.raises(FetchError, match="Kaggle sent a web page instead of the file"):
        place.fetch(SOURCE)


@pytest.mark.parametrize("fields", [{"kaggle": "a/b/c"}, {"kaggle": "https://x"}, {"files": []}, {"files": ["../x"]}])
def test_invalid_source_is_refused(fields):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError):
        KaggleSource(**{"kaggle": "fathomnet2024", "files": ["train.json"], **fields})
