"""The images of a COCO file: files as they are found in practice, and broken ones."""

import json

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import CocoSource, LocalSource, UrlSource
from datapack.errors import FetchError
from datapack.urls import is_public
from tests.servers import Reply, Server, png
from tests.workplace import Workplace


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server({"/a.png": Reply(png(8, 6)), "/b.png": Reply(png(8, 6, seed=1))}) as running:
        yield running


def fill(place, content, **options):
    """Fetch a COCO file with this content, a string or an object for JSON, and its images."""
    place.write("train.json", (content if isinstance(content, str) else json.dumps(content)).encode())
    fetching = options.pop("fetching", {})
    source = CocoSource(coco="train.json", **{"into": "images", **options})
    return place.fetch(LocalSource(local="train.json"), source, **fetching)


def row(server, name="a.png", **fields):
    return {"id": 1, "file_name": name, "coco_url": f"{server.url}/a.png", **fields}


@pytest.mark.parametrize("image_id", [3, 3.0, 1e3, "three"])
def test_minimal_coco_file_is_enough(place, server, image_id):
    """A row needs only file_name and a URL; the file needs only images."""
    assert "data/images/a.png" in fill(place, {"images": [row(server, id=image_id)]}).hashes


def test_file_may_start_with_a_byte_order_mark(place, server):
    """Some editors on Windows write one."""
    assert "data/images/a.png" in fill(place, "\ufeff" + json.dumps({"images": [row(server)]})).hashes


def test_names_may_have_folders_and_urls_may_have_spaces(place, server):
    """A URL is requested as it is in the file, except that spaces are quoted."""
    server.reply("/Doc%20Ricketts/0861/1.png", Reply(png()))
    quoted = row(server, "a/b/1.png", coco_url=f"{server.url}/Doc%20Ricketts/0861/1.png")
    raw = row(server, "a/b c/ö.png", coco_url=f"{server.url}/Doc Ricketts/0861/1.png")
    payload = fill(place, {"images": [quoted, raw]})
    assert server.requests == {"/Doc%20Ricketts/0861/1.png": 2}
    assert payload.urls["data/images/a/b c/ö.png"] == f"{server.url}/Doc%20Ricketts/0861/1.png"


def test_flickr_url_replaces_a_missing_coco_url(place, server):
    """Some files have only the older key."""
    for number, coco_url in enumerate((None, "")):
        image = row(server, f"{number}.png", coco_url=coco_url, flickr_url=f"{server.url}/b.png")
        assert fill(place, {"images": [image]}).urls[f"data/images/{number}.png"] == f"{server.url}/b.png"


@pytest.mark.parametrize(("width", "height"), [(8, 6), (8.0, 6.0), (None, 6), (None, None)])
def test_sizes_may_be_floats_or_missing(place, server, width, height):
    """A missing size is not checked."""
    assert "data/images/a.png" in fill(place, {"images": [row(server, width=width, height=height)]}).hashes


def test_image_of_another_size_than_its_row_fails(place, server):
    """The row of the COCO file defines the size of the image."""
    with pytest.raises(FetchError, match="an image of 8 x 6 pixels, listed as 1920 x 1080"):
        fill(place, {"images": [row(server, width=1920, height=1080)]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file: found the end of the file, where more is expected"),
        ("[]", "not a COCO file: expected an object with a list 'images'"),
        ("{}", "not a COCO file: expected an object with a list 'images'"),
        ('{"images": {}}', "not a COCO file: expected an object with a list 'images'"),
        ('{"images": [1]}', r"train.json: images\[0\]: the row has no file_name"),
        ('{"images": [{"id": 7}]}', r"train.json: images\[0\] \(id 7\): the row has no file_name"),
        ('{"images": [{"id": 7, "file_name": 5}]}', r"the row has no file_name: expected text, found 5"),
        ('{"images": [{"id": 7, "file_name": "a.png"}]}', r"\(id 7\): the row has no coco_url or flickr_url"),
        (
            '{"images": [{"id": 7, "file_name": "a", "coco_url": "http://x/a", "width": "8", "height": 6}]}',
            r"\(id 7\): invalid image size: expected whole pixels, found \"8\" x 6",
        ),
    ],
)
def test_broken_file_is_one_line_that_names_the_row(place, content, message):
    """Nothing is fetched for a COCO file that has an error."""
    with pytest.raises(FetchError, match=message):
        fill(place, content)


def test_two_rows_with_the_same_name_are_both_named(place, server):
    """This holds even if the rows are identical."""
    both = r"images\[1\] \(id 2\): two files would be images/a.png: found the other from .*images\[0\] \(id 1\)"
    with pytest.raises(FetchError, match=both):
        fill(place, {"images": [row(server), row(server, id=2)]})
    assert not server.requests


def test_url_of_another_scheme_is_a_failure(place, server):
    """A file:// URL is never opened; a list of names may allow the file to be missing."""
    images = {"images": [row(server), row(server, "b.png", coco_url="file:///etc/passwd")]}
    with pytest.raises(FetchError, match="1 of 2 files could not be fetched: found 1 x not an http or https URL"):
        fill(place, images)
    assert "data/images/b.png" not in fill(place, images, missing=["b.png"]).hashes


