"""The downloader against real servers on 127.0.0.1: what they do wrong, and what becomes of the files."""

import email.utils
import hashlib
import socket
import threading
import time

import pytest

from datapack.download import Request
from datapack.download.web import user_agent
from tests.download.downloading import Notes, downloader, fetch, left
from tests.servers import NOT_FOUND, Reply, Server, png


def test_a_file_arrives_whole_with_its_hash(server, tmp_path):
    """What arrives is what was served, and the hash and the look that are reported are its own."""
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


def test_a_server_is_told_who_asks(server, tmp_path):
    """The User-Agent names datapack and whom to write to; compressed answers are not asked for."""
    server.reply("/a.png", Reply(png()))
    fetch(
        tmp_path / "a.png", f"{server.url}/a.png", fetcher=downloader(contact="+https://example.org; data@example.org")
    )
    assert server.headers[0]["User-Agent"].startswith("datapack/")
    assert server.headers[0]["User-Agent"].endswith(" (+https://example.org; data@example.org)")
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_a_contact_can_not_break_a_header():
    """Line ends, brackets and letters that no header can hold are left out."""
    assert user_agent("Zoë\r\nX-Evil: (1)").endswith(" (Zo X-Evil: 1)")


def test_progress_of_one_file_is_in_bytes_and_of_many_in_files(server, tmp_path):
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
def test_a_file_that_is_not_there_is_asked_for_once(server, tmp_path, status):
    """404, 403 and 410 are definite: nothing is written and no second try made."""
    server.reply("/a.png", Reply(b"sorry", status=status))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert failure.definite
    assert failure.reason.startswith(f"{status} ")
    assert server.asked["/a.png"] == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes_is_waited_for(server, tmp_path, status):
    """A server that recovers gives the file."""
    server.reply("/a.png", [Reply(status=status), Reply(status=status), Reply(png())])
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None
    assert server.asked["/a.png"] == 3


def test_lasting_trouble_ends_after_so_many_tries(server, tmp_path):
    """A server that stays down is asked five times, and its failure is not definite."""
    server.reply("/a.png", Reply(status=500))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert server.asked["/a.png"] == 5
    assert (failure.reason, failure.definite, failure.answers[0].tries) == ("500 Internal Server Error", False, 5)


def test_a_connection_cut_in_the_middle_is_tried_again(server, tmp_path):
    """Half a file is no file: it is fetched again from its beginning."""
    server.reply("/a.bin", [Reply(b"x" * 900_000, cut=500_000), Reply(b"x" * 900_000)])
    assert fetch(tmp_path / "a.bin", f"{server.url}/a.bin") is None
    assert (tmp_path / "a.bin").stat().st_size == 900_000


def test_a_body_shorter_than_its_length_never_gets_a_name(server, tmp_path):
    """A file that always ends too soon fails, and leaves nothing."""
    server.reply("/a.bin", Reply(b"x" * 1000, cut=999))
    failure = fetch(tmp_path / "a.bin", f"{server.url}/a.bin")
    assert (failure.reason, failure.definite) == ("the connection was cut", False)
    assert left(tmp_path) == []


def test_a_silent_server_is_given_up(server, tmp_path):
    """No answer within the timeout counts as a failed try."""
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
def test_content_that_is_not_what_the_name_says_is_refused(server, tmp_path, name, body, reason):
    """Status 200 does not make a web page, or half a picture, a picture."""
    server.reply(f"/{name}", Reply(body))
    failure = fetch(tmp_path / name, f"{server.url}/{name}")
    assert (failure.reason, failure.definite) == (reason, True)
    assert server.asked[f"/{name}"] == 2
    assert left(tmp_path) == []


def test_a_page_that_goes_away_costs_one_more_question(server, tmp_path):
    """A page that says to come back later is no reason to give the file up."""
    server.reply("/a.png", [Reply(b"<html>back soon</html>"), Reply(png())])
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None


def test_an_image_of_another_size_than_listed_is_refused(server, tmp_path):
    """A thumbnail or a placeholder does not pass for the picture."""
    server.reply("/a.png", Reply(png(8, 6)))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png", pixels=(1920, 1080))
    assert (failure.reason, failure.definite) == ("an image of 8 x 6 pixels, listed as 1920 x 1080", True)
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png", pixels=(8, 6)) is None


