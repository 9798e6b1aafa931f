"""Files of the Hugging Face Hub, with the real huggingface_hub and a stand-in for the Hub, which tests can't use."""

import hashlib
import os
import sys
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import HuggingFaceSource, UrlSource
from datapack.errors import FetchError
from tests.fakeweb import as_json
from tests.servers import Reply, Server, redirect
from tests.workplace import Workplace

COMMIT = "0123456789abcdef" * 2 + "01234567"
FILES = {"README.md": b"# Reef\n", "data/a b.bin": b"large" * 1000, "config.json": b"{}"}
LARGE = {"data/a b.bin"}
TOKEN = "hf_a_token_for_tests"
SOURCE = {"huggingface": "datasets/reef/animals", "revision": COMMIT}


class FakeHub(Server):
    """The parts of the Hub that list a repository and give its files; a gated one needs the token."""

    def __init__(self, kind="dataset", gated=False):
        super().__init__()
        self.kind, self.gated, self.files, self.stored = kind, gated, dict(FILES), dict(FILES)
        self.page = 2  # entries of a list in one answer
        self.elsewhere = ""  # where large files are
        self.next = ""  # where the next page of a list is, if not here
        self.first = []  # replies to give before any other

    @property
    def environment(self):
        return {"HF_ENDPOINT": self.url}

    def answer(self, handler, path):  # noqa: PLR0911 - one for each kind of request
        if self.first:
            return self.first.pop(0)
        if self.gated and handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Reply(b"", 401, {"X-Error-Code": "GatedRepo"})
        parts = urlsplit(path)
        api, prefix = f"/api/{self.kind}s/reef/animals", "datasets/" if self.kind == "dataset" else ""
        if parts.path.startswith(f"{api}/tree/"):
            return self.tree(parts)
        if parts.path == f"{api}/revision/main":
            return as_json({"id": "reef/animals", "sha": COMMIT})
        if parts.path.startswith(api):
            return Reply(b"", 404, {"X-Error-Code": "RevisionNotFound"})
        name = unquote(parts.path.removeprefix(f"/{prefix}reef/animals/resolve/{COMMIT}/"))
        if name in LARGE and self.elsewhere:
            return redirect(self.elsewhere)
        if name in self.stored:
            return Reply(self.stored[name])
        return Reply(b"", 404, {"X-Error-Code": "RepoNotFound"})

    def tree(self, parts):
        if parts.path.rpartition("/")[2] != COMMIT:
            return Reply(b"", 404, {"X-Error-Code": "RevisionNotFound"})
        begin = int(parse_qs(parts.query).get("cursor", ["0"])[0])
        rows = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "data"}, *map(self.row, self.files)]
        reply = as_json(rows[begin : begin + self.page])
        if begin + self.page >= len(rows):
            return reply
        following = self.next or f"{self.url}{parts.path}?recursive=true&cursor={begin + self.page}"
        return Reply(reply.body, 200, {**reply.headers, "Link": f'<{following}>; rel="next"'})

    def row(self, name):
        content = self.files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        row = {"type": "file", "oid": oid, "size": len(content), "path": name}
        if name in LARGE:
            row["oid"] = "f" * 40  # of the pointer in git
            row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return row


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """An environment without a token and without a proxy; no wait between the package's tries."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.fixture
def hub(monkeypatch):
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_all_files_of_a_commit_arrive(place, hub, capfd):
    """More than one answer lists; the URLs are those of the Hub, whatever mirror gave the files."""
    fetched = place.fetch(HuggingFaceSource(**SOURCE, into="reef"))
    assert set(fetched.hashes) == {f"data/reef/{name}" for name in FILES}
    url = f"https://huggingface.co/datasets/reef/animals/resolve/{COMMIT}/data/a%20b.bin"
    assert fetched.urls["data/reef/data/a b.bin"] == url
    assert capfd.readouterr() == ("", "")


def test_files_of_a_model_are_chosen_by_patterns(place, monkeypatch):
    """A model has no prefix."""
    with FakeHub("model") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        source = HuggingFaceSource(huggingface="reef/animals", revision=COMMIT, files=["*.bin", "config.json"])
        assert set(place.fetch(source).hashes) == {"data/data/a b.bin", "data/config.json"}
        with pytest.raises(FetchError, match=r"no file matches '\*\.onnx' in 'files': expected some of README\.md"):
            place.fetch(HuggingFaceSource(huggingface="reef/animals", revision=COMMIT, files=["*.onnx"]))


def test_files_that_are_here_are_not_fetched_again(place, hub):
    """They are hashed again where only git's hash is known."""
    place.fetch(HuggingFaceSource(**SOURCE))
    place.fetch(HuggingFaceSource(**SOURCE))
    assert [count for path, count in hub.requests.items() if "/resolve/" in path] == [1, 1, 1]


