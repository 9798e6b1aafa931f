"""Atomic file writes."""

import os

import pytest

from datapack.files import TEMPORARY_PREFIX, WriteBehind, atomic_writer, remove_temporaries, sync, temporary_file


def test_file_gets_its_name_only_when_it_is_complete(tmp_path):
    """During the write, the name is free or has the old content."""
    path = tmp_path / "deep" / "a"
    with atomic_writer(path) as file:
        file.write(b"one")
        assert not path.exists()
    with atomic_writer(path) as file:
        file.write(b"two")
        file.flush()
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"


def test_failed_write_leaves_nothing(tmp_path):
    """An error during the write leaves the old content and no temporary file."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with pytest.raises(TypeError), atomic_writer(path) as file:
        file.write("not bytes")
    assert path.read_bytes() == b"one"
    assert [left.name for left in tmp_path.iterdir()] == ["a"]


def test_mode_follows_the_umask(tmp_path):
    """A file gets the same mode as other files of the process."""
    former = os.umask(0o027)
    try:
        with atomic_writer(tmp_path / "a") as file:
            file.write(b"")
    finally:
        os.umask(former)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    """Only temporary files are removed."""
    (tmp_path / f"{TEMPORARY_PREFIX}123").write_bytes(b"half")
    (tmp_path / "mine").write_bytes(b"whole")
    remove_temporaries(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == ["mine"]


def test_write_behind_writes_the_same_bytes(tmp_path):
    """A large write gives the same bytes, also from the middle of a file."""
    blocks = [os.urandom(5 << 20) for _ in range(9)]
    with temporary_file(tmp_path) as (file, temporary):
        file.write(b"header")
        out = WriteBehind(file)
        assert [out.write(block) for block in blocks] == [5 << 20] * 9
        sync(file)
        assert temporary.read_bytes() == b"header" + b"".join(blocks)
