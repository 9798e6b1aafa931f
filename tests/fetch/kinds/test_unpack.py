"""Archives whose files take their place in the payload."""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest
import zstandard
from pydantic import ValidationError

from datapack.catalog.sources import LocalSource, UnpackSource
from datapack.errors import FetchError, ManifestError
from datapack.fetch import archives
from datapack.fetch.kinds import unpack
from tests.workplace import Workplace, mount

FILES = {"images/a b.png": b"a" * 5000, "images/ö.png": b"", "labels/日本.csv": b"x,y\n", "top.json": b"{}"}


def make_zip(files=FILES, compression=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_tar(files=FILES, form=tarfile.PAX_FORMAT, extra=()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("./images")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


FORMS = {
    "zip": make_zip(),
    "stored.zip": make_zip(compression=zipfile.ZIP_STORED),
    "bzip2.zip": make_zip(compression=zipfile.ZIP_BZIP2),
    "tar": make_tar(),
    "gnu.tar": make_tar(form=tarfile.GNU_FORMAT),
    "tar.gz": gzip.compress(make_tar()),
    "two.tar.gz": gzip.compress(make_tar()[:3000]) + gzip.compress(make_tar()[3000:]),
    "tar.bz2": bz2.compress(make_tar()),
    "tar.xz": lzma.compress(make_tar()),
    "tar.zst": zstandard.compress(make_tar()),
}


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def fetch(place, content: bytes, **keys):
    """Fetch an archive as a local file named data, and unpack it."""
    place.write("data", content)
    return place.fetch(LocalSource(local="data"), UnpackSource(unpack="data", **keys))


def contents(place) -> dict[str, bytes]:
    top = place.bag / "data"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMS)
def test_files_take_the_place_of_the_archive(place, form):
    """Every form gives the same files, and so the same dataset; the archive itself is not in it."""
    fetch(place, FORMS[form])
    assert contents(place) == FILES


def test_archive_stays_where_the_catalog_says_so(place):
    """Of two sources that unpack an archive, one that keeps it is enough."""
    place.write("data.zip", FORMS["zip"])
    sources = [UnpackSource(unpack="data.zip", into="x", keep=True), UnpackSource(unpack="data.zip", into="y")]
    place.fetch(LocalSource(local="data.zip"), *sources)
    copies = {f"{top}/{name}": content for top in "xy" for name, content in FILES.items()}
    assert contents(place) == {"data.zip": FORMS["zip"], **copies}


def test_one_folder_of_an_archive(place):
    """The folder's own name is left out, `into` takes its place."""
    fetch(place, FORMS["tar.gz"], folder="images", into="train")
    assert set(contents(place)) == {"train/a b.png", "train/ö.png"}
    with pytest.raises(FetchError, match=r"the archive has no folder image: found images, labels, top.json"):
        fetch(place, FORMS["tar.gz"], folder="image")


def test_exclude_applies_to_the_names_in_the_archive(place):
    """What is excluded need not be safe: nothing of it is written."""
    bad = make_tar(extra=[entry("images/link", tarfile.SYMTYPE, "/etc/passwd")])
    fetch(place, bad, exclude=("labels", "images/link"))
    assert set(contents(place)) == {"images/a b.png", "images/ö.png", "top.json"}
    with pytest.raises(FetchError, match="'exclude' leaves out every file"):
        fetch(place, FORMS["zip"], exclude=("*",))


def test_several_archives_by_a_pattern(place):
    """A pattern is one of `exclude`: without a slash it matches names in any folder."""
    place.write("parts/1.zip", make_zip({"a": b"1"}))
    place.write("parts/2.tar", make_tar({"b": b"2"}))
    place.write("parts/3.zip", make_zip({"c": b"3"}))
    place.fetch(LocalSource(local="parts", into="parts"), UnpackSource(unpack="*.zip"))
    assert set(contents(place)) == {"a", "c", "parts/2.tar"}
    with pytest.raises(FetchError, match=r"unpack \*.rar: no such file in the payload; list the source"):
        place.fetch(LocalSource(local="parts"), UnpackSource(unpack="*.rar"))


@pytest.mark.parametrize("path", ["data.zip", "sub/data.zip"])
def test_archive_that_no_earlier_source_fetched_is_an_error(place, path):
    """The order of the sources counts."""
    place.write("data.zip", FORMS["zip"])
    with pytest.raises(FetchError, match=f"unpack {path}: no such file in the payload"):
        place.fetch(UnpackSource(unpack=path), LocalSource(local="data.zip"))


@pytest.mark.parametrize("path", ["", "/data.zip", "../data.zip", "*/../x", "a\nb"])
def test_path_that_no_payload_has_is_refused(path):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError):
        UnpackSource(unpack=path)


