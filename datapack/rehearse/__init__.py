"""The rehearsal: run an image here as the Safe Haven will run it, and check what it leaves.

`rehearsal.rehearse` does all of it. `options`, `settings` and `flags` read what the user wrote, `folders` makes the
folders on this machine, `container` runs the container, and `arrival` checks what it left.
"""

from datapack.rehearse.container import Log
from datapack.rehearse.options import Options
from datapack.rehearse.rehearsal import Rehearsed, rehearse

__all__ = ["Log", "Options", "Rehearsed", "rehearse"]