def test_a_file_with_another_hash_is_refused(server, tmp_path):
    """The message has both hashes; the first digits of the right one are enough."""
    server.reply("/a.bin", Reply(b"hello"))
    digest = hashlib.sha256(b"hello").hexdigest()
    failure = fetch(tmp_path / "a.bin", f"{server.url}/a.bin", sha256="0" * 8)
    assert failure.reason == f"sha256 expected 00000000, found {digest}"
    assert fetch(tmp_path / "a.bin", f"{server.url}/a.bin", sha256=digest[:8]) is None


def test_a_form_that_was_not_asked_for_is_refused(server, tmp_path):
    """Compressed bytes are not the file's bytes."""
    server.reply("/a.csv", Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))
    assert "not asked for (gzip)" in fetch(tmp_path / "a.csv", f"{server.url}/a.csv").reason


def test_definite_answers_go_to_the_next_mirror_at_once(server, tmp_path):
    """A 404 costs one question, a web page two."""
    server.reply("/old/a.png", NOT_FOUND)
    server.reply("/page/a.png", Reply(b"<html>moved</html>"))
    server.reply("/new/a.png", Reply(png()))
    assert fetch(tmp_path / "a.png", *(f"{server.url}/{part}/a.png" for part in ("old", "page", "new"))) is None
    assert server.asked == {"/old/a.png": 1, "/page/a.png": 2, "/new/a.png": 1}


def test_passing_trouble_is_tried_to_its_end_before_the_next_mirror(server, tmp_path):
    """Only when an address has failed for good is the next one asked; all that they answered is kept."""
    server.reply("/old/a.png", Reply(status=503))
    failure = fetch(
        tmp_path / "a.png", f"{server.url}/old/a.png", f"{server.url}/new/a.png", fetcher=downloader(tries=3)
    )
    assert [(answer.reason, answer.tries) for answer in failure.answers] == [
        ("503 Service Unavailable", 3),
        ("404 Not Found", 1),
    ]
    assert not failure.definite


def test_no_host_gets_more_questions_at_once_than_allowed(tmp_path):
    """Two hosts are asked side by side, each over its own connections."""
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


def test_connections_are_used_again(server, tmp_path):
    """Forty files, the missing among them, do not cost forty connections."""
    accepted = []
    accept = server._http.get_request
    server._http.get_request = lambda: accepted.append(1) or accept()
    for number in range(0, 40, 2):
        server.reply(f"/{number}", Reply(b"x"))
    requests = [Request((f"{server.url}/{n}",), tmp_path / str(n)) for n in range(40)]
    assert len(downloader(connections=2).fetch(requests, "files")) == 20
    assert len(accepted) <= 4


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_for_the_whole_host(server, tmp_path, form):
    """From the first 429 on, nobody asks the host for anything until it said so."""
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


def test_a_host_that_asks_for_too_long_a_wait_is_left_out(server, tmp_path):
    """A day is not waited: the host is asked no more, with a note, and its files fail for a reason that may pass."""
    notes = Notes()
    server.reply("/0", Reply(status=429, headers={"Retry-After": "86400"}))
    failures = downloader(connections=1, reporter=notes).fetch(
        [Request((f"{server.url}/{number}",), tmp_path / str(number)) for number in range(9)], "files"
    )
    assert [failure.definite for failure in failures] == [False] * 9
    assert server.asked == {"/0": 1}
    assert "is left out: 429 Too Many Requests, it asks to wait 86,400 s" in notes.notes[0]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_host_that_refuses_connections_is_left_out(server, tmp_path):
    """After three refusals in a row all goes to the mirror, for the rest of the run and in the next list too."""
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
    assert notes.notes == [f"{dead.removeprefix('http://')} is left out: connection refused, several times in a row"]


def test_a_short_outage_does_not_leave_a_host_out(tmp_path):
    """Five connections refused at the same moment are one refusal, not five."""
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


def test_a_host_name_that_does_not_exist_is_said_so(tmp_path):
    """.invalid never resolves (RFC 2606)."""
    assert fetch(tmp_path / "a", "http://nowhere.invalid/a").reason == "host name not found"


def test_a_proxy_is_used_where_the_environment_names_one(server, tmp_path, monkeypatch):
    """As with other programs, http_proxy counts, except for hosts in no_proxy."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.reply("/a.png", Reply(png()))
    assert fetch(tmp_path / "a.png", "http://images.invalid/a.png") is None
    assert fetch(tmp_path / "b.png", f"{server.url}/a.png") is None
