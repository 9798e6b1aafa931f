"""Reading a COCO file row by row gives what parsing it whole gives, in little memory."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.coco import rows as module
from datapack.coco.rows import START, read_images, read_rows
from datapack.errors import FetchError
from tests.servers import RawServer, png

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
)


def rows(folder, text):
    path = folder / "train.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_images(path))


@settings(deadline=None)
@given(
    images=st.lists(VALUES),
    before=st.dictionaries(st.sampled_from(["info", "licenses", "annotations"]), VALUES),
    after=VALUES,
    indent=st.none() | st.integers(0, 3),
    block=st.sampled_from([1, 2, 7, 1000]),
)
def test_the_rows_are_those_of_the_whole_file(tmp_path_factory, images, before, after, indent, block):
    """Wherever a block ends: in a number, in a letter's escape, between two brackets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        text = json.dumps({**before, "images": images, "after": after}, indent=indent)
        found = rows(tmp_path_factory.mktemp("rows"), text)
    assert json.dumps(found) == json.dumps(images)


@settings(deadline=None)
@given(content=st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES), block=st.sampled_from([1, 7, 1000]))
def test_every_key_and_row_comes_in_its_order(tmp_path_factory, content, block):
    """The rows of all lists and the values of all other keys make up the whole file again, empty lists included."""
    path = tmp_path_factory.mktemp("rows") / "train.json"
    path.write_text(json.dumps(content))
    again = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        for key, position, value in read_rows(path):
            if position == START:
                again[key] = value
            else:
                assert position == len(again[key])
                again[key].append(value)
    assert json.dumps(again) == json.dumps(content)


TEXT = json.dumps({"info": {"a": [1.5e3, '\u00e4\\"']}, "images": [{"id": 1}, {"id": 2}], "z": None}, indent=1)


