"""Check 10,744 images of a bag of the form of Fathom24: rows, sizes and boxes like its, but small files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.deriving import LISTS, write_sea
from benchmarks.measure import Contender, compare, run
from benchmarks.workplace import DATAPACK, PROJECT


def bench(count: int, repeats: int) -> None:
    """Show how long ``datapack check`` takes, and that a fetch of unchanged data does not check again."""
    del count  # the claim is about the number of images that Fathom24 has
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        write_sea(root)
        run(Contender("fetch", [*DATAPACK, "fetch", "sea@whole"], cwd=root, env=PROJECT))
        # The files are smaller than the list says, which is a finding: the status of `check` says so.
        line = f"{' '.join(DATAPACK)} check sea@whole || test $? = 1"
        check = Contender("datapack check", ["sh", "-c", line], cwd=root, env=PROJECT)
        report = Contender("datapack report", [*DATAPACK, "report", "sea@whole"], cwd=root, env=PROJECT)
        again = Contender("datapack fetch, nothing changed", [*DATAPACK, "fetch", "sea@whole"], cwd=root, env=PROJECT)
        others = [(report, "under 20 s"), (again, "for comparison")]
        compare(f"Check {sum(LISTS.values()):,} images: under 20 s", check, others, repeats)
