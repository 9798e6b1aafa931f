"""Fetch the model of a finished training: verified files, and what the training itself recorded about the model.

Only the model, the record and the evaluation are taken. The checkpoint is for going on with the training, and the
report, the predictions and the log can say more of the data than may leave the place where it was trained.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.listing import is_folder
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError, ManifestError
from datapack.fetch.context import SourceResult
from datapack.fetch.kinds.local import fetch_local
from datapack.fetch.models.run_record import EVALUATION, MODEL, OLD_MODEL, RECORD, check_outcome, run_facts
from datapack.fetch.payload import payload_path
from datapack.files import disk_errors
from datapack.hashing import hash_files

if TYPE_CHECKING:
    from datapack.catalog.sources import RunSource
    from datapack.fetch.context import FetchContext

TAKEN = (MODEL, RECORD, EVALUATION)  # all that leaves the place where it was trained
_RUN = "the folder of a finished training, with model.safetensors, run.json and manifest-sha256.txt"


def fetch_run(source: RunSource, context: FetchContext) -> SourceResult:
    """Copy the model of a run and its record; every file of the run must be what its manifest says."""
    folder = Path(os.path.normpath(context.catalog_folder / source.run))
    with disk_errors(folder):
        manifest = _open(source, folder)
        taken = [name for name in TAKEN if name in manifest.hashes and not context.excluded.match(name)]
        if left_out := [name for name in (MODEL, RECORD) if name not in taken]:
            what = f"'exclude' leaves out {left_out[0]}, which a model needs"
            raise FetchError(what, where=source.label)
        _verify_others(source, folder, manifest, taken, context)
    paths = {name: payload_path(source.into, name) for name in taken}
    for name, path in paths.items():
        fetch_local(LocalSource(local=f"{source.run}/{name}", into=source.into, outside=source.outside), context)
        if context.payload.hashes[path] != manifest.hashes[name]:
            raise _changed(source, [name])
    return SourceResult(model=run_facts(context.payload.folder, paths, source.label))


def _open(source: RunSource, folder: Path) -> Manifest:
    """Return the manifest of a run that ended well and has a model."""
    if not is_folder(folder):
        found = "a link" if folder.is_symlink() else "a file" if folder.exists() else "nothing there"
        raise FetchError("no such folder", where=source.label, expected=_RUN, found=found)
    if not (folder / RECORD).exists():
        raise FetchError("a folder that is not a run", where=source.label, expected=_RUN, found=f"no {RECORD} in it")
    check_outcome(folder / RECORD, source.label)
    if not (folder / MANIFEST).exists():
        fix = "copy the whole folder, or wait until the job has ended"
        raise FetchError(f"the run has no {MANIFEST}, so it can't be verified", where=source.label, fix=fix)
    try:
        manifest = Manifest.read(folder)
    except ManifestError as error:
        raise FetchError("the manifest of the run can't be used", where=source.label, found=error) from error
    if MODEL not in manifest.hashes:
        old = OLD_MODEL in manifest.hashes
        raise FetchError(
            f"the run has no {MODEL}",
            where=source.label,
            found=f"a {OLD_MODEL} of older trainers" if old else None,
            fix="train again: a model of these trainers can't run code" if old else "choose a run of 'train'",
        )
    return manifest


def _verify_others(
    source: RunSource, folder: Path, manifest: Manifest, taken: list[str], context: FetchContext
) -> None:
    """Verify the files that are not copied; those that are copied are verified on the way."""
    present = {entry.name: entry for entry in os.scandir(folder)}
    if missing := [name for name in manifest.hashes if name not in present]:
        fix = "copy the whole folder again"
        raise FetchError("files of the run are missing", where=source.label, found=", ".join(missing), fix=fix)
    extra = sorted(name for name, entry in present.items() if name != MANIFEST and name not in manifest.hashes)
    if extra:
        fix = "remove what does not belong to the run, or copy the run again"
        raise FetchError("its manifest does not name every file", where=source.label, found=", ".join(extra), fix=fix)
    if irregular := sorted(name for name, entry in present.items() if not entry.is_file(follow_symlinks=False)):
        found = ", ".join(irregular)
        raise FetchError("not a regular file", where=source.label, found=found, fix="copy the run with its files")
    others = [name for name in manifest.hashes if name not in taken]
    total = sum(present[name].stat().st_size for name in others)
    with context.reporter.progress(f"checking {source.run}", total, "B") as advance:
        hashed = hash_files(folder, others, advance=advance)
        changed = [name for name, sha256 in hashed if sha256 != manifest.hashes[name]]
    if changed:
        raise _changed(source, changed)


def _changed(source: RunSource, names: list[str]) -> FetchError:
    fix = "copy the run again from where it was trained"
    return FetchError(
        "the run is not what its manifest says", where=source.label, found=f"changed: {', '.join(names)}", fix=fix
    )