@pytest.mark.parametrize(("name", "algorithm"), [("config.json", "git blob sha1"), ("data/a b.bin", "sha256")])
def test_a_file_that_differs_from_the_list_fails(place, hub, name, algorithm):
    """Small files have git's hash, large ones a sha256."""
    hub.stored[name] = hub.files[name][:-1] + b" "
    with pytest.raises(FetchError, match=rf"wrong {algorithm} \(expected "):
        place.fetch(HuggingFaceSource(**SOURCE))
    assert f"data/{name}" not in place.hashes()


def test_a_branch_is_refused_with_its_commit(place, hub):
    """Its files can change."""
    expected = f"revision main is a branch or a tag.*expected a commit; write 'revision: {COMMIT}', where it points to"
    with pytest.raises(FetchError, match=expected):
        place.fetch(HuggingFaceSource(huggingface="datasets/reef/animals", revision="main"))
    for revision in ("v9", "a" * 40):
        with pytest.raises(FetchError, match=f"no such revision: found {revision}"):
            place.fetch(HuggingFaceSource(huggingface="datasets/reef/animals", revision=revision))


@pytest.mark.parametrize("given", ["variable", "file"])
def test_a_gated_repository_needs_a_token(place, monkeypatch, tmp_path, given):
    """From where huggingface_hub finds it; it stays with the Hub, and is written nowhere."""
    with FakeHub(gated=True) as hub, Server({"/large": Reply(FILES["data/a b.bin"])}, host="127.0.0.2") as storage:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.elsewhere = f"{storage.url}/large"
        with pytest.raises(FetchError, match=r"gives no access.*401 Unauthorized; ask for access at .*set HF_TOKEN"):
            place.fetch(HuggingFaceSource(**SOURCE))
        if given == "variable":
            monkeypatch.setenv("HF_TOKEN", TOKEN)
        else:
            (tmp_path / "no-token").write_text(f"{TOKEN}\n")
        assert len(place.fetch(HuggingFaceSource(**SOURCE)).hashes) == len(FILES)
        assert [headers.get("Authorization") for headers in storage.headers] == [None]
    places = (place.bag, place.root / "hashes.sqlite")
    files = [path for top in places for path in (top, *top.rglob("*")) if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_is_named_and_not_shown(place, hub, monkeypatch, status):
    """The variable is, for the list and for a file; huggingface_hub's own text is not shown."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.first = [Reply(b"", status, {"X-Error-Message": f"token {TOKEN}"})]
    with pytest.raises(FetchError, match=rf"{status} .*check that the token in HF_TOKEN is valid") as error:
        place.fetch(HuggingFaceSource(**SOURCE))
    assert TOKEN not in str(error.value)
    listed = [hub.tree(urlsplit(f"/api/datasets/reef/animals/tree/{COMMIT}?cursor={begin}")) for begin in (0, 2)]
    hub.first = [*listed, *[Reply(b"", status)] * 3]
    with pytest.raises(FetchError, match=rf"3 x {status} .*check that the token in HF_TOKEN is valid") as error:
        place.fetch(HuggingFaceSource(**SOURCE))
    assert TOKEN not in str(error.value) + place.failures.read_text()


def test_the_token_does_not_follow_a_link_to_another_host(place, hub, monkeypatch):
    """A list's next page may be anywhere."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Server({"/next": as_json([])}, host="127.0.0.2") as other:
        hub.next = f"{other.url}/next"
        place.fetch(HuggingFaceSource(**SOURCE))
        assert [headers.get("authorization") for headers in map(lower, other.headers)] == [None]
    assert lower(hub.headers[0])["authorization"] == f"Bearer {TOKEN}"


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_no_such_repository_is_one_line(place, hub):
    """The Hub says 401 to who has no token, so that private names stay secret."""
    source = HuggingFaceSource(huggingface="datasets/reef/plants", revision=COMMIT)
    with pytest.raises(FetchError, match=r"^huggingface datasets/reef/plants: no such repository: found 404"):
        place.fetch(source)
    hub.first = [Reply(b"", 401, {"X-Error-Code": "RepoNotFound"})]
    with pytest.raises(FetchError, match=r"the Hub gives no access to the repository, or has none of this name"):
        place.fetch(source)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"", 500), r"gives no list of files: found 500 Internal Server Error"),
        (Reply(b"", 429), r"gives no list of files: found 429 Too Many Requests"),
        (Reply(b"<html>", 200), r"gives no list of files: found JSONDecodeError"),
        (as_json([{"type": "file", "path": "a"}]), r"gives no list of files: found KeyError"),
        (as_json([]), r"the repository has no files"),
        (as_json([{"type": "file", "path": "../a", "size": 1, "oid": "0" * 40}]), r"the file name '\.\./a' is not"),
        (as_json([{"type": "file", "path": "a", "size": 1, "oid": "xyz"}]), r"lists no hash of a: found 'xyz'"),
        (as_json([{"type": "file", "path": "a", "size": 1, "oid": ""}]), r"lists no hash of a: found ''"),
        (as_json([{"type": "file", "path": "a", "size": 1, "oid": None}]), r"lists no hash of a: found None"),
    ],
)
def test_odd_answers_are_one_line(place, hub, reply, message):
    """Whatever the Hub says."""
    hub.first = [reply] * 6
    with pytest.raises(Exception, match=message) as error:
        place.fetch(HuggingFaceSource(**SOURCE))
    assert "\n" not in str(error.value)
    assert place.hashes() == {}


