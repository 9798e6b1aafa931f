"""Claims: which source provides which file of a payload. Each file comes from exactly one source."""

from __future__ import annotations

from datapack.bag.manifest import check_path
from datapack.errors import FetchError
from datapack.fetch.names import check_name
from datapack.files import TEMPORARY_PREFIX


class Claims:
    """The claimed paths and their claimants."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, path: str, claimant: str) -> None:
        """Claim a path in the payload.

        Raises:
            FetchError: another file has the path, or needs it as a folder; the path is reserved for temporary files; or
                DVC can't keep a file of this name.
            ManifestError: the path is not allowed in a manifest.
        """
        check_path(path, where=claimant)
        check_name(path, where=claimant)
        if TEMPORARY_PREFIX in path and any(part.startswith(TEMPORARY_PREFIX) for part in path.split("/")):
            raise FetchError(
                f"{path}: names that begin with {TEMPORARY_PREFIX} are reserved for datapack", where=claimant
            )
        if other := self._files.get(path):
            raise FetchError(f"two files would be {path}", where=claimant, found=f"the other from {other}")
        if other := self._folders.get(path):
            raise FetchError(f"{path} would be a file and a folder", where=claimant, found=f"the folder from {other}")
        self._add_folders(path, claimant)
        self._files[path] = claimant

    def _add_folders(self, path: str, claimant: str) -> None:
        """Claim the folders of a path, from the innermost on: the folders of a folder that is claimed are too."""
        found = []
        folder = path.rpartition("/")[0]
        while folder and folder not in self._folders:
            if other := self._files.get(folder):
                raise FetchError(
                    f"{folder} would be a file and a folder", where=claimant, found=f"the file from {other}"
                )
            found.append(folder)
            folder = folder.rpartition("/")[0]
        self._folders.update(dict.fromkeys(found, claimant))
