"""Images fuzzed: whatever anyone wrote into one, verify ends soon, with its claim or with one clear line.

``DATAPACK_FUZZ_SECONDS`` says how long each test runs.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import os
import shutil
import struct
import tarfile
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from datapack.errors import DatapackError, shown
from datapack.oci.spec import CONFIG, MANIFEST, Descriptor, canonical_json
from datapack.progress import Silent
from datapack.verify import verify
from tests.verify.forging import Forged, zipped

SECONDS = float(os.environ.get("DATAPACK_FUZZ_SECONDS", "60"))
SLOWEST = 5  # seconds for one image of a few kB, on a busy machine
PARTS = 3  # this time is shared by so many tests
FUZZ = settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS * 3 + 60)]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["sha256:" + "0" * 64, "linux", "DATAPACK_DATASET=reef@v1", "A=b", "../x", "\x1b[2J\n", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)

FIELDS = [(0, 100), (124, 136), (156, 157), (157, 257), (257, 265), (345, 500)]  # name, size, type, link, magic, prefix


class Clock:
    """Ends the examples of a test when its time is over."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS / PARTS
        self.images = self.accepted = 0

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def check(self, forged: Forged, form: str = "oci") -> None:
        """Verify what was fuzzed, in both modes: either it is as datapack would write it, or there is one line."""
        root = forged.layout.root
        for mode in ("quick", "full"):
            started = time.monotonic()
            lines: list[str] = []
            try:
                verify(f"{form}:{root}{'.tar' if form == 'oci-archive' else ''}", root, None, mode, Silent())
                self.accepted += 1
            except DatapackError as error:
                lines = [str(error), *error.details]
            assert all(shown(line) == line for line in lines), lines  # none can pretend to be two
            assert not any("not an image that can be read" in line for line in lines), lines  # each has its own reason
            assert time.monotonic() - started < SLOWEST
        self.images += 1


@pytest.fixture(scope="module")
def image(built_once, tmp_path_factory):
    """A built image that may be changed."""
    root = tmp_path_factory.mktemp("fuzzed") / "image"
    shutil.copytree(built_once.root / "dist/reef-v1", root)
    return root


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in some JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, part in inner for found in _places(part, (*place, key)))]


def _changed(value: Any, place: tuple[Any, ...], new: Any, action: str) -> Any:
    """Return some JSON with one value replaced, removed, repeated or under another key."""
    if not place:
        return new
    value = copy.deepcopy(value)
    *outer, key = place
    target = value
    for step in outer:
        target = target[step]
    if action == "remove":
        del target[key]
    elif action == "repeat" and isinstance(target, list):
        target.insert(key, target[key])
    elif action == "rename" and isinstance(target, dict):
        target[str(new)[:20] if isinstance(new, str) else key.upper()] = target.pop(key)
    else:
        target[key] = new
    return value


def _bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@given(data=st.data())
@FUZZ
def _fuzz_json(image, clock, data):
    forged = Forged.read(image)
    index = forged.layout.index.read_bytes()
    documents = {"config": forged.config, "manifest": forged.manifest, "index": json.loads(index)}
    name = data.draw(st.sampled_from(sorted(documents)))
    place = data.draw(st.sampled_from(_places(documents[name])))
    action = data.draw(st.sampled_from(["replace", "remove", "repeat", "rename"]))
    content = _bytes(_changed(documents[name], place, data.draw(VALUES), action))
    if data.draw(st.booleans()) and data.draw(st.booleans()):
        content = _damaged(data, content)
    try:
        _write_json(forged, name, content)
        clock.check(forged)
    finally:
        forged.layout.index.write_bytes(index)


def _write_json(forged: Forged, name: str, content: bytes) -> None:
    """Write one document that was changed, and whatever names it."""
    if name == "index":
        forged.layout.index.write_bytes(content)
    elif name == "manifest":
        image = forged.put(MANIFEST, content)
        forged.layout.index.write_bytes(canonical_json({"manifests": [image]}))
    else:
        forged.manifest["config"] = forged.put(CONFIG, content)
        forged.write(config=content)


def _damaged(data: st.DataObject, content: bytes) -> bytes:
    """Change, repeat or remove some bytes."""
    if not content:
        return content
    start = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.sampled_from([1, 2, 8, 12, 100, 512]))
    piece = content[start : start + length]
    new = data.draw(
        st.sampled_from([b"", piece * 2, bytes(len(piece)), b"\xff" * len(piece), b"7" * len(piece), piece[::-1]])
        | st.binary(max_size=16)
    )
    return content[:start] + new + content[start + length :]


def _resummed(content: bytes, start: int) -> bytes:
    """Make the checksum of a header right again, so that what was changed in it is looked at."""
    block = bytearray(content[start : start + 512])
    if len(block) < 512:
        return content
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(struct.unpack("512B", block)) & 0o777777)
    return content[:start] + bytes(block) + content[start + 512 :]


def _fuzzed_tar(data: st.DataObject, content: bytes) -> bytes:
    """Change a field of a header, or any bytes."""
    for _ in range(data.draw(st.integers(1, 2))):
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, len(content) // 512)) * 512
            begin, end = data.draw(
                st.sampled_from([(0, 100), (124, 136), (156, 157), (157, 257), (257, 265), (345, 500)])
            )
            new = data.draw(
                st.binary(min_size=0, max_size=end - begin) | st.sampled_from([b"x", b"L", b"K", b"g", b"S", b"5"])
            )
            field = new[: end - begin].ljust(end - begin, b"\0")
            content = content[: start + begin] + field + content[start + end :]
            content = _resummed(content, start)
        else:
            content = _damaged(data, content)
    return content


@given(data=st.data())
@FUZZ
def _fuzz_layer(image, clock, data):
    forged = Forged.read(image)
    index = forged.layout.index.read_bytes()
    number = data.draw(st.integers(0, len(forged.manifest["layers"]) - 1))
    content = _fuzzed_tar(data, forged.layer(number))
    try:
        if number == 0 and data.draw(st.booleans()):  # of the base: compressed, and the damage inside or outside
            forged.replace(0, content)
            blob = zipped(content) if data.draw(st.booleans()) else _damaged(data, zipped(content))
            forged.manifest["layers"][0] = forged.put("application/vnd.oci.image.layer.v1.tar+gzip", blob)
        else:
            forged.replace(number, content)
        forged.write()
        clock.check(forged)
    finally:
        forged.layout.index.write_bytes(index)


@given(data=st.data())
@FUZZ
def _fuzz_archive(image, clock, data):
    path = image.with_suffix(".tar")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(image, ".", filter=lambda member: member)
    path.write_bytes(_fuzzed_tar(data, out.getvalue()))
    clock.check(Forged.read(image), "oci-archive")


@pytest.mark.parametrize("fuzz", [_fuzz_json, _fuzz_layer, _fuzz_archive], ids=["JSON", "layers", "archives"])
def test_any_image_ends_in_a_claim_or_in_one_line(image, fuzz):
    """However an image was changed, verify ends soon, and an error is one line with a reason of its own."""
    clock = Clock()
    for number in itertools.count():
        if clock.is_over:
            break
        seed(number)(fuzz)(image, clock)
    assert clock.images > number


def test_the_fuzzers_start_from_an_image_that_verifies(image):
    """Or they would test nothing."""
    forged = Forged.read(image)
    assert forged.verify().files == 4
    assert Descriptor.of(MANIFEST, canonical_json(forged.manifest)) == forged.layout.image()