def test_a_hub_that_is_down_is_one_line(place, monkeypatch):
    """Nobody listens at the mirror that the environment names, or it is no URL."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match=r"gives no list of files: found ConnectError; run the same command again"):
        place.fetch(HuggingFaceSource(**SOURCE))
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    with pytest.raises(FetchError, match=r"HF_ENDPOINT can't be used: expected https://huggingface\.co"):
        place.fetch(HuggingFaceSource(**SOURCE))


@pytest.mark.parametrize("token", [f"{TOKEN}\u00fc", f"{TOKEN} x"])
def test_a_token_that_can_t_be_sent_is_refused(place, hub, monkeypatch, token):
    """The error does not show it."""
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(FetchError, match="the token in HF_TOKEN can't be in a header") as error:
        place.fetch(HuggingFaceSource(**SOURCE))
    assert TOKEN not in str(error.value)


def test_without_the_package_the_error_says_what_to_install(place, monkeypatch):
    """Other kinds of sources work without it."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FetchError, match=r"needs huggingface_hub; install it: pip install 'datapack\[huggingface\]'"):
        place.fetch(HuggingFaceSource(**SOURCE))
    with Server({"/a.bin": Reply(b"a")}) as server:
        assert place.fetch(UrlSource(url=f"{server.url}/a.bin")).hashes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"huggingface": "animals"}, "huggingface"),
        ({"huggingface": "spaces/reef/animals"}, "huggingface"),
        ({"huggingface": "https://huggingface.co/reef/animals"}, "huggingface"),
        ({"huggingface": "reef/.."}, "huggingface"),
        ({"revision": ""}, "revision"),
        ({"revision": "../x"}, "revision"),
        ({"files": ["../x"]}, "not a pattern"),
    ],
)
def test_an_invalid_source_is_refused(fields, message):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError, match=message):
        HuggingFaceSource(**{**SOURCE, **fields})


def test_a_source_without_a_revision_is_refused(catalog):
    """The line names the missing key."""
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace("local: source", f"huggingface: {quote('reef/animals')}"))
    assert "sources[0]: missing key 'revision'" in catalog.fails("list", status=2)
