"""What runs the image of a rehearsal: a container engine, or apptainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.rehearse.folders import Folders
    from datapack.rehearse.log import Ended
    from datapack.rehearse.subject import Subject

Mounts = dict[str, tuple[Path, bool]]  # folders here and whether they are read-only, by their path in the container


class Runtime(Protocol):
    """An image, and what runs it."""

    @property
    def subject(self) -> Subject:
        """The image."""

    @property
    def name(self) -> str:
        """What runs it, with its version."""

    @property
    def conditions(self) -> list[str]:
        """What the program gets, or lacks, for the announcement."""

    @property
    def memory(self) -> str:
        """The limit of its memory, such as ``4g``; empty if there is none."""

    def run(self, mounts: Mounts, folders: Folders) -> Ended:
        """Run the image to its end; nothing of it is left, however this ends.

        Raises:
            ImageError: it can't be run.
        """

    def mounted(self) -> Mapping[str, Path]:
        """Return the folders here that the user had mounted beside those of the Safe Haven, by their path inside."""