@settings(deadline=None, max_examples=300)
@given(
    at=st.integers(0, len(TEXT)),
    remove=st.integers(0, 3),
    insert=st.sampled_from([*'{}[],:"\\0-eEn \n', "\x00", "é", "NaN"]),
)
def test_a_damaged_file_is_read_or_refused_as_a_whole(tmp_path_factory, at, remove, insert):
    """Rows come through exactly where Python's own parser accepts the file; otherwise there is one clear line."""
    text = TEXT[:at] + insert + TEXT[at + remove :]
    objects = []  # the keys of each object; the outermost ends last

    def note(pairs):
        objects.append([key for key, _ in pairs])
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=note)
        accepted = isinstance(content, dict) and objects[-1].count("images") == 1
        expected = content["images"] if accepted and isinstance(content["images"], list) else None
    except ValueError:
        expected = None
    folder = tmp_path_factory.mktemp("rows")
    if expected is None:
        with pytest.raises(FetchError, match=r"not a JSON file|not a COCO file"):
            rows(folder, text)
    else:
        assert json.dumps(rows(folder, text)) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file: found the end of the file"),
        ('{"images": [', "not a JSON file: found the end of the file"),
        ('{"images": [{"id": 1}]', "not a JSON file: found the end of the file"),
        ('{"images": [{"id": 1}\n {"id": 2}]}', r"not a JSON file: found line 2: '\{\"id\": 2\}\]\}'"),
        ('{"images": []} x', "not a JSON file: found line 1: 'x'"),
        ('{"images": [], 5: 6}', "not a JSON file"),
        ('{"images": [], "images": []}', "not a COCO file: .* found two of them"),
        ('{"images": [' + "[" * 200_000, "not a JSON file: found lists or objects nested too deeply"),
        ('{"images": [' + "9" * 5000 + "]}", "not a JSON file: found Exceeds the limit"),
        (b'{"images": ["\xff"]}', "not a JSON file: expected UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not a JSON file: expected UTF-8"),
        ('"' + "x" * 3_000_000, "not a JSON file"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_coco_file_is_one_line(tmp_path, text, message):
    """It says where, and shows only the beginning of what is there."""
    with pytest.raises(FetchError, match=message) as error:
        rows(tmp_path, text)
    assert len(str(error.value)) < 400


def test_a_value_has_a_largest_size(tmp_path, monkeypatch):
    """A file that is one endless text is not read into memory."""
    monkeypatch.setattr(module, "_LARGEST", 5_000_000)
    with pytest.raises(FetchError, match="found a value of over 5,000,000 characters"):
        rows(tmp_path, '{"images": ["' + "x" * 30_000_000 + '"]}')


# The largest memory of a process in bytes. getrusage would also count what its parent had when it forked.
PEAK = """
import re
from pathlib import Path
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""

SCRIPT = f"""{PEAK}
import sys
from datapack.coco.rows import START, read_images, read_rows
before = peak()
count = sum(1 for _ in read_images(Path(sys.argv[1])))
print(count, (peak() - before) // 1_000_000)
"""


def test_a_large_file_takes_little_memory(tmp_path):
    """300,000 rows with two boxes each take 20 MB at most, however large the file is."""
    path = tmp_path / "train.json"
    with path.open("w") as out:
        row = '{"id": %d, "file_name": "images/%012d.png", "coco_url": "https://example.org/images/%012d.png"}'
        out.write('{"images": [' + ",".join(row % (n, n, n) for n in range(300_000)))
        box = '{"id": %d, "image_id": %d, "category_id": 3, "bbox": [1.5, 2.5, 100.25, 200.75], "iscrowd": 0}'
        out.write('], "annotations": [' + ",".join(box % (n, n // 2) for n in range(600_000)) + "]}")
    project = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], cwd=project, capture_output=True, text=True, check=True)
    count, megabytes = map(int, done.stdout.split())
    assert count == 300_000
    assert megabytes < 20


FETCH = f"""{PEAK}
import os, sys
from datapack.fetch.dvc import tracking
from datapack.fetch.job import FetchOptions
from datapack.fetch.version import fetch
from datapack.progress import Silent
from datapack.reference import Reference
from datapack.workspace.folder import Workspace
tracking.add = lambda *_: "0" * 32 + ".dir"  # DVC runs in a process of its own
os.fsync = lambda _: None  # a busy disk takes minutes
bag = fetch(Workspace.find(Path(sys.argv[1])), Reference("reef", "v1"), FetchOptions(), Silent())
print(bag.files, peak())
"""


def _send_images(connection):
    """Answer every request with an image, in one packet: two would wait for each other."""
    image = png()
    while connection.recv(1 << 16):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(image), image))


@pytest.mark.timeout(600)
def test_a_fetch_takes_little_memory_per_file(tmp_path):
    """A whole fetch, with the look into its files, takes under two kilobytes per file.

    The more files, the less each takes: 1.8 kB here, 1.2 in the end, as buffers and caches have a largest size.
    """
    few, many = 3_000, 10_000
    with RawServer(_send_images) as server:
        peaks = [_peak_of_fetch(tmp_path / str(count), server.url, count) for count in (few, many)]
    assert (peaks[1] - peaks[0]) / (many - few) < 2000, peaks


def _peak_of_fetch(folder, url, count):
    """Fetch a list of images; return the largest memory of the process in bytes."""
    folder.mkdir()
    row = '{"id": %d, "file_name": "images/%012d.png", "coco_url": "%s/collections/images/%012d.png"}'
    rows = ",".join(row % (n, n, url, n) for n in range(count))
    (folder / "train.json").write_text(f'{{"images": [{rows}]}}')
    version = {
        "sources": [{"local": "train.json"}, {"coco": "train.json", "into": "x", "hosts": [urlsplit(url).netloc]}]
    }
    dataset = {"title": "Reef", "licence": "CC0-1.0", "versions": {"v1": version}}
    catalog = {"defaults": {"base": "oci:base", "registry": "ghcr.io/example"}, "datasets": {"reef": dataset}}
    (folder / "datasets.yml").write_text(json.dumps(catalog))
    project = Path(__file__).parents[2]
    command = [sys.executable, "-c", FETCH, folder]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    files, peak = map(int, done.stdout.split())
    assert files == count + 1
    return peak
