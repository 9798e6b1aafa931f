"""The payload while it is fetched: each file once, complete, and from the URL in the catalog."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapack.bag.listing import Listing, list_payload
from datapack.catalog.sources import CocoSource, LocalSource, UrlSource
from datapack.errors import FetchError, ManifestError
from tests.servers import NOT_FOUND, Reply, Server, png, redirect
from tests.workplace import Workplace, mount


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server() as running:
        yield running


def coco(place, server, images: dict[str, bytes], **options) -> list:
    """Sources for a COCO file of these images on the server, and for the images."""
    for name, content in images.items():
        server.reply(f"/{name}", Reply(content))
    rows = [{"id": n, "file_name": name, "coco_url": f"{server.url}/{name}"} for n, name in enumerate(images)]
    place.write("train.json", json.dumps({"images": rows}).encode())
    return [LocalSource(local="train.json"), CocoSource(coco="train.json", into="images", **options)]


IMAGES = {f"{number:02}.png": png(seed=number) for number in range(12)}


def test_hashes_and_urls_of_all_files_are_known(place, server):
    """All files have hashes; downloaded files have URLs."""
    payload = place.fetch(*coco(place, server, IMAGES))
    assert len(payload.hashes) == 13
    assert payload.urls["data/images/00.png"] == f"{server.url}/00.png"
    assert len(payload.urls) == 12


def test_complete_files_are_not_fetched_again(place, server):
    """A second run requests nothing and gives the same result."""
    sources = coco(place, server, IMAGES)
    first = place.fetch(*sources)
    second = place.fetch(*sources)
    assert (second.hashes, second.urls) == (first.hashes, first.urls)
    assert set(server.requests.values()) == {1}


def test_files_with_unknown_hashes_are_checked_again(place, server):
    """Without the cache, complete files are hashed and kept; incomplete ones are fetched again."""
    sources = coco(place, server, IMAGES)
    first = place.fetch(*sources)
    (place.root / "hashes.sqlite").unlink()
    (place.bag / "data/images/03.png").write_bytes(b"<html>404</html>")
    (place.bag / "data/images/04.png").write_bytes(png()[:-1])
    assert place.fetch(*sources).hashes == first.hashes
    assert {path for path, count in server.requests.items() if count == 2} == {"/03.png", "/04.png"}


def test_file_that_changed_since_it_was_hashed_is_checked_again(place, server):
    """A known hash counts only for the same size and modification time."""
    sources = coco(place, server, IMAGES)
    first = place.fetch(*sources)
    (place.bag / "data/images/05.png").write_bytes(b"garbage")
    assert place.fetch(*sources).hashes == first.hashes
    assert server.requests["/05.png"] == 2


def test_file_with_a_new_url_is_fetched_again(place, server):
    """The same name at another URL is another file, even if a local file had that name."""
    server.reply("/old", Reply(b"old"))
    server.reply("/new", Reply(b"new"))
    old, new = (UrlSource(url=f"{server.url}/{name}", name="file") for name in ("old", "new"))
    place.write("file", b"local")
    content = place.bag / "data" / "file"
    place.fetch(old)
    assert content.read_bytes() == b"old"
    place.fetch(new)
    assert content.read_bytes() == b"new"
    place.fetch(LocalSource(local="file"))
    assert content.read_bytes() == b"local"
    place.fetch(new)
    assert content.read_bytes() == b"new"


def test_files_in_no_source_are_removed_with_a_note(place, server):
    """The files of a removed source go away, and so do links and empty folders."""
    place.write("a/one")
    place.write("b/two")
    place.fetch(LocalSource(local="a", into="a"), LocalSource(local="b", into="b"))
    (place.bag / "data/link").symlink_to("/etc/passwd")
    place.fetch(LocalSource(local="a", into="a"))
    assert [path.name for path in (place.bag / "data").iterdir()] == ["a"]
    (note,) = place.notes
    assert note == (
        "reef@v1: the new bag leaves out 2 files of an earlier fetch or of the parent that no source names, "
        "such as b/two; your own files stay as they are"
    )
    assert Path("/etc/passwd").exists()


def test_temporary_files_of_a_killed_run_are_removed(place):
    """Temporary files and folders are removed anywhere in the bag."""
    place.write("a/one")
    place.fetch(LocalSource(local="a", into="x"))
    (place.bag / "data/x/.datapack-1").write_bytes(b"half")
    (place.bag / ".datapack-2").write_bytes(b"half")
    (place.bag / "data/.datapack-3").mkdir()
    (place.bag / "data/.datapack-3/half").write_bytes(b"half")
    place.fetch(LocalSource(local="a", into="x"))
    assert not list(place.bag.rglob(".datapack-*"))
    assert place.notes == []


def test_link_in_place_of_a_folder_is_not_followed(place):
    """Nothing is written outside the payload, and the file ends up inside it."""
    (place.root / "elsewhere").mkdir()
    (place.bag / "data").mkdir(parents=True)
    (place.bag / "data/x").symlink_to(place.root / "elsewhere")
    place.write("a/one")
    assert list(place.fetch(LocalSource(local="a", into="x")).hashes) == ["data/x/one"]
    assert not list((place.root / "elsewhere").iterdir())


@pytest.mark.parametrize("form", ["link", "dangling link", "file"])
def test_payload_folder_that_is_no_folder_is_replaced(place, form):
    """Where ``data`` is a link, nothing behind it is read, written or removed."""
    elsewhere = place.root / "elsewhere"
    place.bag.mkdir(parents=True)
    if form == "file":
        (place.bag / "data").write_bytes(b"x")
    else:
        (place.bag / "data").symlink_to(elsewhere)
    if form == "link":
        elsewhere.mkdir()
        (elsewhere / "precious").write_bytes(b"x")
    assert list_payload(place.bag) == Listing({}, frozenset({"data"}))
    place.write("a/one")
    assert list(place.fetch(LocalSource(local="a", into="x")).hashes) == ["data/x/one"]
    assert not (place.bag / "data").is_symlink()
    assert elsewhere.exists() == (form == "link")
    if form == "link":
        assert [path.name for path in elsewhere.iterdir()] == ["precious"]


@pytest.mark.parametrize("swapped", [False, True])
def test_file_replaces_a_folder_and_vice_versa(place, swapped):
    """Leftovers of an earlier catalog that block a path are removed."""
    place.write("file")
    place.write("folder/file")
    sources = [LocalSource(local="file"), LocalSource(local="folder", into="file")]
    for source in reversed(sources) if swapped else sources:
        payload = place.fetch(source)
    assert list(payload.hashes) == ["data/file" if swapped else "data/file/file"]


def test_two_sources_with_the_same_file_are_both_named(place, server):
    """This is an error even if both would give the same bytes."""
    place.write("a/file")
    place.write("b/file")
    with pytest.raises(FetchError, match="local b: two files would be file: found the other from local a"):
        place.fetch(LocalSource(local="a"), LocalSource(local="b"))


@pytest.mark.parametrize(("first", "second"), [("x", "y"), ("y", "x")])
def test_name_cannot_be_a_file_and_a_folder(place, first, second):
    """The order of the sources does not matter."""
    place.write("x/name")
    place.write("y/name/file")
    with pytest.raises(FetchError, match="name would be a file and a folder"):
        place.fetch(LocalSource(local=first), LocalSource(local=second))


def test_names_of_temporary_files_are_refused(place):
    """A payload file with such a name would be removed as a temporary file."""
    place.write("x/.datapack-1")
    with pytest.raises(FetchError, match="are reserved for datapack"):
        place.fetch(LocalSource(local="x"))


def test_failures_give_one_line_and_a_report(place, server):
    """The line counts the reasons, with an example of each; the report has every URL and its answer."""
    sources = coco(place, server, IMAGES, mirrors={server.url: [server.url, f"{server.url}/mirror"]})
    server.reply("/01.png", NOT_FOUND)
    server.reply("/02.png", NOT_FOUND)
    server.reply("/03.png", redirect("/03.png"))
    with pytest.raises(FetchError) as error:
        place.fetch(*sources)
    line = str(error.value)
    assert line.startswith("reef@v1: 3 of 12 files could not be fetched: found 3 x 404 Not Found, such as ")
    assert str(place.failures) in line
    report = json.loads(place.failures.read_text())
    assert report["reference"] == "reef@v1"
    assert report["failures"][2] == {
        "path": "images/03.png",
        "url": f"{server.url}/03.png",
        "answers": [
            {"url": f"{server.url}/03.png", "reason": "redirects in a circle", "tries": 1},
            {"url": f"{server.url}/mirror/03.png", "reason": "404 Not Found", "tries": 1},
        ],
    }


def test_failures_of_many_kinds_say_how_many_kinds_are_left_out(place, server):
    """Three kinds are shown, the most frequent first, and others are counted. A single file is no example."""
    sources = coco(place, server, IMAGES)
    statuses = {"01": 404, "02": 404, "03": 410, "04": 451, "05": 401, "06": 402}
    for name, status in statuses.items():
        server.reply(f"/{name}.png", Reply(status=status))
    with pytest.raises(FetchError) as error:
        place.fetch(*sources)
    found = str(error.value).partition(": found ")[2].partition("; see ")[0]
    shown = found.split("; ")
    assert shown[0] == f"2 x 404 Not Found, such as {server.url}/01.png"
    assert shown[1] == f"1 x 410 Gone: {server.url}/03.png"
    assert shown[3] == "and 2 other reasons"


def test_next_run_requests_only_failed_files(place, server):
    """Complete files are kept, and the report is removed when there are no failures."""
    sources = coco(place, server, IMAGES)
    server.reply("/01.png", NOT_FOUND)
    with pytest.raises(FetchError):
        place.fetch(*sources)
    server.reply("/01.png", Reply(IMAGES["01.png"]))
    place.fetch(*sources)
    assert {path for path, count in server.requests.items() if count != 1} == {"/01.png"}
    assert not place.failures.exists()


def test_failures_of_one_source_do_not_stop_the_others(place, server):
    """All other files are fetched before the run ends with its failures."""
    server.reply("/b", Reply(b"b"))
    with pytest.raises(FetchError, match="1 of 2 files"):
        place.fetch(UrlSource(url=f"{server.url}/a"), UrlSource(url=f"{server.url}/b"))
    assert list(place.hashes()) == ["data/b"]


@pytest.mark.parametrize("missing", [["01.png", "02.png"], 2, 5])
def test_allowed_missing_files_are_listed_in_the_payload(place, server, missing):
    """The list is sorted, is hashed like other files, and is the same every time."""
    sources = coco(place, server, IMAGES, missing=missing)
    server.reply("/02.png", NOT_FOUND)
    server.reply("/01.png", Reply(status=410))
    payload = place.fetch(*sources)
    assert (place.bag / "data/missing.csv").read_text() == (
        "path,url,reason\n"
        f"images/01.png,{server.url}/01.png,410 Gone\n"
        f"images/02.png,{server.url}/02.png,404 Not Found\n"
    )
    assert "data/missing.csv" in payload.hashes
    assert "data/missing.csv" not in payload.urls
    assert place.fetch(*sources).hashes == payload.hashes
    assert not place.failures.exists()


def test_list_of_missing_files_is_removed_when_none_is_missing(place, server):
    """A file that came back is in the payload again."""
    sources = coco(place, server, IMAGES, missing=1)
    server.reply("/02.png", NOT_FOUND)
    assert "data/missing.csv" in place.fetch(*sources).hashes
    server.reply("/02.png", Reply(IMAGES["02.png"]))
    assert "data/missing.csv" not in place.fetch(*sources).hashes


def test_too_many_missing_files_fail(place, server):
    """If there are more than allowed, all of them are failures."""
    sources = coco(place, server, IMAGES, missing=1)
    server.reply("/01.png", NOT_FOUND)
    server.reply("/02.png", NOT_FOUND)
    with pytest.raises(FetchError, match="2 of 12 files could not be fetched"):
        place.fetch(*sources)


def test_temporary_error_never_counts_towards_the_allowed_number(place, server):
    """A server that is down must not change the dataset; only a list of names allows that."""
    sources = coco(place, server, IMAGES, missing=5)
    server.reply("/01.png", Reply(status=500))
    with pytest.raises(FetchError, match="1 of 12 files could not be fetched: found 1 x 500 Internal Server Error"):
        place.fetch(*sources)
    sources = coco(place, server, IMAGES, missing=["01.png"])
    server.reply("/01.png", Reply(status=500))
    assert "data/missing.csv" in place.fetch(*sources).hashes


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../x.png", "a\\b.png", "a\nb.png", "./x", "a//b.png"])
def test_path_outside_the_payload_is_refused_before_fetching(place, server, name):
    """The error names the row; nothing is written."""
    with pytest.raises(ManifestError, match=r"images\[1\] \(id 1\)"):
        place.fetch(*coco(place, server, {"a.png": png(), name: png()}))
    assert not server.requests
    assert list(place.hashes()) == ["data/train.json"]


def test_read_only_folder_is_one_clear_error(place, server, tmp_path):
    """The error names the folder, and nothing is requested."""
    place.write("a")
    (place.root / "data").mkdir()
    if not mount(place.root / "data", "ro"):
        pytest.skip("a read-only disk can only be mounted by root")
    try:
        with pytest.raises(FetchError, match="can't write here: found Read-only file system"):
            place.fetch(LocalSource(local="a"))
    finally:
        subprocess.run(["umount", "-l", place.root / "data"], check=True)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.workplace import Workplace
from datapack.catalog.sources import CocoSource, LocalSource
sources = LocalSource(local="train.json"), CocoSource(coco="train.json", into="images")
Workplace(Path(sys.argv[2])).fetch(*sources, connections=3)
"""


