"""`datapack init --ci`: the pipeline of a dataset repository, as files to read, change and keep."""

from __future__ import annotations

import os
from pathlib import Path

from datapack import __version__
from datapack.errors import UsageError
from datapack.files import atomic_writer

#: The services whose pipelines are known.
SERVICES = ("github", "gitlab")
_TEMPLATES = Path(__file__).parent / "templates"
#: What each file of the pipeline is made from.
_COMMON = {
    "ci/review.sh": "review.sh",
    "ci/release.sh": "release.sh",
    "ci/requirements.txt": "requirements.txt",
    "ci/trivy.txt": "trivy.txt",
    "renovate.json": "renovate.json",
}
_PIPELINE = {"github": {".github/workflows/datasets.yml": "github.yml"}, "gitlab": {".gitlab-ci.yml": "gitlab.yml"}}


def pipeline(service: str) -> dict[str, str]:
    """Return the text of each file of a pipeline, by its path in the repository."""
    files = {}
    for path, name in {**_PIPELINE[service], **_COMMON}.items():
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        files[path] = text.replace("@VERSION@", __version__)
    return files


def write_pipeline(folder: Path, service: str) -> list[Path]:
    """Write the files of a pipeline, and return those that were written.

    A file that is there already with the same text stays as it is.

    Raises:
        UsageError: one of the files is there with another text; then nothing is written.
    """
    missing = {path: text for path, text in pipeline(service).items() if not _is_there(folder / path, text)}
    for path, text in missing.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(folder / path) as file:
            file.write(text.encode())
    return [folder / path for path in missing]


def _is_there(path: Path, text: str) -> bool:
    """Whether a file is there with this text; raise `UsageError` if it is there with another one."""
    if not os.path.lexists(path):
        return False
    if path.is_file() and not path.is_symlink() and path.read_bytes() == text.encode():
        return True
    fix = "move it away, run this again, and compare the two"
    raise UsageError("a file of this name is there already, with another text", where=path, fix=fix)
