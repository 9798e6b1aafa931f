"""The downloader against real servers on 127.0.0.1 that misbehave in many ways."""

import email.utils
import hashlib
import socket
import threading
import time

import pytest

from datapack.download import Request
from datapack.hashing import Checksum
from datapack.web.client import user_agent
from tests.download.downloading import Notes, downloader, fetch, left
from tests.servers import NOT_FOUND, Reply, Server, png


def test_file_arrives_complete_with_its_hash(server, tmp_path):
    """The file is what was served, and the reported hash and modification time are its own."""
    server.reply("/a.png", Reply(png()))
    arrived = []
    failures = downloader().fetch(
        [Request((f"{server.url}/a.png",), tmp_path / "x" / "a.png")], "files", arrived.append
    )
    assert not failures
    assert (tmp_path / "x" / "a.png").read_bytes() == png()
    assert arrived[0].sha256 == hashlib.sha256(png()).hexdigest()
    assert arrived[0].stat.mtime_ns == (tmp_path / "x" / "a.png").stat().st_mtime_ns
    assert left(tmp_path / "x") == ["a.png"]


def test_user_agent_names_the_contact(server, tmp_path):
    """The User-Agent names datapack and the contact; compressed responses are not requested."""
    server.reply("/a.png", Reply(png()))
    fetch(
        tmp_path / "a.png", f"{server.url}/a.png", fetcher=downloader(contact="+https://example.org; data@example.org")
    )
    assert server.headers[0]["User-Agent"].startswith("datapack/")
    assert server.headers[0]["User-Agent"].endswith(" (+https://example.org; data@example.org)")
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_contact_cannot_break_the_header():
    """Line ends, brackets and characters that a header can't hold are removed."""
    assert user_agent("Zoë\r\nX-Evil: (1)").endswith(" (Zo X-Evil: 1)")


def test_progress_is_in_bytes_for_one_file_and_in_files_for_many(server, tmp_path):
    """A single large file shows progress too."""
    server.reply("/a.bin", Reply(b"x" * 700_000))
    one, many = Notes(), Notes()
    fetch(tmp_path / "a.bin", f"{server.url}/a.bin", fetcher=downloader(reporter=one))
    requests = [Request((f"{server.url}/a.bin",), tmp_path / name) for name in ("b", "c")]
    downloader(reporter=many).fetch(requests, "files")
    assert {unit for unit, _ in one.amounts} == {"B"}
    assert sum(done for _, done in one.amounts) == 700_000
    assert many.amounts == [("files", 1), ("files", 1)]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_missing_file_is_requested_once(server, tmp_path, status):
    """404, 403 and 410 are definite: nothing is written, and there is no second try."""
    server.reply("/a.png", Reply(b"sorry", status=status))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert failure.definite
    assert failure.reason.startswith(f"{status} ")
    assert server.requests["/a.png"] == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_temporary_error_is_retried(server, tmp_path, status):
    """A server that recovers gives the file."""
    server.reply("/a.png", [Reply(status=status), Reply(status=status), Reply(png())])
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None
    assert server.requests["/a.png"] == 3


def test_lasting_error_fails_after_five_tries(server, tmp_path):
    """A server that stays down is tried five times, and the failure is not definite."""
    server.reply("/a.png", Reply(status=500))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert server.requests["/a.png"] == 5
    assert (failure.reason, failure.definite, failure.answers[0].tries) == ("500 Internal Server Error", False, 5)


def test_cut_connection_is_retried(server, tmp_path):
    """A partial file is discarded and downloaded again from the start."""
    server.reply("/a.bin", [Reply(b"x" * 900_000, cut=500_000), Reply(b"x" * 900_000)])
    assert fetch(tmp_path / "a.bin", f"{server.url}/a.bin") is None
    assert (tmp_path / "a.bin").stat().st_size == 900_000


def test_body_shorter_than_its_length_never_gets_a_name(server, tmp_path):
    """A file that always ends too soon fails and leaves nothing behind."""
    server.reply("/a.bin", Reply(b"x" * 1000, cut=999))
    failure = fetch(tmp_path / "a.bin", f"{server.url}/a.bin")
    assert (failure.reason, failure.definite) == ("the connection was cut", False)
    assert left(tmp_path) == []


def test_silent_server_times_out(server, tmp_path):
    """No response within the timeout counts as a failed try."""
    server.reply("/a.png", Reply(png(), seconds=1.0))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png", fetcher=downloader(timeout=0.1, tries=2))
    assert failure.reason == "silent for 0.1 s"


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("a.png", b"<!DOCTYPE html><html>Not found</html>", "a web page instead of the file"),
        ("a.csv", b"\n <!-- x --><HTML><body>Not found", "a web page instead of the file"),
        ("a.png", b"GIF89a" + bytes(20), "not a PNG file"),
        ("a.png", png()[:-12], "a PNG file that is cut off"),
        ("a.png", b"", "an empty file"),
        ("a.jpg", png(), "not a JPEG file"),
        ("a.jpeg", png(), "not a JPEG file"),
        ("a.gif", png(), "not a GIF file"),
        ("a.tiff", png(), "not a TIFF file"),
        ("a.webp", png(), "not a WebP file"),
        ("a.zip", png(), "not a ZIP file"),
        ("a.json", b"oops", "not a JSON file"),
    ],
)
def test_content_that_does_not_fit_the_name_is_refused(server, tmp_path, name, body, reason):
    """Status 200 does not turn a web page, or half an image, into an image."""
    server.reply(f"/{name}", Reply(body))
    failure = fetch(tmp_path / name, f"{server.url}/{name}")
    assert (failure.reason, failure.definite) == (reason, True)
    assert server.requests[f"/{name}"] == 2
    assert left(tmp_path) == []


