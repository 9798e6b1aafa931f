"""Writing the metadata of a version: a folder beside its image, outside the payload, so that no digest changes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.bag.bagit import Bag, reread_tags
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.errors import BagError
from datapack.files import atomic_writer, check_replaceable, new_folder
from datapack.metadata.answers import CROISSANT, DATACITE, RO_CRATE, Missing, missing_answers
from datapack.metadata.content import read_content
from datapack.metadata.crate_bag import write_crate
from datapack.metadata.croissant import croissant
from datapack.metadata.datacite import datacite
from datapack.metadata.facts import dataset_facts
from datapack.metadata.ro_crate import is_five_safes
from datapack.metadata.sha512 import sha512_lines

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.lock import LockEntry
    from datapack.metadata.facts import DatasetFacts
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_OWNER_ONLY = 0o700
CROISSANT_FILE, DATACITE_FILE, CRATE = "croissant.json", "datacite.json", "crate"
_OURS = frozenset({CROISSANT_FILE, DATACITE_FILE, CRATE})  # what a folder of ours contains


@dataclass(frozen=True)
class WrittenMetadata:
    """Metadata that was written."""

    folder: Path
    facts: DatasetFacts
    files: tuple[str, ...]  # in the folder
    missing: tuple[Missing, ...]  # why other formats were not written
    record_sets: int
    left_out: int  # COCO files and tables that are not described, as there are too many
    verified: bool  # whether every byte of the payload was read

    @property
    def is_complete(self) -> bool:
        """Whether every format was written; the Five Safes profile is no format of its own."""
        return len(self.files) == len(_OURS)

    @property
    def five_safes(self) -> bool:
        """Whether the crate conforms to the Five Safes profile."""
        return CRATE in self.files and is_five_safes(self.facts)


def write_metadata(
    workspace: Workspace, reference: Reference, folder: Path | None = None, *, sha512: bool = False, reporter: Reporter
) -> WrittenMetadata:
    """Write the metadata of a fetched version, in each format whose required answers the catalog gives.

    Args:
        workspace: where the version is; held by the caller.
        reference: the version.
        folder: where to; by default ``dist/<name>-<version>.metadata``.
        sha512: whether the crate has a sha512 manifest of the payload, for which every file is read.
        reporter: shows progress.

    Raises:
        BagError: the version is not on this machine, its bag is damaged, or it is not what the lock says.
        MismatchError: a file that was read differs from the bag's manifest.
        DatapackError: the folder can't be written, or has other files.
    """
    entry, locked = Catalog.read(workspace.catalog).entry(reference), Lock.read(workspace.lock).entries.get(reference)
    bag = _open(workspace, reference, locked)
    folder = folder or workspace.metadata(reference)
    check_replaceable(folder, "metadata", _OURS)
    facts = dataset_facts(entry, bag, locked)
    missing = tuple(missing_answers(facts))
    lacking = {name for each in missing for name in each.formats}
    documents: dict[str, Any] = {}
    left_out = 0
    if CROISSANT not in lacking:
        content = read_content(entry, bag, reporter)
        left_out = content.left_out
        urls = parse_fetch(reread_tags(bag).get(FETCH, b""))
        documents[CROISSANT_FILE] = croissant(facts, content, _path_to(bag, folder, workspace), urls)
    if DATACITE not in lacking:
        documents[DATACITE_FILE] = datacite(facts, is_model=entry.is_model)
    files = [*documents, *([] if RO_CRATE in lacking else [CRATE])]
    if files:
        mode = _OWNER_ONLY if entry.dataset.private else 0o777
        with new_folder(folder, "metadata", _OURS, mode=mode) as part:
            for name, document in documents.items():
                _write(part / name, document)
            if CRATE in files:
                write_crate(part / CRATE, facts, sha512_lines(bag, reporter) if sha512 else None)
    sets = len(documents.get(CROISSANT_FILE, {}).get("recordSet", ()))
    return WrittenMetadata(folder, facts, tuple(files), missing, sets, left_out, sha512 and CRATE in files)


def _open(workspace: Workspace, reference: Reference, locked: LockEntry | None) -> Bag:
    path = workspace.bag(reference)
    if not path.is_dir():
        fix = f"run 'datapack fetch {reference}' first"
        raise BagError("the version is not on this machine, so there is nothing to describe", where=reference, fix=fix)
    bag = Bag.open(path)
    if locked and locked.digest != bag.manifest.digest:
        raise BagError(
            "the bag is not what datasets.lock says",
            where=path,
            expected=locked.digest,
            found=bag.manifest.digest,
            fix=f"run 'datapack fetch {reference}' to see what changed",
        )
    return bag


def _path_to(bag: Bag, folder: Path, workspace: Workspace) -> str:
    """Return the path of the bag from a folder of the workspace; from another place, as if it were the default one."""
    inside = folder.resolve().is_relative_to(workspace.root)
    return os.path.relpath(bag.path, folder.resolve() if inside else workspace.root / "dist" / "metadata")


def _write(path: Path, document: Any) -> None:
    with atomic_writer(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
