"""Whatever a registry answers, datapack ends: with a result, or with one line."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from datapack.errors import DatapackError, shown
from datapack.hashing import digest_of
from datapack.oci.blob import Blob
from datapack.oci.image import read_image
from datapack.oci.spec import INDEX, LAYER, MANIFEST, STATEMENT, Descriptor, canonical_json
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, check_statements, provenance
from datapack.verify.outcome import Verified
from datapack.verify.signatures import InRegistry
from datapack.web.certificates import make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = float(os.environ.get("DATAPACK_FUZZ_SECONDS", "15"))
LONGEST = 60.0  # seconds for one example: some tries, each as slow as a registry may be, on a busy machine
CONTENT = b"content"
BLOB = Descriptor(LAYER, digest_of(CONTENT), len(CONTENT))
IMAGE = Descriptor(MANIFEST, digest_of(b"{}"), 2)
ASKED: list[Callable[[Repository], object]] = [
    lambda there: there.manifest("v1"),
    lambda there: there.find_manifest(IMAGE.digest),
    lambda there: there.blob_size(BLOB.digest),
    lambda there: list(there.blob(BLOB)),
    lambda there: there.find_referrers(IMAGE.digest),
    lambda there: there.lets_read(BLOB.digest),
    lambda there: there.check_access(),
    lambda there: there.upload(Blob.of(LAYER, CONTENT), mount_from=["other"]),
    lambda there: there.put_manifest(b"{}", MANIFEST, "v1"),
    lambda there: attach(there, IMAGE, provenance(canonical_json({"predicateType": "x"}))),
    lambda there: check_statements(RemoteImage.find(there)),
    lambda there: InRegistry(RemoteImage.find(there), Verified("", "full", "", 0, 0)).find(),
    lambda there: read_image(RemoteImage.find(there), RemoteImage.find(there).image(), "here"),
]

numbers = st.sampled_from(["0", "2", "7", "-1", "5000000", "9" * 5000, "7, 7", "7, 8", "x", ""])
places = st.sampled_from(
    [
        "/v2/reef/blobs/uploads/1",
        "?a=b",
        "",
        "//",
        "http://[",
        "http://127.0.0.1:1/",
        "https://10.0.0.1/",
        "\\",
        "/" * 99,
    ]
)
words = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30)
challenges = st.sampled_from(
    [
        "Basic",
        'Bearer realm="/token"',
        'Bearer realm="https://["',
        'Bearer realm="http://127.0.0.1:1/"',
        'Bearer a="',
        "\x00,=",
    ]
)
headers = st.one_of(
    st.tuples(st.just("Location"), places | words),
    st.tuples(st.just("Content-Length"), numbers),
    st.tuples(st.just("Content-Range"), st.sampled_from(["bytes 0-6/7", "bytes 3-6/7", "bytes */*", "x"]) | words),
    st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "identity", "br", "x"])),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "gzip", "x"])),
    st.tuples(st.just("Docker-Content-Digest"), st.sampled_from([BLOB.digest, IMAGE.digest, "sha256:", "x"])),
    st.tuples(st.just("OCI-Subject"), st.sampled_from([IMAGE.digest, "x"])),
    st.tuples(st.just("Link"), st.sampled_from(['<?n=1>; rel="next"', "<//x>; rel=next", "<", ">;rel"]) | words),
    st.tuples(st.just("WWW-Authenticate"), challenges | words),
    st.tuples(st.just("Retry-After"), numbers),
    st.tuples(st.sampled_from(["Content-Type", "X-Odd", " ", ":"]), words),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([IMAGE.digest, BLOB.digest]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "digest", "size", "manifests", "config", "layers", "token", "errors", "code", "subject"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
entry = st.fixed_dictionaries(
    {
        "mediaType": st.sampled_from([MANIFEST, INDEX, "x"]),
        "digest": st.just(IMAGE.digest) | values,
        "size": st.just(2) | values,
    },
    optional={"artifactType": st.just(STATEMENT) | values, "platform": values},
)
documents = st.one_of(
    values,
    st.fixed_dictionaries(
        {"manifests": st.lists(entry | values, max_size=3)}, optional={"mediaType": st.just(INDEX) | values}
    ),
    st.fixed_dictionaries({"config": entry | values, "layers": st.lists(entry | values, max_size=2)}),
    st.fixed_dictionaries(
        {"errors": st.lists(st.dictionaries(st.sampled_from(["code", "message"]), values), max_size=2)}
    ),
)
bodies = st.one_of(
    st.just(CONTENT),
    st.just(b"{}"),
    documents.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from(
        [b"[" * 100_000, b'{"a": ' * 50_000, b"1" * 6000, b'"\\ud800"', b"\xff\xfe", b"7\r\ncontent\r\n0\r\n\r\n"]
    ),
)
statuses = st.sampled_from([200, 201, 202, 204, 206, 302, 307, 400, 401, 404, 416, 429, 500, 503]) | st.integers(
    100, 999
)
answers = st.one_of(
    st.tuples(statuses, st.lists(headers, max_size=4), bodies, st.booleans()),
    st.binary(max_size=60),  # no HTTP at all
)


class Registry:
    """A server that gives its answers one after the other, and again from the first; the connection ends after each."""

    def __init__(self) -> None:
        self.answers: list[bytes] = [b""]
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                connection.recv(1 << 16)
                connection.sendall(self.answers[self.asked % len(self.answers)])
                self.asked += 1

    def close(self) -> None:
        self._socket.close()


def encoded(answer: tuple[int, list[tuple[str, str]], bytes, bool] | bytes) -> bytes:
    if isinstance(answer, bytes):
        return answer
    status, lines, body, measured = answer
    lines = [*lines, ("Content-Length", str(len(body)))] if measured else lines
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 {status} Fuzz\r\n{head}Connection: close\r\n\r\n".encode("latin-1") + body


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture
def patient(impatient, monkeypatch, tmp_path) -> None:
    """Have no credential, no pauses, little patience, and the certificates read once."""
    monkeypatch.setattr("datapack.web.client.make_context", functools.cache(make_context))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("TIMEOUT", "UPLOAD_TIMEOUT"):
        monkeypatch.setattr(f"datapack.registry.client.{name}", 0.5)
    monkeypatch.setattr("datapack.registry.referrers._LONGEST_PAUSE", 0.0)


@pytest.mark.usefixtures("patient")
def test_any_answer_is_a_result_or_one_line(registry):
    """No answer leads to a traceback, to several lines, to control characters in one, or to an endless wait."""
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        seed(number)(ask)(registry, end)


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(question=st.sampled_from(ASKED), given_answers=st.lists(answers, min_size=1, max_size=4), greets=st.booleans())
def ask(registry, end, question, given_answers, greets) -> None:
    """Ask a question of a registry that gives these answers, unless the time is over."""
    if time.monotonic() > end:
        return
    greeting = [encoded((200, [], b"{}", True))] if greets else []  # so that more than the first request is reached
    registry.asked, registry.answers = 0, greeting + [encoded(answer) for answer in given_answers]
    began = time.monotonic()
    try:
        question(Repository(RegistryClient(ImageName.parse(f"{registry.name}/reef:v1"), actions="pull,push")))
    except DatapackError as error:
        line = str(error)
        assert line
        assert shown(line) == line
        assert len(line) < 3000
    assert time.monotonic() - began < LONGEST
