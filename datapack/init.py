"""Init: start a catalog in a folder, with one example that builds as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.files import atomic_writer
from datapack.workspace import CATALOG

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = "my-dataset"
IGNORED = ("/.datapack/", "/dist/", "*.failures.json", "*.partial/")  # what datapack writes that git should not keep

_CATALOG = f"""\
# The catalog: which datasets there are, and where their files come from. Build one of them with
#
#     datapack build {EXAMPLE}@v1
#
# Keep this file in git, and what datapack writes beside it: datasets.lock and the .dvc files in data/.
# Editors complete and check it with the JSON Schema that ships with datapack: datapack/datasets.schema.json.

defaults:
  # What import containers stand on, pinned by its digest. 'datapack base NAME:TAG' takes another one.
  base: docker.io/library/alpine:3.22.2@sha256:4b7ce07002c69e8f3d704a9c5d6fd3053be500b7f1c69fc0d80990c2ad8dd412
  # Where images are pushed: a registry, and your user or organisation there.
  # registry: ghcr.io/your-namespace
  # At most so many connections to one host.
  connections: 5

datasets:
  {EXAMPLE}:
    title: My dataset, in a few words
    licence: CC0-1.0  # an SPDX expression where there is one: https://spdx.org/licenses
    private: true  # false only where everybody may have the data
    # homepage: https://example.org/my-dataset  # where to read about it
    # publisher: My University  # the organisation that it comes from
    # contact: Jo Data, jo@example.org  # who answers questions about it
    versions:
      v1:
        # The files, from one source or several. A version that people use does not change any more: a change is a v2.
        sources:
          # A file, a folder or a glob beside this file.
          - local: {EXAMPLE}
          # A file from the web, with its sha256, whole or the first digits.
          # - url: https://example.org/labels.csv
          #   sha256: 0123456789abcdef
          # Files of a Kaggle competition, or of a dataset by owner/name.
          # - kaggle: fathomnet2024
          #   files: [train.json]
          # The images that a COCO file from an earlier source names.
          # - coco: train.json
          #   into: images
"""
_README = f"""\
Put the files of your dataset into this folder, in place of this one. They are the payload of {EXAMPLE}@v1.
"""


def init(folder: Path) -> list[Path]:
    """Start a catalog, and return the files that were written.

    The catalog comes last: if something fails before it is there, the same call can be made again.

    Raises:
        UsageError: there is a catalog already.
    """
    catalog = folder / CATALOG
    if os.path.lexists(catalog):
        raise UsageError(
            "there is a catalog here already", where=catalog, fix="edit it, or start one in another folder"
        )
    return [
        path for path in (_ignore(folder / ".gitignore"), _example(folder / EXAMPLE), _write(catalog, _CATALOG)) if path
    ]


def _ignore(path: Path) -> Path | None:
    """Have git ignore what datapack writes; keep every line that is there."""
    present = path.read_text() if path.exists() else ""
    known = {line.strip().strip("/") for line in present.splitlines()}
    missing = [line for line in IGNORED if line.strip("/") not in known]
    if not missing:
        return None
    start = present if present.endswith("\n") or not present else f"{present}\n"
    return _write(path, start + "".join(f"{line}\n" for line in missing))


def _example(folder: Path) -> Path | None:
    """Make the example's folder, unless the user has one of that name."""
    return None if os.path.lexists(folder) else _write(folder / "README.txt", _README)


def _write(path: Path, text: str) -> Path:
    with atomic_writer(path) as file:
        file.write(text.encode())
    return path
