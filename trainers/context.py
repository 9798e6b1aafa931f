"""The context of a run: its folders, its process, its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.log import Log
    from trainers.process import Place


@dataclass(frozen=True)
class RunContext:
    """The folders of a run, the place of this process in it, and its log."""

    base: Path  # the folder of the configuration: its relative paths start here
    outputs: Path
    scratch: Path
    place: Place
    log: Log
