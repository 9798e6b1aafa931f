"""The starter catalog: `datasets.yml` and an example dataset that builds without any edit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from datapack.errors import CatalogError, UsageError
from datapack.files import atomic_writer, read_limited
from datapack.workspace.folder import CATALOG

if TYPE_CHECKING:
    from pathlib import Path


EXAMPLE = "my-dataset"
IGNORED = ("/.datapack/", "/dist/", "*.failures.json", "*.partial/")  # what datapack writes and git should not track
_LIMIT = 4 << 20  # bytes of a .gitignore
_CATALOG = f"""\
# The catalog: your datasets, and where their files come from. To build one:
#
#     datapack build {EXAMPLE}@v1
#
# Keep this file in git, together with two things that datapack writes: datasets.lock and the .dvc files in data/.
# Editors can complete and check this file with the JSON Schema that ships with datapack:
# datapack/catalog/datasets.schema.json.

defaults:
  # The base image of import containers, pinned by digest. 'datapack base NAME:TAG' pins another one.
  base: docker.io/library/alpine:3.22.2@sha256:4b7ce07002c69e8f3d704a9c5d6fd3053be500b7f1c69fc0d80990c2ad8dd412
  # Where images are pushed: a registry, and your user or organisation there.
  # registry: ghcr.io/your-namespace
  # Connections per host, at most.
  connections: 5
  # For the record that governance keeps ('datapack ingress'): the answers for all datasets, or a dataset's own below.
  # projects: [eidf123]  # the projects that may use the data
  # retention: {{period: 3 years, reason: the data agreement}}  # or until: 2029-12-31

datasets:
  {EXAMPLE}:
    title: My dataset, in a few words
    licence: CC0-1.0  # an SPDX expression if there is one: https://spdx.org/licenses
    private: true  # false only if anyone may have the data
    # homepage: https://example.org/my-dataset  # where to read about it
    # publisher: My University  # the organisation that publishes it
    # contact: Jo Data, jo@example.org  # who answers questions about it
    # description: What the dataset contains, in a few sentences.
    # owner: My University, data-office@example.org  # who decides on its use
    # purpose: What the data is needed for in the Safe Haven.
    versions:
      v1:
        # Where the files come from: one source or several. Do not change a version that people use: add a v2.
        sources:
          # A file, a folder or a glob beside this catalog.
          - local: {EXAMPLE}
          # A file from the web, with its sha256: in full, or its first 8 or more digits.
          # - url: https://example.org/labels.csv
          #   sha256: 0123456789abcdef
          # Files of a Kaggle competition, or of a Kaggle dataset (owner/name).
          # - kaggle: fathomnet2024
          #   files: [train.json]
          # The images listed in a COCO file that an earlier source provides.
          # - coco: train.json
          #   into: images
"""
_README = f"""\
Replace this file with the files of your dataset: they become the payload of {EXAMPLE}@v1.
"""


def init(folder: Path) -> list[Path]:
    """Write a starter catalog with its example, and return the files that were written.

    The catalog is written last: after a failure, the same call can run again.

    Raises:
        UsageError: the folder has a catalog already, or can't be one.
    """
    for part in (folder, *folder.parents):
        if os.path.lexists(part) and not part.is_dir():
            raise UsageError("not a folder", where=part, fix="choose another folder")
    catalog = folder / CATALOG
    if os.path.lexists(catalog):
        raise UsageError("a catalog already exists", where=catalog, fix="edit it, or start one in another folder")
    return [
        path for path in (_ignore(folder / ".gitignore"), _example(folder / EXAMPLE), _write(catalog, _CATALOG)) if path
    ]


def _ignore(path: Path) -> Path | None:
    """Make git ignore what datapack writes; keep every existing line."""
    content = read_limited(path, _LIMIT, CatalogError) if os.path.lexists(path) else b""
    present = content.decode(errors="surrogateescape")
    known = {line.strip().strip("/") for line in present.splitlines()}
    missing = [line for line in IGNORED if line.strip("/") not in known]
    if not missing:
        return None
    start = present if present.endswith("\n") or not present else f"{present}\n"
    return _write(path, start + "".join(f"{line}\n" for line in missing))


def _example(folder: Path) -> Path | None:
    """Write the example dataset, unless the user has a folder of that name."""
    return None if os.path.lexists(folder) else _write(folder / "README.txt", _README)


def _write(path: Path, text: str) -> Path:
    with atomic_writer(path) as file:
        file.write(text.encode(errors="surrogateescape"))
    return path
