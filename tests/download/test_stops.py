"""A download that ends early, because of the disk or Ctrl-C, leaves only complete files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapack.download import Request
from datapack.errors import FetchError
from tests.download.downloading import downloader, fetch, left
from tests.servers import Reply
from tests.workplace import mount


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
def test_full_disk_stops_the_run_with_one_error(server, small_disk, length):
    """Complete files stay, there are no others, and the remaining files are not even requested."""
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
    assert sum(server.requests.values()) < 20


def test_file_larger_than_the_disk_is_not_started(server, small_disk):
    """The error shows the length from the server and the free space."""
    server.reply("/a", Reply(bytes(3_000_000)))
    with pytest.raises(FetchError, match=r"not enough space on the disk: expected 3 MB, found 1.05 MB free"):
        fetch(small_disk / "a", f"{server.url}/a")
    assert left(small_disk) == []


def test_read_only_folder_is_one_clear_error(server, small_disk):
    """The error names the folder and what to do."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    server.reply("/a", Reply(b"x"))
    with pytest.raises(FetchError, match=r"can't write here.*Read-only.*work in a folder that you can write to"):
        fetch(small_disk / "a", f"{server.url}/a")


SCRIPT = """
import signal, sys
from pathlib import Path
from datapack.download import Downloader, Request
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has no handler
folder, count, url = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
try:
    requests = [Request((f"{url}/{n}",), folder / str(n)) for n in range(count)]
    Downloader(connections=2).fetch(requests, "files", named={url.removeprefix("http://")})
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("when", ["between", "in the middle"])
def test_interrupt_ends_promptly_and_leaves_only_complete_files(server, tmp_path, when):
    """Ctrl-C ends the run within seconds, even while a server is silent."""
    for number in range(40):
        server.reply(f"/{number}", Reply(bytes(200_000), seconds=0.05 if when == "between" or number < 4 else 60))
    command = [sys.executable, "-c", SCRIPT, tmp_path / "out", "40", server.url]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    while sum(server.requests.values()) < 6 or not {"0", "1", "2"} <= {*left(tmp_path)}:
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert time.monotonic() - started < 5
    assert all((tmp_path / "out" / name).stat().st_size == 200_000 for name in left(tmp_path / "out"))
    assert {"0", "1", "2"} <= {*left(tmp_path / "out")}
