"""The start-up time of datapack."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Contender, compare, run
from benchmarks.workplace import DATAPACK, PROJECT
from examples.stand_in_base import build as build_stand_in_base

SMALL = """\
defaults: {base: "oci:base"}
datasets:
  small:
    title: Many small files
    licence: CC0-1.0
    versions: {v1: {sources: [{local: files}]}}
"""


def bench(_count: int, repeats: int) -> None:
    """Show how long ``datapack --help`` takes, and a build of 3,000 unchanged files."""
    here = Path.cwd()
    compare("Start", Contender("datapack --help (target: under 0.1 s)", [*DATAPACK, "--help"], cwd=here), [], repeats)
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        (root / "files").mkdir()
        for number in range(3000):
            (root / "files" / f"{number:05}.txt").write_text(f"{number}\n")
        build_stand_in_base(root / "base")
        (root / "datasets.yml").write_text(SMALL)
        again = Contender(
            "build again, 3,000 files (target: under 1 s)", [*DATAPACK, "build", "small@v1"], cwd=root, env=PROJECT
        )
        run(again)
        compare("Nothing changed", again, [], repeats)
