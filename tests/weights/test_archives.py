"""The archives of PyTorch, ZIP and TAR: nothing is unpacked, and what is broken or hostile is one line."""

import contextlib
import io
import struct
import zipfile
from random import Random

import numpy as np
import pytest

from datapack.errors import WeightsError
from tests.weights.pickles import (
    Stored,
    dump,
    module,
    safetensors,
    state_dict,
    tensor,
    torch_tar,
    torch_zip,
    two_faces,
    zip_file,
)
from tests.weights.reading import EVIL, ONE, read, refused


def archives():
    value, arrays = state_dict()
    good = torch_zip(value, arrays)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/data.pkl", b"")
    yield good[:-30], "a broken ZIP archive, perhaps cut off"
    yield good[: len(good) // 2], "a broken ZIP archive, perhaps cut off"
    yield twice.getvalue(), "two files 'a/data.pkl'"
    yield zip_file({"a.png": b"x"}), "0 files data.pkl"
    yield zip_file({"a/data.pkl": dump(1), "a/DATA.pkl": dump(EVIL)}), "two files 'a/DATA.pkl'"
    yield zip_file({"a/data.pkl": b"", "b/data.pkl": b""}), "2 files data.pkl"
    yield zip_file({"a/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED), "is compressed"
    yield torch_zip(value, {"0": arrays["0"]}), "without the storage '1'"
    yield torch_zip(value, {**arrays, "1": arrays["1"][:1]}), "the storage of layer.bias is too short"
    yield torch_zip(value, arrays, **{"archive/constants.pkl": b""}), "a TorchScript program, not weights"
    yield zip_file({"a/data.pkl": dump(1), "a/byteorder": b"big"}), "big-endian"
    yield good.replace(b"archive/data/1", b"archive/data/0", 1), None  # the header of a file lies about its name
    yield torch_zip({"w": tensor("../../x", ONE)}, {}, **{"archive/data/../../x": ONE.tobytes()}), None


def test_a_broken_archive(tmp_path):
    """Nothing is unpacked, so names with .. do no harm; every other fault is one line."""
    for content, message in archives():
        if message is None:
            assert read(tmp_path, content).tensors
        else:
            assert message in refused(tmp_path, content)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


def test_an_archive_of_100_000_files(tmp_path):
    """It is read, and only what PyTorch would read of it."""
    content = torch_zip(
        {"w": tensor("0", ONE)}, {"0": ONE}, **{f"archive/x/{number}": b"" for number in range(100_000)}
    )
    assert list(read(tmp_path, content).tensors) == ["w"]


def test_a_list_of_files_that_lies(tmp_path):
    """One of 2 GB is not read."""
    content = torch_zip({"w": tensor("0", ONE)}, {"0": ONE})
    end = content.rindex(b"PK\5\6")
    lie = content[: end + 12] + struct.pack("<II", (2 << 30) - 1, 0) + content[end + 20 :]
    assert "a broken ZIP archive" in refused(tmp_path, lie)


def test_what_pytorch_would_read_otherwise(tmp_path):
    """A file that hides its real pickle from Python's own readers is refused."""
    for message, content in two_faces(EVIL).items():
        assert message in refused(tmp_path, content)
    first = torch_tar({"w": Stored("100")}, [ONE], [ROW]).rstrip(b"\0")
    twice = first.ljust(-(-len(first) // 512) * 512, b"\0") + torch_tar({"w": EVIL}, [ONE], [ROW])
    assert "a TAR archive with two files" in refused(tmp_path, twice)


def test_storages_that_overlap(tmp_path):
    """Many storages that share the bytes of a file can't make it count as larger than it is."""
    large = np.zeros(1000, np.float32)
    content = torch_zip({str(n): tensor(str(n), large) for n in range(3)}, {str(n): large for n in range(3)})
    central = content.index(b"PK\1\2")
    first = central + content[central:].index(b"archive/data/0") - 46
    offset = content[first + 42 : first + 46]
    for key in (b"archive/data/1", b"archive/data/2"):
        at = central + content[central:].index(key) - 46
        content = content[: at + 42] + offset + content[at + 46 :]
    assert "overlap" in refused(tmp_path, content)


ROW = (0, (2, 3), (3, 1), 0)
TARS = [
    (torch_tar({"w": Stored("100")}, [ONE], [ROW])[:2500], "a TAR archive of PyTorch without"),
    (torch_tar({"w": Stored("x")}, [ONE], [ROW]), "no tensor 'x'"),
    (torch_tar({"w": Stored("101")}, [ONE], [ROW]), "no tensor '101'"),
    (torch_tar({"w": Stored("100")}, [ONE], [(5, (2, 3), (3, 1), 0)]), "a tensor without its storage"),
    (torch_tar({"w": Stored("100")}, [ONE], [(0, (2, 4), (3, 1), 0)]), "reaches beyond the end of its storage"),
    (torch_tar({"w": Stored("100")}, [ONE], [(0, (2, -3), (3, 1), 0)]), "are not whole numbers"),
    (torch_tar({"w": Stored("100")}, [ONE], [ROW], [(9, 0, 3, 4)]), "a view that reaches beyond the end"),
    (torch_tar({"w": Stored("100")}, [ONE], [ROW], [(9, 8, 0, 1)]), "a view of a storage that is not there"),
]


@pytest.mark.parametrize(("content", "message"), TARS)
def test_a_broken_archive_of_the_oldest_format(tmp_path, content, message):
    """Keys, views, shapes and places that lie are one line each."""
    assert message in refused(tmp_path, content)


def spoiled(content, numbers):
    """Change, remove or add a few bytes; most of them in the first pickle, if there is one."""
    changed = bytearray(content)
    start = max(0, content.find(b"\x80\2"))
    for _ in range(numbers.choice((1, 1, 2, 5))):
        at = numbers.randrange(start, min(len(changed), start + 2000))
        match numbers.randrange(4):
            case 0:
                changed[at] = numbers.randrange(256)
            case 1:
                del changed[at : at + numbers.choice((1, 2, 8, 100))]
            case 2:
                changed[at:at] = numbers.choice(
                    (b".", b"R", b"b", b"(", b"\x81", b"0", b"2", b"\x86", b"Q", b"e", b"u")
                )
            case 3:
                changed[at:at] = numbers.randbytes(4)
        if len(changed) <= start:
            break
    return bytes(changed)


def test_spoiled_files_are_one_line_each(tmp_path):
    """Whatever happens to a file, the only error is ours: 2,000 changes of sound files of every format."""
    value, arrays = state_dict()
    sound = [
        torch_zip({"model": module("a.B", value), "x": [1, (2.5, "a")], "call": EVIL}, arrays),
        torch_tar({"w": Stored("100")}, [ONE], [ROW]),
        b"".join(map(dump, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"w": tensor("0", ONE)}, ["0"])))
        + struct.pack("<q", 6)
        + ONE.tobytes(),
        safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    ]
    assert [len(read(tmp_path, content).tensors) for content in sound] == [2, 1, 1, 1]
    numbers = Random(1)
    for _ in range(500):
        for content in sound:
            with contextlib.suppress(WeightsError):
                read(tmp_path, spoiled(content, numbers))
