"""Build an image from a bag that is already here."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Contender, compare, remove
from benchmarks.workplace import workplace
from tests.containers.engines import Engine, docker, podman

LEAST = "cat data/images/* | openssl dgst -sha256; cat data/images/* > ../one"  # hash all bytes, then copy them


def bench(count: int, repeats: int) -> None:
    """Compare ``datapack build`` with the engines' builds of the same files, and with the minimum of work."""
    with workplace(count) as place, ExitStack() as stack:
        place.fetch()
        bag, dist, one = place.bag, place.root / "dist", place.bag.parent / "one"
        (bag.parent / "Dockerfile").write_text("FROM scratch\nCOPY . /dataset\n")
        engines = []
        for start, ratio in ((docker, 5), (podman, 8)):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True)))
            engine = stack.enter_context(start(folder, place.root / "base"))
            engines.append((_engine_build(engine, bag), f"at least {ratio} x"))
        synced = Contender.shell(
            "cat | openssl sha256, then cat > file; sync", f"{LEAST} && sync -d ../one", bag, lambda: remove(one)
        )
        unsynced = Contender.shell("the same without sync", LEAST, bag, lambda: remove(one))
        compare(
            f"Build a container image from {count} images that are in the bag already",
            place.datapack("datapack build --to oci:", "build", "noise@v1", before=lambda: remove(dist)),
            [
                *engines,
                (synced, "at least 0.67 x (we take at most 1.5 x this)"),
                (unsynced, "at least 0.67 x (although we sync)"),
                (place.datapack("datapack build, nothing changed", "build", "noise@v1"), "under 1 s"),
            ],
            repeats,
        )


def _engine_build(engine: Engine, context: Path) -> Contender:
    """Let an engine build an image from a folder, each time without its cache."""
    name = {"docker": "docker build (BuildKit)", "podman": "podman build"}[engine.name]
    command = [*engine.command, "build", "--no-cache", "-q", "-f", "../Dockerfile", "."]
    return Contender(name, command, lambda: engine.run("system", "prune", "-af"), context, dict(engine.environment))
