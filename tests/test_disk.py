"""Disk errors and their messages."""

import errno
import os

import pytest

from datapack.errors import FetchError
from datapack.files import check_space, disk_errors


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full: found .* free; make room, then run the same command again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "can't write here: found Read-only file system; work in a folder that you can write to"),
        (errno.EACCES, "can't write here: found Permission denied"),
        (errno.EIO, r"a\.png: can't read or write the file: found Input/output error"),
    ],
)
def test_disk_error_is_one_line_with_what_to_do(tmp_path, number, message):
    """The error names the folder without space or permission, or the file that can't be read."""
    with pytest.raises(FetchError, match=message) as error, disk_errors(tmp_path / "a.png"):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(error.value)


def test_needed_space_is_compared_with_free_space(tmp_path):
    """There is never room for a petabyte, and always for nothing."""
    check_space(tmp_path, 0)
    with pytest.raises(
        FetchError, match=r"not enough space on the disk: expected 1e\+03 TB|expected 1000 TB|expected 1e"
    ):
        check_space(tmp_path, 10**15)