def test_mirrors_are_tried_in_order(place, server):
    """The longest prefix counts, the original is used only if it is listed, and the bag has the original URL."""
    server.reply("/new/a.png", Reply(png()))
    prefixes = {"http://old.invalid": [f"{server.url}/nowhere", f"{server.url}/new"], "http": [f"{server.url}/x"]}
    with pytest.raises(ValidationError, match="not an http or https URL"):
        CocoSource(coco="train.json", into="images", mirrors=prefixes)
    del prefixes["http"]
    payload = fill(place, {"images": [row(server, coco_url="http://old.invalid/a.png")]}, mirrors=prefixes)
    assert server.requests == {"/nowhere/a.png": 1, "/new/a.png": 1}
    assert payload.urls == {"data/images/a.png": "http://old.invalid/a.png"}


def test_mirror_prefix_ends_at_a_boundary(place, server):
    """http://a.example is not a prefix of http://a.example.evil."""
    images = {"images": [row(server, coco_url=f"{server.url}/a.png")]}
    fill(place, images, mirrors={server.url[:-1]: ["http://nowhere.invalid"]})
    assert server.requests == {"/a.png": 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "169.254.169.254", "0"])
def test_a_row_never_leads_to_a_private_address(place, server, host):
    """A list from elsewhere could make us read what only this machine, its network or its cloud may read."""
    images = {"images": [row(server), row(server, "b.png", coco_url=server.url.replace("127.0.0.1", host) + "/b.png")]}
    named = UrlSource(url=f"{server.url}/b.png", name="named.png")
    place.write("train.json", json.dumps(images).encode())
    sources = (LocalSource(local="train.json"), CocoSource(coco="train.json", into="images"))
    with pytest.raises(FetchError, match="x a private address that the catalog does not name"):
        place.fetch(*sources, is_public=is_public, tries=1)
    if host == "127.0.0.1":
        assert not server.requests
        assert "data/images/b.png" in place.fetch(*sources, named, is_public=is_public).hashes
        return
    with pytest.raises(FetchError, match="1 x a private address that the catalog does not name"):
        place.fetch(*sources, named, is_public=is_public, tries=1)


def test_a_mirror_names_its_hosts(place, server):
    """The way to fetch a list's images from a server in one's own network."""
    images = {"images": [row(server, coco_url="http://images.invalid/a.png")]}
    prefixes = {"http://images.invalid": [server.url]}
    assert "data/images/a.png" in fill(place, images, mirrors=prefixes, fetching={"is_public": is_public}).hashes


@pytest.mark.parametrize(
    ("host", "reachable"),
    [("127.0.0.1:{port}", True), ("127.0.0.1", False), ("127.0.0.1:1", False), ("localhost:{port}", False)],
)
def test_hosts_names_hosts(place, server, host, reachable):
    """A host is named as URLs write it, with its port unless that is the usual one."""
    port = server.url.rpartition(":")[2]
    options = {"hosts": [host.format(port=port)], "fetching": {"is_public": is_public, "tries": 1}}
    if reachable:
        assert "data/images/a.png" in fill(place, {"images": [row(server)]}, **options).hashes
    else:
        line = rf"a private address that the catalog does not.*under 'hosts' of the source: hosts: ..127.0.0.1:{port}"
        with pytest.raises(FetchError, match=line):
            fill(place, {"images": [row(server)]}, **options)


@pytest.mark.parametrize("host", ["http://x.org", "x.org/a", "x.org:", "[::1", "a b", "", "x.org:123456"])
def test_what_is_no_host_is_refused(host):
    """It is neither a URL nor a part of one."""
    with pytest.raises(ValidationError, match="hosts"):
        CocoSource(coco="train.json", into="images", hosts=[host])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file_name": "\ud800.png"}, r"the row has no file_name: expected text, found \"\\ud800.png\""),
        ({"coco_url": "http://x.org/\udc00"}, "the row has no coco_url"),
        ({"width": True, "height": 1}, "invalid image size"),
        ({"width": float("inf"), "height": 1}, "invalid image size"),
        ({"width": float("nan"), "height": 1}, "invalid image size"),
        ({"width": 10**300, "height": 1e308}, "an image of 8 x 6 pixels"),
        ({"id": "x" * 9999, "file_name": None}, "the row has no file_name"),
    ],
    ids=str,
)
def test_odd_values_are_one_line(place, server, fields, message):
    """Half of a character, a truth value, an infinite size."""
    with pytest.raises(FetchError, match=message) as error:
        fill(place, {"images": [row(server, **fields)]})
    assert len(str(error.value)) < 1000


def test_missing_must_name_listed_images(place, server):
    """Otherwise a misspelt name would never be noticed."""
    with pytest.raises(FetchError, match=r"names an image that the COCO file does not list: found images/A.png"):
        fill(place, {"images": [row(server)]}, missing=["A.png"])


def test_coco_file_must_come_from_an_earlier_source(place, server):
    """The error does not depend on what an earlier run left there."""
    fill(place, {"images": [row(server)]})
    with pytest.raises(FetchError, match=r"coco train.json: no such file in the payload"):
        place.fetch(CocoSource(coco="train.json", into="images"))


def test_error_is_about_the_coco_file_that_could_not_be_fetched(place, server):
    """The error names the cause, not its consequence."""
    with pytest.raises(FetchError, match="1 of 1 file could not be fetched: found 1 x 404 Not Found"):
        place.fetch(UrlSource(url=f"{server.url}/train.json"), CocoSource(coco="train.json", into="images"))


@pytest.mark.parametrize("missing", [True, -1, "all", 1.5])
def test_missing_is_fail_or_names_or_a_count(missing):
    """Anything else is refused when the catalog is read."""
    with pytest.raises(ValidationError):
        CocoSource(coco="train.json", into="images", missing=missing)