def test_temporary_web_page_costs_one_more_request(server, tmp_path):
    """The file is requested again after a "come back later" page."""
    server.reply("/a.png", [Reply(b"<html>back soon</html>"), Reply(png())])
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None


def test_image_of_another_size_than_listed_is_refused(server, tmp_path):
    """A thumbnail or a placeholder is not accepted as the image."""
    server.reply("/a.png", Reply(png(8, 6)))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png", pixels=(1920, 1080))
    assert (failure.reason, failure.definite) == ("an image of 8 x 6 pixels, listed as 1920 x 1080", True)
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png", pixels=(8, 6)) is None


def test_file_with_another_hash_is_refused(server, tmp_path):
    """The message shows both hashes; the first digits of the right one are enough to accept a file."""
    server.reply("/a.bin", Reply(b"hello"))
    digest = hashlib.sha256(b"hello").hexdigest()
    failure = fetch(tmp_path / "a.bin", f"{server.url}/a.bin", checksum=Checksum("sha256", "0" * 8))
    assert failure.reason == f"wrong sha256 (expected 00000000, found {digest})"
    assert fetch(tmp_path / "a.bin", f"{server.url}/a.bin", checksum=Checksum("sha256", digest[:8])) is None


def test_encoding_that_was_not_requested_is_refused(server, tmp_path):
    """Compressed bytes are not the file's bytes."""
    server.reply("/a.csv", Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))
    assert "an encoding that was not requested (gzip)" in fetch(tmp_path / "a.csv", f"{server.url}/a.csv").reason


def test_definite_answer_leads_to_the_next_mirror_at_once(server, tmp_path):
    """A 404 costs one request, a web page two."""
    server.reply("/old/a.png", NOT_FOUND)
    server.reply("/page/a.png", Reply(b"<html>moved</html>"))
    server.reply("/new/a.png", Reply(png()))
    assert fetch(tmp_path / "a.png", *(f"{server.url}/{part}/a.png" for part in ("old", "page", "new"))) is None
    assert server.requests == {"/old/a.png": 1, "/page/a.png": 2, "/new/a.png": 1}


def test_temporary_error_is_retried_before_the_next_mirror(server, tmp_path):
    """The next URL is tried only after the last try of the first one; all answers are kept."""
    server.reply("/old/a.png", Reply(status=503))
    failure = fetch(
        tmp_path / "a.png", f"{server.url}/old/a.png", f"{server.url}/new/a.png", fetcher=downloader(tries=3)
    )
    assert [(answer.reason, answer.tries) for answer in failure.answers] == [
        ("503 Service Unavailable", 3),
        ("404 Not Found", 1),
    ]
    assert not failure.definite


def test_no_host_gets_more_simultaneous_requests_than_allowed(tmp_path):
    """Two hosts are used in parallel, each over its own connections."""
    slow = Reply(b"x", seconds=0.02)
    with Server() as one, Server() as other:
        for number in range(30):
            one.reply(f"/{number}", slow)
            other.reply(f"/{number}", slow)
        requests = [
            Request((f"{at.url}/{n}",), tmp_path / f"{at.url[-5:]}-{n}") for n in range(30) for at in (one, other)
        ]
        assert not downloader(connections=3).fetch(requests, "files")
        assert one.most_at_once <= 3
        assert other.most_at_once <= 3
        assert one.most_at_once + other.most_at_once > 3


def test_connections_are_reused(server, tmp_path):
    """Forty files, half of them missing, do not need forty connections."""
    accepted = []
    accept = server._http.get_request
    server._http.get_request = lambda: accepted.append(1) or accept()
    for number in range(0, 40, 2):
        server.reply(f"/{number}", Reply(b"x"))
    requests = [Request((f"{server.url}/{n}",), tmp_path / str(n)) for n in range(40)]
    assert len(downloader(connections=2).fetch(requests, "files")) == 20
    assert len(accepted) <= 4


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_applies_to_the_whole_host(server, tmp_path, form):
    """After the first 429, the host gets no request until the time that it asked for."""
    wait = "2" if form == "seconds" else email.utils.formatdate(time.time() + 3, usegmt=True)
    server.reply("/0", [Reply(status=429, headers={"Retry-After": wait}), Reply(b"x")])
    for number in range(1, 20):
        server.reply(f"/{number}", Reply(b"x", seconds=0.05))
    requests = [Request((f"{server.url}/{number}",), tmp_path / str(number)) for number in range(20)]
    assert not downloader(connections=2).fetch(requests, "files")
    told = server.at["/0"][0]
    times = sorted(at - told for path in server.at for at in server.at[path])
    assert not [at for at in times if 0.3 < at < 1.8]
    assert server.at["/0"][1] - told > 1.8


