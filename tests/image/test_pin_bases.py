"""`make pin`: the digests of the Dockerfiles' bases come from a real registry; nothing else in the files changes."""

import os
import re
import subprocess
import sys

import pytest

from datapack.errors import ImageError, UsageError
from scripts.pin_bases import pin_bases
from tests.conftest import PROJECT

DOCKERFILES = sorted(
    path for path in (PROJECT / "docker").glob("*/Dockerfile") if path.parent.name != "model"
)  # whose base is one of the others
TEXT = '# make pin\nARG A_VERSION="1"\n\nARG BASE="{}"\nFROM ${{BASE}}\nARG BASE\n'


def write(folder, name: str, base: str):
    path = folder / name
    path.write_text(TEXT.format(base))
    return path


def test_each_base_gets_its_digest(registry, pushed, tmp_path):
    """Each Dockerfile's tag gets its current digest, also after the tag moved."""
    names = [f"{registry}/pin/one:1", f"{registry}/pin/two:2"]
    paths = [write(tmp_path, f"{number}", name) for number, name in enumerate(names)]
    digests = [pushed("pin/one:1", "one"), pushed("pin/two:2", "two")]
    for _ in range(2):
        pin_bases(paths, tmp_path / "cache")
        assert [path.read_text() for path in paths] == [
            TEXT.format(f"{name}@{digest}") for name, digest in zip(names, digests, strict=True)
        ]
        digests[1] = pushed("pin/two:2", "moved")


def test_unchanged_base_is_not_written(registry, pushed, tmp_path):
    """The file of an unchanged base is not touched."""
    path = write(tmp_path, "same", f"{registry}/same/tiny:1@{pushed('same/tiny:1')}")
    before = path.stat()
    pin_bases([path], tmp_path / "cache")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_one_missing_base_changes_no_file(registry, pushed, tmp_path):
    """If one registry lacks the image, or has none for linux/amd64, no Dockerfile changes."""
    pushed("half/tiny:1")
    pushed("half/arm:1", architecture="arm64")
    good = write(tmp_path, "good", f"{registry}/half/tiny:1")
    for bad, why in (("half/none:1", "no such manifest"), ("half/arm:1", "no image for linux/amd64")):
        with pytest.raises(ImageError, match=why):
            pin_bases([good, write(tmp_path, "bad", f"{registry}/{bad}")], tmp_path / "cache")
    assert good.read_text() == TEXT.format(f"{registry}/half/tiny:1")


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("FROM docker.io/library/alpine:3\n", ImageError, "names no base: expected one line ARG BASE=.* found 0 such"),
        (TEXT.format("ghcr.io/a:1") * 2, ImageError, "names no base: .* found 2 such lines"),
        (TEXT.format("ghcr.io/a/b"), ImageError, "the base has no tag to look up"),
        (TEXT.format("python:3.12"), UsageError, "'python:3.12': not the name of an image in a registry"),
    ],
)
def test_a_dockerfile_without_a_full_name_is_refused(tmp_path, text, error, why):
    """A base without a full name and a tag gives one clear error line."""
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    with pytest.raises(error, match=why):
        pin_bases([path], tmp_path / "cache")
    assert path.read_text() == text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_every_dockerfile_can_be_pinned(path, registry, pushed, tmp_path):
    """`make pin` works on the project's own Dockerfiles, here with our registry instead of theirs."""
    pushed("every/tiny:1")
    text = re.sub(r'ARG BASE="[^"]*"', f'ARG BASE="{registry}/every/tiny:1"', path.read_text())
    copy = tmp_path / "Dockerfile"
    copy.write_text(text)
    (name,) = pin_bases([copy], tmp_path / "cache").values()
    assert copy.read_text() == text.replace("every/tiny:1", f"every/tiny:1@{name.digest}")


def test_the_script_prints_one_line(registry, pushed, tmp_path):
    """As `make` runs it: one line per Dockerfile, or one error, and never a traceback."""
    digest = pushed("script/tiny:1")
    path = write(tmp_path, "Dockerfile", f"{registry}/script/tiny:1")
    (tmp_path / "datasets.yml").touch()
    for file, status, says in ((path, 0, f"{path}: {registry}/script/tiny:1@{digest}\n"), (tmp_path / "no", 1, "")):
        command = [sys.executable, PROJECT / "scripts" / "pin_bases.py", file]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, says)
        assert done.stderr.startswith("error: ") == bool(status)
        assert "Traceback" not in done.stderr
