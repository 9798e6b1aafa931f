"""Claims: which source provides which file of a payload. Each file comes from exactly one source."""

from __future__ import annotations

from pathlib import PurePosixPath

from datapack.bag.manifest import check_path
from datapack.errors import FetchError
from datapack.files import TEMPORARY_PREFIX


class Claims:
    """The claimed paths and their claimants."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, path: str, claimant: str) -> None:
        """Claim a path in the payload.

        Raises:
            FetchError: another file has the path, or needs it as a folder; or the path is reserved for temporary files.
            ManifestError: the path is not allowed in a manifest.
        """
        check_path(path, where=claimant)
        folders = [str(folder) for folder in PurePosixPath(path).parents][:-1]
        if any(part.startswith(TEMPORARY_PREFIX) for part in path.split("/")):
            raise FetchError(
                f"{path}: names that begin with {TEMPORARY_PREFIX} are reserved for datapack", where=claimant
            )
        if other := self._files.get(path):
            raise FetchError(f"two files would be {path}", where=claimant, found=f"the other from {other}")
        if other := self._folders.get(path):
            raise FetchError(f"{path} would be a file and a folder", where=claimant, found=f"the folder from {other}")
        if clash := next((folder for folder in folders if folder in self._files), None):
            other = self._files[clash]
            raise FetchError(f"{clash} would be a file and a folder", where=claimant, found=f"the file from {other}")
        self._files[path] = claimant
        for folder in folders:
            self._folders.setdefault(folder, claimant)
