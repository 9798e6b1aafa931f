"""The rehearsal: run an image here as the Safe Haven will run it, and check what it leaves.

`rehearsal.rehearse` does all of it. `options`, `settings` and `flags` read what the user wrote, `folders` makes the
folders on this machine, and `arrival` checks what was left there. A `runtime` runs the image: `engine`, in a
`container` of Docker or Podman, or `apptainer`.
"""

from datapack.rehearse.log import Log
from datapack.rehearse.options import Options
from datapack.rehearse.rehearsal import Rehearsed, rehearse

__all__ = ["Log", "Options", "Rehearsed", "rehearse"]
