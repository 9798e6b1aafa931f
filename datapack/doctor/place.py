"""Where datapack runs: the folder, and its workspace and catalog if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import DatapackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.catalog.lock import Lock
    from datapack.catalog.model import Catalog, Entry
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Place:
    """What the checks look at. Outside a workspace, and where its files can't be read, there is less."""

    folder: Path
    workspace: Workspace | None = None
    catalog: Catalog | None = None
    lock: Lock | None = None
    error: DatapackError | None = None  # why what is there can't be read

    @classmethod
    def of(cls, folder: Path) -> Place:
        """Find out what is in a folder."""
        workspace = catalog = lock = error = None
        try:
            from datapack.workspace.folder import Workspace

            workspace = Workspace.find(folder)
            from datapack.catalog.lock import Lock
            from datapack.catalog.model import Catalog

            catalog = Catalog.read(workspace.catalog)
            lock = Lock.read(workspace.lock)
        except DatapackError as found:
            error = found if workspace else None  # otherwise there is no datasets.yml
        except OSError as found:
            what, fix = found.strerror or type(found).__name__, "check its owner and permissions"
            error = DatapackError(what, where=found.filename, fix=fix)
        except ImportError as found:
            error = DatapackError(f"not read: {found}", where=workspace and workspace.catalog)
        return cls(folder, workspace, catalog, lock, error)

    @property
    def root(self) -> Path:
        """The folder of the catalog, or the folder itself where there is none."""
        return self.workspace.root if self.workspace else self.folder

    def entries(self) -> Iterator[tuple[Entry, bool]]:
        """Yield each version in the catalog, and whether its bag is here."""
        if self.catalog and self.workspace:
            for entry in self.catalog.entries():
                yield entry, self.workspace.bag(entry.reference).is_dir()
