"""The docs in the trainer images: the lines of the Dockerfiles that copy them, on the stand-in base."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from tests.containers.engines import PROJECT, STAND_IN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.engines import Engine

KINDS = ("nv-pyt", "pyt", "piped-pyt", "tf")


def test_any_user_can_read_them(engine: Engine, tmp_path: Path) -> None:
    """The build context has the docs, and a user without a name reads every page, whatever the umask of the clone."""
    (line,) = {
        re.search("^COPY .* build/docs .*$", (PROJECT / "docker" / kind / "Dockerfile").read_text(), re.MULTILINE)[0]  # type: ignore[index]
        for kind in KINDS
    }
    pages = tmp_path / "build" / "docs"
    (pages / "guides").mkdir(parents=True)
    (pages / "index.html").write_text("first\n")
    (pages / "guides" / "index.html").write_text("second\n")
    for path in (pages, *pages.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    shutil.copy(PROJECT / ".dockerignore", tmp_path)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {STAND_IN}\n{line}\n")
    name = "localhost/docs-in-images:test"
    engine.build(dockerfile, tmp_path, name)
    command = "cd /opt/trainers/docs && cat index.html guides/index.html"
    done = engine.run("run", "--rm", "--network=none", "--user=12345:12345", name, "sh", "-c", command)
    assert done.stdout == "first\nsecond\n"
    engine.run("image", "rm", "--force", name)
