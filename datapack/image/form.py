"""The form of datapack's own layers, read back from an image: bit for bit what `datapack.image.layers` writes.

The names, the sizes and the bytes of the files decide about every byte of such a layer. So whatever else is in one,
such as a link, a whiteout or a name in another spelling, is not datapack's, and an engine could make anything of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from datapack.bag.bagit import DECLARATION, INFO, TAG_MANIFEST
from datapack.bag.fetch_txt import FETCH
from datapack.bag.manifest import MANIFEST, PAYLOAD, check_path
from datapack.errors import ManifestError
from datapack.image.layers import END, FILE_MODE, FOLDER_MODE, Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.oci.tar import Entry, TarReader

TAG_FILES = frozenset({DECLARATION, INFO, MANIFEST, FETCH, TAG_MANIFEST})
Part = Literal["data", "tags"]
_NAMED = 5  # problems of one layer that are named


@dataclass
class LayerForm:
    """Reads one layer and gathers what datapack would not have written."""

    part: Part  # what the layer carries
    folder: str  # where the bag is in the image, without slashes around it
    problems: list[str] = field(default_factory=list)
    _last: bytes = b""
    _folders: set[str] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)  # folders with something in them

    def files(self, archive: TarReader) -> Iterator[tuple[str, Entry]]:
        """Yield each file with its path below the bag, if it has the right form; raise `TarError` for a broken archive.

        Between two files, the content of the first may be read from the archive.
        """
        for entry in archive:
            name = f"{entry.name}/" if entry.is_folder else entry.name
            reason = self._reason(entry, name)
            if reason:
                self._add(f"contains {entry.name!a}, which datapack would not write: {reason}")
            elif entry.is_file:
                yield name.removeprefix(f"{self.folder}/"), entry
        if not self._last:
            self._add("is empty, which datapack would not write")
        if unused := sorted(self._folders - self._used):
            self._add(f"contains {unused[0]!a}, which datapack would not write: an empty folder")
        if archive.rest(len(END)) != END[: len(END) // 2]:
            self._add("does not end as datapack would end it")

    def check_padding(self, archive: TarReader, entry: Entry) -> None:
        """Check the bytes between a file's content, which was just read, and the next header."""
        if any(archive.padding()):
            self._add(f"has bytes behind {entry.name!a}, which datapack would not write")

    def _add(self, problem: str) -> None:
        if len(self.problems) < _NAMED:
            self.problems.append(problem)

    def _reason(self, entry: Entry, name: str) -> str:
        """Say why an entry is not datapack's; an empty string if it is."""
        if not (entry.is_file or entry.is_folder):
            return entry.kind
        try:
            check_path(f"{name}x" if entry.is_folder else name)  # a folder is checked as part of a path
            expected = Member(name, *((FILE_MODE, entry.size, "", b"") if entry.is_file else (FOLDER_MODE,))).header()
        except ManifestError as error:
            return f"its name has {error.found}"
        except ValueError:
            return "its name is not UTF-8"
        if not self._belongs(entry, name):
            return "not a file of the dataset"
        if entry.header != expected:
            return "its header says more than the name and the size"
        return self._misplaced(name)

    def _belongs(self, entry: Entry, name: str) -> bool:
        if entry.is_folder and f"{self.folder}/".startswith(name):
            return True
        path = name.removeprefix(f"{self.folder}/")
        return path != name and (path.startswith(f"{PAYLOAD}/") if self.part == "data" else path in TAG_FILES)

    def _misplaced(self, name: str) -> str:
        """Say what is wrong with an entry's place: names are sorted, and each folder is there before what is in it."""
        encoded = name.encode()
        if encoded <= self._last:
            return "there twice, or out of order"
        self._last = encoded
        parent = name.removesuffix("/").rpartition("/")[0]
        if parent and f"{parent}/" not in self._folders:
            return "its parent folder is missing"
        self._used.add(f"{parent}/")
        if name.endswith("/"):
            self._folders.add(name)
        return ""