def test_host_that_asks_for_too_long_a_wait_is_skipped(server, tmp_path):
    """datapack does not wait for a day: it notes that it skips the host, and the failures are not definite."""
    notes = Notes()
    server.reply("/0", Reply(status=429, headers={"Retry-After": "86400"}))
    failures = downloader(connections=1, reporter=notes).fetch(
        [Request((f"{server.url}/{number}",), tmp_path / str(number)) for number in range(9)], "files"
    )
    assert [failure.definite for failure in failures] == [False] * 9
    assert server.requests == {"/0": 1}
    assert ": 429 Too Many Requests, and it asks to wait 86,400 s" in notes.notes[0]
    assert notes.notes[0].startswith("skipping 127.0.0.1:")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_host_that_refuses_connections_is_skipped(server, tmp_path):
    """After three refusals in a row the mirror is used, for the rest of the run and in the next call too."""
    notes = Notes()
    dead = f"http://127.0.0.1:{closed_port()}"
    for number in range(40):
        server.reply(f"/{number}.png", Reply(png()))
    fetcher = downloader(reporter=notes, backoff=lambda tries: 0.05)
    for numbers in (range(20), range(20, 40)):
        requests = [Request((f"{dead}/{n}.png", f"{server.url}/{n}.png"), tmp_path / f"{n}.png") for n in numbers]
        started = time.monotonic()
        assert not fetcher.fetch(requests, "files")
    assert time.monotonic() - started < 1
    assert len(left(tmp_path)) == 40
    assert notes.notes == [f"skipping {dead.removeprefix('http://')}: connection refused, several times in a row"]


def test_host_is_not_skipped_after_a_short_outage(tmp_path):
    """Five connections refused at the same moment count as one refusal."""
    port = closed_port()
    fetcher = downloader(backoff=lambda tries: 0.3)

    def come_back():
        time.sleep(0.15)
        server._http.serve_forever(poll_interval=0.02)

    requests = [Request((f"http://127.0.0.1:{port}/{n}",), tmp_path / str(n)) for n in range(10)]
    failures = []
    worker = threading.Thread(target=lambda: failures.extend(fetcher.fetch(requests, "files")))
    worker.start()
    time.sleep(0.1)
    server = Server.__new__(Server)
    server.__init__({f"/{n}": Reply(b"x") for n in range(10)}, port=port)
    threading.Thread(target=come_back, daemon=True).start()
    worker.join(10)
    server.__exit__()
    assert failures == []


def test_unknown_host_name_is_named_as_the_reason(tmp_path):
    """.invalid never resolves (RFC 2606)."""
    assert fetch(tmp_path / "a", "http://nowhere.invalid/a").reason == "host name not found"


def test_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    """As in other programs, http_proxy is used, except for hosts in no_proxy."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.reply("/a.png", Reply(png()))
    assert fetch(tmp_path / "a.png", "http://images.invalid/a.png") is None
    assert fetch(tmp_path / "b.png", f"{server.url}/a.png") is None


@pytest.mark.parametrize(
    ("name", "body", "headers"),
    [
        ("page.txt", b"<!DOCTYPE html><html>saved</html>", {}),
        ("a.xml", b"<catalogue><fish/></catalogue>", {"Content-Type": "text/html"}),
        ("a.png", b"GIF89a, in truth", {}),
        ("a.json", b"no JSON", {}),
    ],
)
def test_a_whole_hash_outranks_guesses_about_the_content(server, tmp_path, name, body, headers):
    """Who pins every bit of a file knows what it is; the first digits of a hash are not enough for that."""
    server.reply(f"/{name}", Reply(body, headers=headers))
    digest = hashlib.sha256(body).hexdigest()
    assert fetch(tmp_path / name, f"{server.url}/{name}", checksum=Checksum("sha256", digest)) is None
    assert fetch(tmp_path / "x" / name, f"{server.url}/{name}", checksum=Checksum("sha256", digest[:8])).definite
    assert fetch(tmp_path / "y" / name, f"{server.url}/{name}", checksum=Checksum("sha256", "0" * 64)).definite


@pytest.mark.parametrize(
    "body", [b'<?xml version="1.0"?>\n<a/>', b"<svg xmlns='x'/>", b"<gpx></gpx>", b"<gml:a xmlns:gml='x'/>"]
)
def test_xml_that_is_served_as_html_is_accepted(server, tmp_path, body):
    """Many servers call everything text/html; a page in XHTML is still a page."""
    server.reply("/a.xml", Reply(body, headers={"Content-Type": "text/html; charset=utf-8"}))
    assert fetch(tmp_path / "a.xml", f"{server.url}/a.xml") is None
    page = b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0"><html/>'
    server.reply("/b.csv", Reply(page, headers={"Content-Type": "text/html"}))
    assert fetch(tmp_path / "b.csv", f"{server.url}/b.csv").reason == "a web page instead of the file"
