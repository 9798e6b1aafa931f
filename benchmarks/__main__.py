"""``make bench``: every comparison that the project makes a claim about, with its ratio.

python -m benchmarks [build] [fetch] [verify] [memory] [start] [simulate] [--repeats N] [--pictures N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import simulate
from benchmarks.measure import Contender, compare, remove, run
from benchmarks.pictures import write_pictures
from benchmarks.servers import nginx
from examples.stand_in_base import build as build_stand_in_base
from tests.containers.engines import Engine, docker, podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATAPACK = [sys.executable, "-m", "datapack"]
PROJECT = {"PYTHONPATH": str(Path(__file__).parents[1])}

CATALOG = """\
defaults: {{base: "oci:base", registry: ghcr.io/example, connections: 5}}
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
    """A folder with a catalog, a base, and ``pictures`` pictures that a local nginx serves."""

    def __init__(self, root: Path, address: str, served: Path, pictures: int) -> None:
        self.root, self.pictures = root, pictures
        root.mkdir()
        write_pictures(served, pictures, address)
        shutil.copy(served / "list.json", root)
        (root / "datasets.yml").write_text(CATALOG.format())
        build_stand_in_base(root / "base")

    @property
    def bag(self) -> Path:
        return self.root / "data/noise/v1"

    def datapack(self, name: str, *arguments: str, before: Callable[[], object] = lambda: None) -> Contender:
        return Contender(name, [*DATAPACK, *arguments], before, self.root, PROJECT)

    def fetch(self) -> None:
        run(self.datapack("datapack fetch", "fetch", "noise@v1"))


@contextmanager
def workplace(pictures: int) -> Iterator[Workplace]:
    """Make a workplace in a temporary folder, with nginx in front of its pictures."""
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        served = Path(folder) / "served"
        served.mkdir()
        with nginx(served) as address:
            yield Workplace(Path(folder) / "catalog", address, served, pictures)


def bench_build(place: Workplace, repeats: int) -> None:
    """Compare ``datapack build`` with the engines' own builds of the same files, and with the least work there is."""
    place.fetch()
    context = place.bag
    (context.parent / "Dockerfile").write_text("FROM scratch\nCOPY . /dataset\n")
    build = Path(place.root / "dist")
    with ExitStack() as stack:
        engines = []
        for start, ratio in ((docker, 5), (podman, 8)):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True)))
            engine = stack.enter_context(start(folder, place.root / "base"))
            engines.append((_engine_build(engine, context), f"at least {ratio} x"))
        compare(
            f"Build an image of {place.pictures} pictures that are in the bag already",
            place.datapack("datapack build --to oci:", "build", "noise@v1", before=lambda: remove(build)),
            [
                *engines,
                (
                    Contender(
                        "cat | openssl sha256, then cat > file; sync",
                        [
                            "sh",
                            "-c",
                            "cat data/images/* | openssl dgst -sha256; cat data/images/* > ../one && sync -d ../one",
                        ],
                        lambda: remove(place.bag.parent / "one"),
                        place.bag,
                    ),
                    "at least 0.67 x (we take at most 1.5 x this)",
                ),
                (
                    Contender(
                        "the same without sync",
                        ["sh", "-c", "cat data/images/* | openssl dgst -sha256; cat data/images/* > ../one"],
                        lambda: remove(place.bag.parent / "one"),
                        place.bag,
                    ),
                    "at least 0.67 x (we sync all the same)",
                ),
                (place.datapack("datapack build, nothing changed", "build", "noise@v1"), "under 1 s"),
            ],
            repeats,
        )


def _engine_build(engine: Engine, context: Path) -> Contender:
    """Have an engine build an image of a folder, each time from nothing."""
    name = {"docker": "docker build (BuildKit)", "podman": "podman build"}[engine.name]
    command = [*engine.command, "build", "--no-cache", "-q", "-f", "../Dockerfile", "."]
    return Contender(name, command, lambda: engine.run("system", "prune", "-af"), context, dict(engine.environment))


