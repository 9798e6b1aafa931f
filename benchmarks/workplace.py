"""A workspace for most benchmarks: a catalog of images from a web server on this machine."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.images import write_images
from benchmarks.measure import Contender, run
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
    title: Images that do not compress
    licence: CC0-1.0
    versions:
      v1:
        sources:
          - local: list.json
          - coco: list.json
            into: images
            hosts: ["HOST"]
"""


class Workplace:
    """A folder with a catalog and a base, whose images a local nginx serves."""

    def __init__(self, root: Path, url: str, served: Path, count: int, write: Write) -> None:
        self.root = root
        self.count = count
        root.mkdir()
        write(served, count, url)
        shutil.copy(served / "list.json", root)
        (root / "datasets.yml").write_text(CATALOG.replace("HOST", urlsplit(url).netloc))
        build_stand_in_base(root / "base")

    @property
    def bag(self) -> Path:
        return self.root / "data/noise/v1"

    def datapack(self, name: str, *arguments: str, before: Callable[[], object] = lambda: None) -> Contender:
        return Contender(name, [*DATAPACK, *arguments], before, self.root, PROJECT)

    def fetch(self) -> None:
        run(self.datapack("datapack fetch", "fetch", "noise@v1"))


@contextmanager
def workplace(count: int, write: Write = write_images) -> Iterator[Workplace]:
    """Make a workplace in a temporary folder, with nginx serving the images that ``write`` makes."""
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        served = Path(folder) / "served"
        served.mkdir()
        with nginx(served) as url:
            yield Workplace(Path(folder) / "catalog", url, served, count, write)
