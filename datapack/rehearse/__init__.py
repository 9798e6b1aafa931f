"""The rehearsal: an image is run here as the Safe Haven will run it, and what came out is looked at.

`rehearsal.rehearse` is all of it. What people write is read by `settings` and `flags`, the folders on this machine are
those of `folders`, the container that of `container`, and `arrival` says what it left.
"""

from datapack.rehearse.container import Log
from datapack.rehearse.rehearsal import Options, Rehearsed, rehearse

__all__ = ["Log", "Options", "Rehearsed", "rehearse"]
