"""The lists of packages with hashes: which files of a package `make lock` lists."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

FITTING = (
    "pkg-1.0-py3-none-any.whl",
    "pkg-1.0-py2.py3-none-any.whl",
    "pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "pkg-1.0-cp313-cp313-manylinux_2_28_x86_64.whl",
    "pkg-1.0-cp39-abi3-manylinux_2_34_x86_64.whl",
    "pkg-1.0-py3-none-manylinux_2_27_x86_64.whl",
)
OTHERS = (
    "pkg-1.0.tar.gz",
    "pkg-1.1-py3-none-any.whl",
    "pkg-1.0-py2-none-any.whl",
    "pkg-1.0-cp310-cp310-manylinux_2_17_x86_64.whl",
    "pkg-1.0-cp312-cp312-manylinux_2_17_aarch64.whl",
    "pkg-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
    "pkg-1.0-cp312-cp312-macosx_11_0_arm64.whl",
    "pkg-1.0-cp312-cp312-win_amd64.whl",
    "pkg-1.0-cp314-cp314-manylinux_2_28_x86_64.whl",
    "pkg-1.0-py3-none-manylinux_2_99_x86_64.whl",
    "not a wheel.whl",
)


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(PROJECT / "scripts")
    import lock

    return lock


def test_only_wheels_that_fit_a_base_are_listed(lock) -> None:
    """Wheels for CPython 3.11 to 3.13 on Linux and x86_64 are listed, and no sources."""
    assert [name for name in FITTING if not lock.fits(name, "1.0")] == []
    assert [name for name in OTHERS if lock.fits(name, "1.0")] == []


def test_a_withdrawn_file_is_not_listed(lock) -> None:
    """A version whose files are withdrawn, or has none that fits, ends with one line."""
    files = [{"filename": FITTING[0], "hashes": {"sha256": "b"}}, {"filename": FITTING[2], "hashes": {"sha256": "a"}}]
    assert lock.hashes("pkg", "1.0", files) == ["a", "b"]
    with pytest.raises(SystemExit, match="no wheel for the bases, or a withdrawn one"):
        lock.hashes("pkg", "1.0", [{**file, "yanked": "broken"} for file in files])


def test_pip_refuses_a_file_with_another_hash(tmp_path: Path) -> None:
    """With the flags of the images, a wheel that was changed is not installed."""
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    code = (
        "import sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1], 'w') as z:\n"
        "    z.writestr('pkg.py', '')\n"
        "    z.writestr('pkg-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: pkg\\nVersion: 1.0\\n')\n"
        "    z.writestr('pkg-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
        "    z.writestr('pkg-1.0.dist-info/RECORD', '')\n"
    )
    subprocess.run([sys.executable, "-c", code, wheel], check=True)
    listed = tmp_path / "list.txt"
    listed.write_text(f"pkg==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    flags = ["--require-hashes", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--no-index", "--isolated"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--find-links", tmp_path, "--target", tmp_path / "to"]
    done = subprocess.run([*command, "-r", listed], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "to" / "pkg.py").exists()