@pytest.mark.parametrize("after", [2, 17, 31])
def test_kill_loses_only_the_files_in_flight(place, server, after):
    """After a kill, the second run requests only the rest, and no final name has a partial file."""
    images = {f"{number:02}.png": png(64, 64, seed=number) for number in range(40)}
    sources = coco(place, server, images)
    for name, content in images.items():
        server.reply(f"/{name}", Reply(content, seconds=0.03))
    project = Path(__file__).parents[2]
    command = [sys.executable, "-c", SCRIPT, project, place.root]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ""})
    while sum(server.requests.values()) < after:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    asked = sum(server.requests.values())
    whole = {name for name in place.hashes() if ".datapack-" not in name and name.endswith(".png")}
    assert all((place.bag / name).read_bytes() == images[Path(name).name] for name in whole)
    assert len(whole) >= asked - 3 - 8  # those on three connections, and those being checked and synced
    payload = place.fetch(*sources)
    assert sum(server.requests.values()) - asked == 40 - len(whole)
    assert payload.hashes["data/images/07.png"] == hashlib.sha256(images["07.png"]).hexdigest()


def test_list_of_missing_files_has_no_url_of_an_earlier_file(place, server):
    """A downloaded file with its name is replaced, and its URL is forgotten."""
    server.reply("/missing.csv", Reply(b"path\n"))
    place.fetch(UrlSource(url=f"{server.url}/missing.csv"))
    sources = coco(place, server, IMAGES, missing=1)
    server.reply("/02.png", NOT_FOUND)
    payload = place.fetch(*sources)
    assert (place.bag / "data/missing.csv").read_text().startswith("path,url,reason\nimages/02.png,")
    assert "data/missing.csv" not in payload.urls
