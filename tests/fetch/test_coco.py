"""The images of a COCO file: the files in the wild, and those that are broken."""

import json

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import CocoSource, LocalSource, UrlSource
from datapack.errors import FetchError
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
    """Fill a payload from a COCO file with this content, text or what becomes JSON."""
    place.write("train.json", (content if isinstance(content, str) else json.dumps(content)).encode())
    return place.fetch(LocalSource(local="train.json"), CocoSource(coco="train.json", **{"into": "images", **options}))


def row(server, name="a.png", **fields):
    return {"id": 1, "file_name": name, "coco_url": f"{server.url}/a.png", **fields}


@pytest.mark.parametrize("image_id", [3, 3.0, 1e3, "three"])
def test_files_without_info_with_other_ids_and_without_annotations_are_read(place, server, image_id):
    """Only file_name and an address are needed of a row, only images of a file."""
    assert "data/images/a.png" in fill(place, {"images": [row(server, id=image_id)]}).hashes


def test_a_file_may_begin_with_a_byte_order_mark(place, server):
    """Some editors on Windows write one."""
    assert "data/images/a.png" in fill(place, "\ufeff" + json.dumps({"images": [row(server)]})).hashes


def test_names_may_have_folders_and_addresses_quoted_or_raw_spaces(place, server):
    """An address goes out as it is in the file, except that a raw space can't be sent."""
    server.reply("/Doc%20Ricketts/0861/1.png", Reply(png()))
    quoted = row(server, "a/b/1.png", coco_url=f"{server.url}/Doc%20Ricketts/0861/1.png")
    raw = row(server, "a/b c/ö.png", coco_url=f"{server.url}/Doc Ricketts/0861/1.png")
    payload = fill(place, {"images": [quoted, raw]})
    assert server.asked == {"/Doc%20Ricketts/0861/1.png": 2}
    assert payload.urls["data/images/a/b c/ö.png"] == f"{server.url}/Doc%20Ricketts/0861/1.png"


def test_flickr_url_stands_in_for_a_missing_coco_url(place, server):
    """Some files have only the older key."""
    for number, coco_url in enumerate((None, "")):
        image = row(server, f"{number}.png", coco_url=coco_url, flickr_url=f"{server.url}/b.png")
        assert fill(place, {"images": [image]}).urls[f"data/images/{number}.png"] == f"{server.url}/b.png"


@pytest.mark.parametrize(("width", "height"), [(8, 6), (8.0, 6.0), (None, 6), (None, None)])
def test_sizes_may_be_floats_or_absent(place, server, width, height):
    """A size that is not there is not checked."""
    assert "data/images/a.png" in fill(place, {"images": [row(server, width=width, height=height)]}).hashes


def test_an_image_of_another_size_than_its_row_says_fails(place, server):
    """The row is the list's word on what the picture is."""
    with pytest.raises(FetchError, match="an image of 8 x 6 pixels, listed as 1920 x 1080"):
        fill(place, {"images": [row(server, width=1920, height=1080)]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file: found Expecting property name"),
        ("[]", "not a COCO file: expected an object with a list 'images'"),
        ("{}", "not a COCO file: expected an object with a list 'images'"),
        ('{"images": {}}', "not a COCO file: expected an object with a list 'images'"),
        ('{"images": [1]}', r"train.json: images\[0\]: the row has no file_name"),
        ('{"images": [{"id": 7}]}', r"train.json: images\[0\] \(id 7\): the row has no file_name"),
        ('{"images": [{"id": 7, "file_name": 5}]}', r"the row has no file_name: expected text, found 5"),
        ('{"images": [{"id": 7, "file_name": "a.png"}]}', r"\(id 7\): the row has no coco_url or flickr_url"),
        (
            '{"images": [{"id": 7, "file_name": "a", "coco_url": "http://x/a", "width": "8", "height": 6}]}',
            r"\(id 7\): not an image's size: expected whole pixels, found \"8\" x 6",
        ),
    ],
)
def test_a_broken_file_is_one_line_that_names_the_row(place, content, message):
    """Nothing is fetched for a list that can't be trusted."""
    with pytest.raises(FetchError, match=message):
        fill(place, content)


def test_two_rows_with_one_name_are_both_named(place, server):
    """Also if they are the same in everything."""
    both = r"images\[1\] \(id 2\): two files would be images/a.png: found the other from .*images\[0\] \(id 1\)"
    with pytest.raises(FetchError, match=both):
        fill(place, {"images": [row(server), row(server, id=2)]})
    assert not server.asked


def test_an_address_that_is_no_web_address_is_a_failure(place, server):
    """A file:// address is never opened; a list of names may allow it."""
    images = {"images": [row(server), row(server, "b.png", coco_url="file:///etc/passwd")]}
    with pytest.raises(FetchError, match="1 of 2 files could not be fetched: found 1 x not an http or https URL"):
        fill(place, images)
    assert "data/images/b.png" not in fill(place, images, missing=["b.png"]).hashes


def test_mirrors_are_tried_in_their_order_and_the_origin_stays(place, server):
    """The longest prefix counts, the original is asked only where it is listed, the bag says what the list says."""
    server.reply("/new/a.png", Reply(png()))
    prefixes = {"http://old.invalid": [f"{server.url}/nowhere", f"{server.url}/new"], "http": [f"{server.url}/x"]}
    with pytest.raises(ValidationError, match="not an http or https URL"):
        CocoSource(coco="train.json", into="images", mirrors=prefixes)
    del prefixes["http"]
    payload = fill(place, {"images": [row(server, coco_url="http://old.invalid/a.png")]}, mirrors=prefixes)
    assert server.asked == {"/nowhere/a.png": 1, "/new/a.png": 1}
    assert payload.urls == {"data/images/a.png": "http://old.invalid/a.png"}


def test_a_mirror_stands_for_whole_parts_of_an_address_only(place, server):
    """http://a.example is no prefix of http://a.example.evil."""
    images = {"images": [row(server, coco_url=f"{server.url}/a.png")]}
    fill(place, images, mirrors={server.url[:-1]: ["http://nowhere.invalid"]})
    assert server.asked == {"/a.png": 1}


def test_missing_may_not_name_what_the_file_does_not(place, server):
    """A misspelt name would otherwise go unseen for ever."""
    with pytest.raises(FetchError, match=r"names an image that the COCO file does not list: found images/A.png"):
        fill(place, {"images": [row(server)]}, missing=["A.png"])


def test_a_coco_file_that_no_source_brought_is_said_so(place, server):
    """Also if an earlier run left one there."""
    fill(place, {"images": [row(server)]})
    with pytest.raises(FetchError, match=r"coco train.json: no such file in the payload"):
        place.fetch(CocoSource(coco="train.json", into="images"))


def test_a_coco_file_that_could_not_be_fetched_is_what_the_error_is_about(place, server):
    """The cause is reported, not what came of it."""
    with pytest.raises(FetchError, match="1 of 1 files could not be fetched: found 1 x 404 Not Found"):
        place.fetch(UrlSource(url=f"{server.url}/train.json"), CocoSource(coco="train.json", into="images"))


@pytest.mark.parametrize("missing", [True, -1, "all", 1.5])
def test_missing_is_fail_or_names_or_a_number(missing):
    """Anything else is refused where the catalog is read."""
    with pytest.raises(ValidationError):
        CocoSource(coco="train.json", into="images", missing=missing)
