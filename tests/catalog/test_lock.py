"""The lock: it reads back what it wrote, and reports the line of an error."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.catalog.lock import HEADER, Lock, LockedImage, LockEntry
from datapack.errors import CatalogError
from datapack.reference import Reference

REEF, FATHOM = Reference("reef", "v1"), Reference("fathom24", "v1")
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
FETCHED = LockEntry(digest=A, bytes=1234, files=56)
BUILT = replace(
    FETCHED,
    dvc="1" * 32 + ".dir",
    catalog=B,
    base=B,
    parent="v0",
    packing="0*9 1*47",
    images=(LockedImage(C, A, (A, B)),),
)

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
hashes = st.text("0123456789abcdef", min_size=32, max_size=32).map("{}.dir".format)
references = st.builds(
    Reference,
    st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True).filter(lambda text: not text.endswith(".dvc")),
)
maybe = st.none() | digests
entries = st.builds(
    LockEntry,
    digest=digests,
    bytes=st.integers(0, (1 << 63) - 1),
    files=st.integers(0, (1 << 63) - 1),
    dvc=st.none() | hashes,
    catalog=maybe,
    base=maybe,
    parent=st.none() | st.just("v0"),
    packing=st.none() | st.just("0*1") | st.just("0*512 2*1 0*33"),
    images=st.lists(st.builds(LockedImage, digests, digests, st.lists(digests).map(tuple)), max_size=2).map(tuple),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "datasets.lock"


def test_missing_file_is_an_empty_lock(path):
    """Before the first fetch nothing is locked; a file with only comments locks nothing either."""
    assert Lock.read(path) == Lock()
    path.write_text(HEADER)
    assert Lock.read(path) == Lock()


@given(st.dictionaries(references, entries, max_size=4))
@settings(max_examples=25, deadline=None)  # each is synced to the disk
def test_lock_is_read_back_as_written(tmp_path_factory, entries):
    """Any lock survives a write and a read."""
    path = tmp_path_factory.mktemp("lock") / "datasets.lock"
    Lock(entries).write(path)
    assert Lock.read(path) == Lock(entries)


def test_file_format(path):
    """A golden file: sorted versions, one value per line, no unknown values."""
    Lock().with_entry(REEF, FETCHED).with_entry(FATHOM, BUILT).write(path)
    assert path.read_text() == (
        "# Written by datapack: what each version of datasets.yml is. Keep it in git; do not edit it.\n"
        "fathom24@v1:\n"
        f"  digest: {A}\n"
        "  bytes: 1234\n"
        "  files: 56\n"
        "  dvc: 11111111111111111111111111111111.dir\n"
        f"  catalog: {B}\n"
        f"  base: {B}\n"
        "  parent: v0\n"
        "  packing: 0*9 1*47\n"
        "  images:\n"
        f"  - digest: {C}\n"
        f"    id: {A}\n"
        "    layers:\n"
        f"    - {A}\n"
        f"    - {B}\n"
        "reef@v1:\n"
        f"  digest: {A}\n"
        "  bytes: 1234\n"
        "  files: 56\n"
    )
    assert yaml.safe_load(path.read_text())["reef@v1"]["files"] == 56


def test_order_of_entries_does_not_matter(path):
    """The same entries give the same bytes, in whatever order they were added."""
    Lock().with_entry(REEF, FETCHED).with_entry(FATHOM, BUILT).write(path)
    first = path.read_bytes()
    Lock().with_entry(FATHOM, BUILT).with_entry(REEF, FETCHED).write(path)
    assert path.read_bytes() == first


def test_entry_is_added_or_replaced_in_a_new_lock():
    """A lock is a value: the old one does not change."""
    old = Lock().with_entry(REEF, FETCHED)
    new = old.with_entry(REEF, BUILT).with_entry(FATHOM, FETCHED)
    assert old.entries == {REEF: FETCHED}
    assert new.entries == {REEF: BUILT, FATHOM: FETCHED}


def test_failed_write_leaves_the_old_lock(path, monkeypatch):
    """If the disk fails during a write, the old file stays and there is no temporary file."""
    Lock().with_entry(REEF, FETCHED).write(path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        Lock().with_entry(REEF, BUILT).write(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


ENTRY = f"reef@v1:\n  digest: {A}\n  bytes: 1\n  files: 1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY.replace(A, "sha256:abc"), ":2: reef@v1.digest: invalid value: expected sha256:<64 hex digits>, found"),
        (ENTRY.replace("  files: 1\n", ""), ":1: reef@v1: missing key 'files'"),
        (ENTRY.replace("bytes: 1", "bytes: -1"), ":3: reef@v1.bytes: invalid value: expected a number of at least 0"),
        (ENTRY.replace("bytes: 1", "bytes: '1'"), ":3: reef@v1.bytes: invalid value: expected a whole number, found"),
        (ENTRY + "  dvc: abc\n", ":5: reef@v1.dvc: invalid value: expected <32 hex digits>.dir, found 'abc'"),
        (ENTRY + "  packing: 0-9\n", ":5: reef@v1.packing: invalid value: expected a packing, such as 0*512 2*1 0*3"),
        (
            ENTRY + f"  images: [{{digest: {A}, id: {A}, layers: [1]}}]\n",
            ":5: reef@v1.images[0].layers[0]: invalid value: expected text, found the number 1",
        ),
        (ENTRY + "  imaje: x\n", ":5: reef@v1: unknown key 'imaje': expected one of base, bytes, "),
        (ENTRY.replace("reef@v1", "reef"), ":1: not a reference: expected name@version, such as"),
        (ENTRY + ENTRY, ":5: duplicate key reef@v1: found the first one on line 1"),
        ("[]\n", ":1: invalid value: expected keys with values, found an empty list"),
        ("reef@v1:\n", ":1: reef@v1: invalid value: expected keys with values, found nothing"),
        (f"<<<<<<< HEAD\n{ENTRY}=======\n{ENTRY}>>>>>>> other\n", ":1: unresolved merge conflict"),
        ("reef@v1: {digest: \n", "not valid YAML"),
        (ENTRY.replace("bytes: 1", f"bytes: {'9' * 99}"), "bytes: invalid value: expected a number below 922337"),
        (ENTRY + f"  packing: 0*{'9' * 5000}\n", "packing: invalid value: expected a packing, such as 0*512"),
    ],
)  # fmt: skip
def test_invalid_lock_is_refused_by_line(path, text, says):
    """A lock that was edited or merged wrongly is refused in one line that names the place."""
    path.write_text(text)
    with pytest.raises(CatalogError) as error:
        Lock.read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_error_says_where_to_get_the_right_lock(path):
    """Nobody should repair a lock by hand."""
    path.write_text(ENTRY.replace("bytes: 1", "bytes: x"))
    with pytest.raises(CatalogError, match=r"restore the file from git$"):
        Lock.read(path)


def test_an_older_lock_says_what_to_move(path):
    """A lock from before versions could have several images is refused with the place and what to do."""
    path.write_text(
        f"reef@v1:\n  digest: {A}\n  bytes: 1\n  files: 1\n  image: {B}\n  image_id: {C}\n  layers: [{A}]\n"
    )
    with pytest.raises(
        CatalogError, match=r"datasets.lock:5: an older datapack wrote this lock: expected images: .*move"
    ):
        Lock.read(path)


def test_link_that_leads_nowhere_is_not_an_empty_lock(path):
    """Its disk may only be absent for now; without the lock, any data would be accepted."""
    path.symlink_to("/nowhere/datasets.lock")
    with pytest.raises(CatalogError, match=r"datasets\.lock: can't read the file: found No such file"):
        Lock.read(path)
