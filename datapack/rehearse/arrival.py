"""What a rehearsal left: the dataset that an import container imported, or the files that another program wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.bag.bagit import read_tags
from datapack.bag.manifest import sorted_by_bytes
from datapack.errors import BagError, ManifestError, MismatchError
from datapack.files import read_limited
from datapack.verify import Verified, verify_bag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.rehearse.subject import Dataset

DESTINATION = "/safe_outputs"  # where `import` copies to unless --to says otherwise

_LIMIT = 1 << 20  # bytes of a receipt
_ONLY_PRINTS = {"--list", "--version", "--help"}  # arguments of `import` with which it copies nothing


@dataclass(frozen=True)
class Arrived:
    """A dataset that arrived complete, and the last line of its receipt."""

    verified: Verified
    receipt: str


def imports_nothing(arguments: Iterable[str]) -> bool:
    """Whether an import container with these arguments copies nothing on purpose."""
    return not _ONLY_PRINTS.isdisjoint(arguments)


def verify_arrival(
    dataset: Dataset, arguments: Sequence[str], mounts: Mapping[str, Path], reporter: Reporter
) -> Arrived:
    """Verify every byte of what `import` copied: it must be the dataset that its image names.

    Args:
        dataset: what it must be.
        arguments: those of `import`.
        mounts: the folders of this machine, by their paths in the container.
        reporter: receives the progress.

    Raises:
        MismatchError: it is another, or nothing arrived.
    """
    inside = _destination(arguments)
    folder = _on_this_machine(inside, mounts)
    if folder is None:
        raise MismatchError(
            "nothing arrived", where=dataset.reference, found=f"no folder of this machine was mounted at {inside}"
        )
    bag = folder / dataset.reference.name / dataset.reference.version
    try:
        verified = verify_bag(bag, "full", reporter)
        read_tags(bag)  # `verify_bag` accepts any BagIt bag, `import` leaves only datapack's own form
    except (BagError, ManifestError) as error:  # for the user, a damaged bag is the same as a changed byte
        raise MismatchError(error.what, where=error.where, found=error.found) from error
    if verified.digest != dataset.digest:
        raise MismatchError(
            "this is not the dataset that the image names",
            where=bag,
            expected=dataset.digest,
            found=verified.digest,
        )
    return Arrived(verified, _receipt(bag, dataset, required="--check" not in arguments))


def list_files(folder: Path) -> list[tuple[str, int]]:
    """List every file below a folder, sorted by path, with its size in bytes."""
    found = {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}
    return [(path, found[path]) for path in sorted_by_bytes(found)]


def _destination(arguments: Sequence[str]) -> PurePosixPath:
    """Return the folder that `import` was asked to copy to."""
    named = [value for option, value in pairwise(arguments) if option == "--to"]
    return PurePosixPath(named[-1] if named else DESTINATION)


def _on_this_machine(inside: PurePosixPath, mounts: Mapping[str, Path]) -> Path | None:
    """Return the folder of this machine that was mounted at ``inside``, or None."""
    for point in (inside, *inside.parents):
        if str(point) in mounts:
            return mounts[str(point)] / inside.relative_to(point)
    return None


def _receipt(bag: Path, dataset: Dataset, required: bool) -> str:
    path = bag.with_name(f"{bag.name}.import.txt")
    expected = f"IMPORT OK {dataset.reference} {dataset.digest}"
    here = os.path.lexists(path)  # a container wrote it: it may be a link, or a FIFO
    if not here and not required:
        return expected
    content = read_limited(path, _LIMIT, MismatchError, follow=False) if here else b""
    lines = content.decode(errors="replace").splitlines()
    if lines[-1:] != [expected]:
        raise MismatchError(
            "the receipt does not confirm the import",
            where=path,
            expected=expected,
            found=lines[-1] if lines else "no receipt",
        )
    return expected
