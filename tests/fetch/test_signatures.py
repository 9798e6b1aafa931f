"""A signature in a URL is used for the request, and is written and shown nowhere."""

import json

import pytest

from datapack.catalog.sources import CocoSource, LocalSource, UrlSource
from datapack.errors import FetchError
from tests.servers import Reply, Server, png
from tests.workplace import Workplace

SIGNED = "X-Amz-Credential=AKIA%2Fs3cret&X-Amz-Signature=s3cret"


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server({f"/a.png?v=3&{SIGNED}": Reply(png()), "/b.png?sig=s3cret": Reply(png())}) as running:
        yield running


def written(place):
    """Everything that a fetch leaves behind, except the COCO file itself, whose bytes are the user's."""
    files = [path for path in place.root.rglob("*") if path.is_file() and path.name != "train.json"]
    return b"".join(path.read_bytes() for path in files)


def test_a_signed_url(place, server):
    """The file is fetched with it; fetch.txt has the rest of the URL; the user is told once."""
    payload = place.fetch(UrlSource(url=f"{server.url}/a.png?v=3&{SIGNED}"))
    assert payload.urls == {"data/a.png": f"{server.url}/a.png?v=3"}
    assert b"s3cret" not in written(place)
    assert place.notes == ["a.png: the URL has a signature; it is used for the request, but recorded nowhere"]


def test_a_new_signature_costs_no_new_download(place, server):
    """The URL without it is still the same."""
    place.fetch(UrlSource(url=f"{server.url}/a.png?v=3&{SIGNED}"))
    place.fetch(UrlSource(url=f"{server.url}/a.png?v=3&X-Amz-Signature=another"))
    assert server.requests.total() == 1


def test_a_list_of_signed_urls(place, server):
    """All rows are counted in one note; a file that may be missing is listed without its signature."""
    rows = [
        {"id": number, "file_name": name, "coco_url": f"{server.url}/{name}?sig=s3cret"}
        for number, name in enumerate(("b.png", "gone.png"))
    ]
    place.write("train.json", json.dumps({"images": rows}).encode())
    sources = (LocalSource(local="train.json"), CocoSource(coco="train.json", into="images", missing=1))
    payload = place.fetch(*sources)
    assert payload.urls == {"data/images/b.png": f"{server.url}/b.png"}
    missing = (place.bag / "data" / "missing.csv").read_text()
    assert f"{server.url}/gone.png" in missing
    assert b"s3cret" not in written(place)
    assert [note for note in place.notes if "signature" in note] == [
        "images of train.json: 2 URLs have a signature; it is used for the request, but recorded nowhere"
    ]


def test_a_failure(place, server):
    """Neither the error nor the report shows it, not even if the server repeats the URL."""
    server.reply("/c.png?token=s3cret", Reply(status=302, headers={"Location": f"{server.url}/d.png?token=s3cret"}))
    with pytest.raises(FetchError) as error:
        place.fetch(UrlSource(url=f"{server.url}/c.png?token=s3cret"))
    assert "s3cret" not in str(error.value)
    assert b"s3cret" not in written(place)