def zip_with(name: str, content: bytes = b"x", **fields) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        for key, value in fields.items():
            setattr(info, key, value)
        archive.writestr(info, content)
    return out.getvalue()


def encrypted() -> bytes:
    content = bytearray(zip_with("secret.png"))
    content[6] |= 1  # the flag in the local header
    content[content.index(b"PK\1\2") + 8] |= 1  # and in the directory
    return bytes(content)


def overlapping() -> bytes:
    """An archive of one member's bytes and a directory that names them many times."""
    one = zip_with("0.bin", bytes(1000))
    start, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    records = b"".join(one[start:end].replace(b"0.bin", f"{number}.bin".encode()) for number in range(9))
    return one[:start] + records + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, len(records), start, 0)


def bomb(packed: bytes, total: int) -> bytes:
    """An archive that announces far more than it could hold."""
    content = bytearray(packed)
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, total)
    return bytes(content)


BAD = {
    "parent in zip": (lambda: make_zip({"../evil": b""}), "unpack data.*is not allowed"),
    "parent in tar": (lambda: make_tar({"a/../../evil": b""}), "unpack data.*is not allowed"),
    "absolute in zip": (lambda: make_zip({"/etc/evil": b""}), "unpack data.*is not allowed"),
    "absolute in tar": (lambda: make_tar(extra=[entry("/etc/evil", tarfile.REGTYPE)]), "unpack data.*is not allowed"),
    "backslash": (lambda: make_zip({"a\\b": b""}), "unpack data.*is not allowed"),
    "control": (lambda: make_tar({"a\x1b[2Kb": b""}), "unpack data.*is not allowed"),
    "zero byte": (lambda: make_zip({"a.pngX../b": b""}).replace(b"pngX", b"png\0"), "has a zero byte"),
    "dvc": (lambda: make_zip({"a.dvc": b""}), "can't be in a dataset"),
    "symlink in zip": (lambda: zip_with("l", external_attr=(stat.S_IFLNK | 0o777) << 16), "l is a symbolic link"),
    "symlink in tar": (lambda: make_tar(extra=[entry("l", tarfile.SYMTYPE, "/etc")]), "l is a symbolic link"),
    "hard link": (lambda: make_tar(extra=[entry("l", tarfile.LNKTYPE, "top.json")]), "l is a hard link"),
    "device": (lambda: make_tar(extra=[entry("d", tarfile.CHRTYPE)]), "d is a device"),
    "fifo": (lambda: make_tar(extra=[entry("p", tarfile.FIFOTYPE)]), "p is a FIFO"),
    "duplicate in tar": (lambda: make_tar() + make_tar(), "something follows its end"),
    "twice in tar": (lambda: make_tar(extra=[entry("top.json", tarfile.REGTYPE)]), "two files of the archive have one"),
    "case": (lambda: make_zip({"A.png": b"", "a.png": b""}), "same name on macOS and Windows"),
    "file and folder": (lambda: make_zip({"a": b"", "a/b": b""}), "would be a file and a folder"),
    "the archive's own name": (lambda: make_zip({"data": b""}), "two files would be data"),
    "encrypted": (encrypted, "secret.png is an encrypted file"),
    "lzma": (lambda: make_zip(compression=zipfile.ZIP_LZMA), "unusual compression"),
    "overlap": (overlapping, "overlaps with other parts"),
    "huge": (lambda: bomb(make_zip(), 2 << 30), "a zip bomb"),
    "wrong size": (lambda: bomb(make_zip({"a": b"abc"}), 2), "can't unpack the archive.*CRC"),
    "sparse": (lambda: make_tar(extra=[entry("s", tarfile.GNUTYPE_SPARSE)]), "sparse"),
    "cut zip": (lambda: make_zip()[:-30], "cut off"),
    "cut tar": (lambda: make_tar()[:2000], "cut off"),
    "cut at a header": (lambda: make_tar({"a": b"x" * 512, "b": b"x"})[:1536], "cut off"),
    "cut gzip": (lambda: gzip.compress(make_tar())[:-100], "can't unpack the archive"),
    "cut xz": (lambda: lzma.compress(make_tar())[:-40], "cut off"),
    "cut bz2": (lambda: bz2.compress(make_tar())[:-40], "cut off"),
    "damaged gzip": (lambda: gzip.compress(make_tar())[:-8] + b"12345678", "can't unpack the archive.*CRC"),
    "damaged bz2": (lambda: bz2.compress(make_tar())[:60] + b"garbage" * 9, "can't unpack the archive"),
    "damaged zst": (lambda: zstandard.compress(make_tar())[:-20] + bytes(20), "can't unpack the archive"),
    "garbage after": (lambda: gzip.compress(make_tar()) + b"garbage", "can't unpack the archive"),
    "text": (lambda: b"<html>not an archive</html>" * 50, "neither a zip nor a tar archive"),
    "empty file": (lambda: b"", "cut off"),
    "empty zip": (lambda: make_zip({}), "the archive holds no files"),
    "empty tar": (lambda: make_tar({}), "the archive holds no files"),
    "directory beyond the file": (
        lambda: make_zip()[:-10] + struct.pack("<L", 1 << 30) + make_zip()[-6:],
        "its directory has",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_archive_is_one_line_and_writes_nothing(place, fault):
    """Whatever an archive holds: one clear line that names it, and not a byte outside or half of a file."""
    make, message = BAD[fault]
    with pytest.raises((FetchError, ManifestError), match=message) as caught:
        fetch(place, make())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("unpack data")
    assert set(place.hashes()) <= {"data/data", *(f"data/{name}" for name in FILES)}
    assert not [path for path in place.root.rglob("*") if path.name.startswith((".datapack-", "evil"))]


def test_bomb_is_stopped_early(place, monkeypatch):
    """What an archive becomes counts, not what it says."""
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 1 << 20)
    for pack in (bz2.compress, lzma.compress):
        with pytest.raises(FetchError, match="a zip bomb"):
            fetch(place, pack(make_tar({"zeros": bytes(8 << 20)})))


def test_xz_that_wants_much_memory_is_refused(place, monkeypatch):
    """A small archive can ask for 4 GB of memory."""
    monkeypatch.setattr(archives, "_XZ_MEMORY", 1 << 20)
    with pytest.raises(FetchError, match=r"can't unpack the archive.*emory"):
        fetch(place, FORMS["tar.xz"])


def test_too_many_entries_are_refused(place, monkeypatch):
    """A million is the limit; a smaller one stands for it here."""
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    for form in ("zip", "tar"):
        with pytest.raises(FetchError, match="more than 3 files"):
            fetch(place, FORMS[form])


def test_full_disk_is_found_before_anything_is_written(place, tmp_path):
    """The files of a version must fit beside their archive."""
    (tmp_path / "data").mkdir()
    if not mount(tmp_path / "data", "size=1m"):
        pytest.skip("a small disk can only be mounted by root")
    try:
        with pytest.raises(FetchError, match=r"not enough space on the disk|the size of the disk"):
            fetch(place, make_zip({str(number): bytes(400_000) for number in range(5)}))
        assert set(place.hashes()) == {"data/data"}
    finally:
        subprocess.run(["umount", "-l", tmp_path / "data"], check=True)


def with_names(names: list[bytes]) -> bytes:
    """Return a zip whose members have these names, byte by byte."""
    stand_ins = {bytes([ord("A") + number]) * len(name): name for number, name in enumerate(names)}
    content = make_zip({stand_in.decode(): b"x" for stand_in in stand_ins})
    for stand_in, name in stand_ins.items():
        content = content.replace(stand_in, name)
    return content


def test_names_of_old_and_new_programs(place):
    """Without the flag, a name is UTF-8 where it can be, else CP437; every version of Python agrees."""
    fetch(place, with_names(["näme.png".encode("cp437"), "übung.png".encode(), b"plain.png"]))
    assert set(contents(place)) == {"näme.png", "übung.png", "plain.png"}


def test_unicode_path_field_counts_if_it_is_of_this_name(place):
    """Info-ZIP writes the name a second time; a CRC says whether it still belongs to the first."""
    good = struct.pack("<HHBL", 0x7075, 5 + len("ä".encode()), 1, zlib.crc32(b"a_")) + "ä".encode()
    stale = struct.pack("<HHBL", 0x7075, 5 + 1, 1, zlib.crc32(b"other")) + b"c"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, extra in (("a_", good), ("b_", stale)):
            info = zipfile.ZipInfo(name)
            info.extra = extra
            archive.writestr(info, b"x")
    fetch(place, out.getvalue())
    assert set(contents(place)) == {"ä", "b_"}


def test_zip64_is_read(place):
    """Members, offsets or counts beyond the old limits are in other records."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.bin", "w", force_zip64=True) as file:
        file.write(b"x" * 1000)
    fetch(place, out.getvalue())
    assert set(contents(place)) == {"a.bin"}
    many = {f"{number % 66}/{number}": b"" for number in range(66_000)}
    assert len(fetch(place, make_zip(many), folder="7").hashes) == 1000


def test_nested_archive_stays_packed_and_is_named(place):
    """A later source can unpack it."""
    content = make_zip({"inner.zip": make_zip({"a": b"1"})})
    fetch(place, content)
    assert place.notes == ["unpack data: 1 archive in it stays packed, such as inner.zip"]
    place.fetch(LocalSource(local="data"), UnpackSource(unpack="data"), UnpackSource(unpack="inner.zip"))
    assert contents(place) == {"a": b"1"}


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_second_run_unpacks_only_what_is_missing(place, form, monkeypatch):
    """A killed run has files of the archive already; their hashes are known by the archive's own."""
    first = fetch(place, FORMS[form])
    (place.bag / "data/top.json").unlink()
    (place.bag / "data/images/a b.png").write_bytes(b"b" * 5000)  # somebody else's bytes
    written = []
    publish = unpack._publish

    def spy(batch, advance):
        written.extend(file.member for file in batch)
        return publish(batch, advance)

    monkeypatch.setattr(unpack, "_publish", spy)
    assert fetch(place, FORMS[form]) == first
    assert sorted(written) == ["images/a b.png", "top.json"]


def test_file_of_another_archive_is_not_taken_for_this_ones(place):
    """Same name, same size: only the hash that this archive's file has counts."""
    fetch(place, make_zip({"a": b"one"}))
    fetch(place, make_zip({"a": b"two"}))
    assert contents(place) == {"a": b"two"}


def test_build_of_unpacked_data(catalog):
    """The bag and the image hold the files and not their archive."""
    file = catalog.root / "datasets.yml"
    (catalog.root / "source/data.zip").write_bytes(FORMS["zip"])
    file.write_text(file.read_text() + "          - {unpack: data.zip, into: x}\n")
    output = catalog.ok("build", "reef@v1")
    assert "dataset" in output
    names = re.findall(r"  (data/x/.*)", (catalog.root / "data/reef/v1/manifest-sha256.txt").read_text())
    assert sorted(names) == sorted(f"data/x/{name}" for name in FILES)
    assert "data.zip" not in (catalog.root / "data/reef/v1/manifest-sha256.txt").read_text()
    assert not (catalog.root / "data/reef/v1/data/data.zip").exists()
    assert catalog.leftovers() == []


def test_mode_bits_and_times_of_an_archive_do_not_count(place):
    """A set-user-ID program in an archive becomes a plain file."""
    fetch(place, zip_with("run", external_attr=(stat.S_IFREG | 0o6777) << 16))
    assert stat.S_IMODE((place.bag / "data/run").stat().st_mode) & ~0o644 & ~os.umask(0o022) == 0
