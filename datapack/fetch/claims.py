"""Claims: which source provides which file of a payload. Each file comes from exactly one source."""

from __future__ import annotations

from datapack.bag.manifest import check_path
from datapack.bag.names import folded
from datapack.errors import FetchError
from datapack.fetch.names import check_name
from datapack.files import TEMPORARY_PREFIX


class Claims:
    """The claimed paths and their claimants."""

    def __init__(self, *, similar_names: bool = False) -> None:
        self.similar_names = similar_names  # whether names may differ only in case or in Unicode form
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._spellings: dict[str, str] = {}  # each path that is not folded, by its folded form

    def add(self, path: str, claimant: str) -> None:
        """Claim a path in the payload.

        Raises:
            FetchError: another file has the path or a similar one, or needs it as a folder; the path is reserved for
                temporary files; or DVC can't keep a file of this name.
            ManifestError: the path is not allowed in a manifest.
        """
        check_path(path, where=claimant)
        check_name(path, where=claimant)
        if TEMPORARY_PREFIX in path and any(part.startswith(TEMPORARY_PREFIX) for part in path.split("/")):
            raise FetchError(
                f"{path}: names that begin with {TEMPORARY_PREFIX} are reserved for datapack", where=claimant
            )
        if other := self._files.get(path):
            fix = "leave one of them out with 'exclude', or put it into another folder with 'into'"
            raise FetchError(f"two files would be {path}", where=claimant, found=f"the other from {other}", fix=fix)
        if other := self._folders.get(path):
            raise FetchError(f"{path} would be a file and a folder", where=claimant, found=f"the folder from {other}")
        self._add_folders(path, claimant)
        self._check_spelling(path, claimant)
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
            self._check_spelling(folder, claimant)
            found.append(folder)
            folder = folder.rpartition("/")[0]
        self._folders.update(dict.fromkeys(found, claimant))

    def _check_spelling(self, path: str, claimant: str) -> None:
        """Refuse a path that is the same name as another on macOS and Windows, unless that is allowed."""
        if self.similar_names:
            return
        form = folded(path)
        other = self._spellings.get(form) if form == path else self._spellings.setdefault(form, path)
        if form != path and (form in self._files or form in self._folders):
            other = form
        if other in {None, path}:
            return
        raise FetchError(
            f"{path!a} and {other!a} are the same name on macOS and Windows",
            where=claimant,
            fix="rename one of them, or give the version 'similar_names: true'",
        )