def bench_fetch(place: Workplace, repeats: int) -> None:
    """Compare ``datapack fetch`` with ``aria2c`` on as many connections. DVC is left out: it is a step of its own."""
    images = json.loads((place.root / "list.json").read_bytes())["images"]
    addresses = place.root / "addresses.txt"
    addresses.write_text("".join(f"{row['coco_url']}\n" for row in images))
    loot = place.root / "loot"
    fetch_only = (
        "import sys; from datapack import versioning; versioning.add = lambda *_: '0' * 32 + '.dir';"
        "versioning.tracked_hash = lambda _: None;"
        "from datapack.cli import main; sys.exit(main(['fetch', 'noise@v1']))"
    )

    def forget() -> None:
        for path in ("data", ".datapack", "datasets.lock"):
            remove(place.root / path)

    compare(
        f"Fetch {place.pictures} pictures of 2 MB from a local nginx, 5 connections",
        Contender(
            "datapack fetch (hashed, checked, synced)", [sys.executable, "-c", fetch_only], forget, place.root, PROJECT
        ),
        [
            (
                Contender(
                    "aria2c",
                    ["aria2c", "-q", "-j5", "-x1", "--file-allocation=none", "-d", str(loot), "-i", str(addresses)],
                    lambda: remove(loot),
                    place.root,
                ),
                "at least 1 x",
            ),
            (
                Contender(
                    "aria2c, then sync",
                    [
                        "sh",
                        "-c",
                        f"aria2c -q -j5 -x1 --file-allocation=none -d {loot} -i {addresses} && sync -f {loot}",
                    ],
                    lambda: remove(loot),
                    place.root,
                ),
                "at least 1 x",
            ),
        ],
        repeats,
    )
    remove(loot)


def bench_verify(place: Workplace, repeats: int) -> None:
    """Compare the manifest check with ``sha256sum -c`` and with one OpenSSL over all the bytes."""
    place.fetch()
    compare(
        f"Check the manifest of {place.pictures} pictures",
        place.datapack("datapack verify --full", "verify", "--full", "noise@v1"),
        [
            (
                Contender("sha256sum -c", ["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=place.bag),
                "at least 3.5 x",
            ),
            (
                Contender(
                    "cat | openssl dgst -sha256",
                    ["sh", "-c", "find data -type f | xargs cat | openssl dgst -sha256"],
                    cwd=place.bag,
                ),
                "at least 1 x",
            ),
            (
                Contender(
                    "openssl dgst -sha256 on every file",
                    ["sh", "-c", "find data -type f | xargs openssl dgst -sha256"],
                    cwd=place.bag,
                ),
                "at least 1 x",
            ),
        ],
        repeats,
    )


def bench_memory() -> None:
    """Show the peak memory of a build for 0.3 GB and for 3 GB."""
    print("\nPeak memory of datapack build (asked: under 200 MB, the same for both)")
    for pictures in (150, 1500):
        with workplace(pictures) as place:
            place.fetch()
            done = run(place.datapack("datapack build", "build", "noise@v1"))
            print(f"  {pictures * 2.07 / 1000:4.1f} GB: {done.memory / 1e6:.0f} MB in {done.seconds:.1f} s", flush=True)


def bench_start(repeats: int) -> None:
    """Show how long ``datapack --help`` takes, and a build of 3,000 files in which nothing changed."""
    here = Path.cwd()
    compare("Start", Contender("datapack --help (asked: under 0.4 s)", [*DATAPACK, "--help"], cwd=here), [], repeats)
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        (root / "files").mkdir()
        for number in range(3000):
            (root / "files" / f"{number:05}.txt").write_text(f"{number}\n")
        build_stand_in_base(root / "base")
        (root / "datasets.yml").write_text(SMALL)
        again = Contender(
            "build again, 3,000 files (asked: under 1 s)", [*DATAPACK, "build", "small@v1"], cwd=root, env=PROJECT
        )
        run(again)
        compare("Nothing changed", again, [], repeats)


SMALL = """\
defaults: {base: "oci:base"}
datasets:
  small:
    title: Many small files
    licence: CC0-1.0
    versions: {v1: {sources: [{local: files}]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "which",
        nargs="*",
        choices=["fetch", "verify", "build", "memory", "start", "simulate", []],
        help="all by default",
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender")
    parser.add_argument("--pictures", type=int, default=650, help="how many pictures of 2.07 MB")
    options = parser.parse_args()
    chosen = options.which or ["start", "fetch", "verify", "build", "memory", "simulate"]
    if "simulate" in chosen:
        simulate.bench()
    if "start" in chosen:
        bench_start(options.repeats)
    if {"fetch", "verify", "build"} & set(chosen):
        with workplace(options.pictures) as place:
            if "fetch" in chosen:
                bench_fetch(place, options.repeats)
                for path in ("data", ".datapack", "datasets.lock"):
                    remove(place.root / path)
            if "verify" in chosen:
                bench_verify(place, options.repeats)
            if "build" in chosen:
                bench_build(place, options.repeats)
    if "memory" in chosen:
        bench_memory()


if __name__ == "__main__":
    main()
