"""A folder with a catalog of pictures that a web server of this machine serves: where most benchmarks take place."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.measure import Contender, run
from benchmarks.pictures import write_pictures
from benchmarks.servers import nginx
from examples.stand_in_base import build as build_stand_in_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Write = Callable[[Path, int, str], None]

DATAPACK = [sys.executable, "-m", "datapack"]
PROJECT = {"PYTHONPATH": str(Path(__file__).parents[1])}

CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example, connections: 5}
datasets:
  noise:
    title: Pictures that do not compress
    licence: CC0-1.0
    versions:
      v1:
        sources:
          - local: list.json
          - coco: list.json
            into: images
"""


class Workplace:
    """A folder with a catalog, a base, and as many pictures as asked for that a local nginx serves."""

    def __init__(self, root: Path, address: str, served: Path, pictures: int, write: Write) -> None:
        self.root = root
        root.mkdir()
        write(served, pictures, address)
        shutil.copy(served / "list.json", root)
        (root / "datasets.yml").write_text(CATALOG)
        build_stand_in_base(root / "base")

    @property
    def bag(self) -> Path:
        return self.root / "data/noise/v1"

    def datapack(self, name: str, *arguments: str, before: Callable[[], object] = lambda: None) -> Contender:
        return Contender(name, [*DATAPACK, *arguments], before, self.root, PROJECT)

    def fetch(self) -> None:
        run(self.datapack("datapack fetch", "fetch", "noise@v1"))


@contextmanager
def workplace(pictures: int, write: Write = write_pictures) -> Iterator[Workplace]:
    """Make a workplace in a temporary folder, with nginx in front of the pictures that ``write`` makes."""
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        served = Path(folder) / "served"
        served.mkdir()
        with nginx(served) as address:
            yield Workplace(Path(folder) / "catalog", address, served, pictures, write)
