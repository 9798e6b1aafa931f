"""The downloader against real servers on 127.0.0.1: what they do wrong, and what becomes of the files."""

import email.utils
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datapack.download import Downloader, Request
from datapack.download.web import user_agent
from datapack.errors import FetchError
from tests.servers import NOT_FOUND, Reply, Server, png, redirect
from tests.workplace import mount


@pytest.fixture
def server():
    with Server() as running:
        yield running


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.notes = []
        self.amounts = []

    def note(self, text):
        self.notes.append(text)

    def progress(self, label, total, unit):
        reporter = self

        class Progress:
            def __enter__(self):
                return lambda done: reporter.amounts.append((unit, done))

            def __exit__(self, *_):
                pass

        return Progress()


def downloader(**options):
    """A downloader that hardly waits between tries."""
    return Downloader(**{"backoff": lambda tries: 0.01, "timeout": 5.0, **options})


def fetch(path: Path, *addresses: str, fetcher=None, **expected):
    """Fetch one file; return its failure, if it is one."""
    return next(iter((fetcher or downloader()).fetch([Request(addresses, path, **expected)], "a file")), None)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


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


def test_redirects_are_followed(server, tmp_path):
    """A relative and an absolute redirect lead to the file."""
    server.reply("/a.png", redirect("b/c.png", 301))
    server.reply("/b/c.png", redirect(f"{server.url}/d.png?x=1#part", 307))
    server.reply("/d.png?x=1", Reply(png()))
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/a.png", "redirects in a circle"),
        ("/b.png", "redirects in a circle"),
        ("/far/0", "over 10 redirects"),
        ("file:///etc/passwd", "a redirect to not an http or https address"),
        ("ftp://127.0.0.1/a.png", "a redirect to not an http or https address"),
        ("http://user:secret@127.0.0.1/a.png", "a redirect to an address with a user name or password in it"),
        ("", "a redirect that leads nowhere"),
    ],
)
def test_redirects_that_must_not_be_followed(server, tmp_path, target, reason):
    """They end at once, with the reason, and are no proof that the file does not exist."""
    server.reply("/a.png", redirect(target))
    server.reply("/b.png", redirect("/a.png"))
    for number in range(20):
        server.reply(f"/far/{number}", redirect(f"/far/{number + 1}"))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert (failure.reason, failure.definite) == (reason, False)
    assert server.asked["/a.png"] == 1


def test_a_redirect_from_the_open_internet_to_a_private_address_is_refused(tmp_path):
    """The private host is not asked. 127.0.0.1 stands for a public address here, 127.0.0.2 for a private one."""
    with Server() as public, Server({"/secret.png": Reply(png())}, host="127.0.0.2") as private:
        public.reply("/a.png", redirect(f"{private.url}/secret.png"))
        fetcher = downloader(is_public=lambda number: number == "127.0.0.1")
        failure = fetch(tmp_path / "a.png", f"{public.url}/a.png", fetcher=fetcher)
        assert failure.reason == "a redirect to a private address"
        assert not private.asked
        assert fetch(tmp_path / "a.png", f"{private.url}/secret.png", fetcher=fetcher) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_to_a_loopback_address_is_refused_by_the_rule_itself(server, tmp_path, host):
    """The rule looks at the address that a connection has, so a name for it does not help."""
    server.reply("/a.png", redirect(server.url.replace("127.0.0.1", host) + "/b.png"))
    fetcher = downloader()
    fetcher.web.is_private = lambda address: False  # as if the catalog's own host were public
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png", fetcher=fetcher).reason == "a redirect to a private address"
    assert server.asked == {"/a.png": 1}


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://example.org/a.png", "a.png", "http://", "http://[::1"]
)
def test_only_web_addresses_are_asked(tmp_path, address):
    """Anything else is a failure that no second try would mend, and is never opened."""
    failure = fetch(tmp_path / "a.png", address)
    assert "address" in failure.reason
    assert left(tmp_path) == []


def test_a_password_in_an_address_is_never_shown(tmp_path):
    """Such an address is not asked, since it would end in the bag, and no message has its password."""
    failure = fetch(tmp_path / "a.png", "http://user:secret@127.0.0.1/a.png")
    assert failure.reason == "an address with a user name or password in it"
    assert failure.answers[0].address == "http://127.0.0.1/a.png"


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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, "size=1m"):
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("length", [True, False])
def test_a_full_disk_stops_all_with_one_error(server, small_disk, length):
    """Files that are whole stay, nothing else has a name, and the rest is not even asked for."""
    for number in range(50):
        server.reply(f"/{number}", Reply(bytes(300_000), seconds=0.01, length=length))
    requests = [Request((f"{server.url}/{number}",), small_disk / str(number)) for number in range(50)]
    message = (
        "not enough space on the disk|the disk is full" if length else "the disk is full: found .* free; make room"
    )
    with pytest.raises(FetchError, match=message) as error:
        downloader(connections=2).fetch(requests, "files")
    assert "free" in str(error.value)
    assert all((small_disk / name).stat().st_size == 300_000 for name in left(small_disk))
    assert 0 < len(left(small_disk)) <= 3
    assert sum(server.asked.values()) < 20


def test_a_file_larger_than_the_disk_is_not_begun(server, small_disk):
    """The server's length is compared with what is free: the error has both."""
    server.reply("/a", Reply(bytes(3_000_000)))
    with pytest.raises(FetchError, match=r"not enough space on the disk: expected 3 MB, found 1.05 MB free"):
        fetch(small_disk / "a", f"{server.url}/a")
    assert left(small_disk) == []


def test_a_read_only_folder_is_one_clear_error(server, small_disk):
    """The error names the folder and what to do."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    server.reply("/a", Reply(b"x"))
    with pytest.raises(FetchError, match=r"can't write here.*Read-only.*work in a folder that you may write to"):
        fetch(small_disk / "a", f"{server.url}/a")


SCRIPT = """
import signal, sys
from pathlib import Path
from datapack.download import Downloader, Request
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job does not have
folder, count, url = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
try:
    Downloader(connections=2).fetch([Request((f"{url}/{n}",), folder / str(n)) for n in range(count)], "files")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("when", ["between", "in the middle"])
def test_interrupting_ends_promptly_and_leaves_nothing_half_made(server, tmp_path, when):
    """Ctrl-C ends within seconds, even while a server is silent; what has a name is whole."""
    for number in range(40):
        server.reply(f"/{number}", Reply(bytes(200_000), seconds=0.05 if when == "between" or number < 4 else 60))
    command = [sys.executable, "-c", SCRIPT, tmp_path / "out", "40", server.url]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    while sum(server.asked.values()) < 6 or not {"0", "1", "2"} <= {*left(tmp_path)}:
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert time.monotonic() - started < 5
    assert all((tmp_path / "out" / name).stat().st_size == 200_000 for name in left(tmp_path / "out"))
    assert {"0", "1", "2"} <= {*left(tmp_path / "out")}
