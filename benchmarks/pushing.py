"""Push to a registry on this machine: a new image, only its bytes, and the next version of a dataset."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.images import png
from benchmarks.measure import Contender, compare, remove, run
from benchmarks.workplace import Workplace, workplace
from tests import registries
from tests.containers.engines import Engine, docker, podman

if TYPE_CHECKING:
    from collections.abc import Callable

# Sends each blob of a layout in one request, the minimum for a push.
CURL = """set -e
for blob in $(ls -S dist/noise-v1/blobs/sha256); do
    begun=$(curl -sS -i -X POST http://{registry}/v2/curl/noise/blobs/uploads/ | tr -d '\\r')
    place=$(echo "$begun" | sed -n 's/^Location: //p')
    curl -sS -f -o /dev/null -H 'Content-Type: application/octet-stream' -T dist/noise-v1/blobs/sha256/$blob \\
        "$place&digest=sha256:$blob"
done
"""
CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example, connections: 5}
datasets:
  noise:
    title: Images that do not compress
    licence: CC0-1.0
    versions:
      v1: {sources: [{local: v1}]}
      added: {parent: v1, sources: [{local: added}]}
      changed: {parent: v1, sources: [{local: changed}]}
"""


@dataclass(frozen=True)
class Registry:
    """Debian's docker-registry and its storage on disk."""

    name: str
    store: Path

    def empty(self) -> None:
        remove(self.store / "docker")

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(path.stat().st_size for path in self.store.rglob("blobs/sha256/*/*/data"))


def bench(count: int, repeats: int) -> None:
    """Compare ``datapack push`` with the engines and with ``curl``; then show the cost of the next version."""
    with ExitStack() as stack:
        place = stack.enter_context(workplace(count))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="datapack-bench-")))
        registry = Registry(stack.enter_context(registries.serve(folder)), folder / "registry")
        engines = []
        for start in (docker, podman):
            store = Path(stack.enter_context(TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True)))
            engines.append(stack.enter_context(start(store, place.root / "base")))
        _bench_new(place, registry, engines, repeats)
        _bench_next(place, registry, engines[0], count)


def _bench_new(place: Workplace, registry: Registry, engines: list[Engine], repeats: int) -> None:
    place.fetch()
    (place.bag.parent / "Dockerfile").write_text("FROM scratch\nCOPY . /dataset\n")
    target = f"docker://{registry.name}/datapack/noise"

    def forget() -> None:
        """Empty the registry, and forget all layers and what the registry has, but keep the bag."""
        registry.empty()
        with closing(sqlite3.connect(place.root / ".datapack/hashes.sqlite")) as cache, cache:
            cache.execute("DELETE FROM layer")
            cache.execute("DELETE FROM place")

    push = ("push", "noise@v1", "--to", target)
    compare(
        "Build and push a bag",
        place.datapack("datapack push, nothing built", *push, before=forget),
        [(_engine_push(engine, place.bag, registry), "at least 7 x") for engine in engines],
        repeats,
    )
    run(place.datapack("datapack build", "build", "noise@v1"))
    compare(
        "Push a built image",
        place.datapack("datapack push, built before", *push, before=registry.empty),
        [
            (
                Contender.shell(
                    "curl -T, blob by blob", CURL.format(registry=registry.name), place.root, registry.empty
                ),
                "at least 0.77 x (we take at most 1.3 x this)",
            ),
        ],
        repeats,
    )
    run(place.datapack("datapack push", *push))
    compare("Push an image that the registry has", place.datapack("datapack push, nothing to send", *push), [], repeats)


def _engine_push(engine: Engine, context: Path, registry: Registry) -> Contender:
    """Let an engine build an image from a folder and push it, each time without its cache."""
    image = f"{registry.name}/{engine.name}/noise:v1"
    command = " ".join(map(str, engine.command))
    insecure = " --tls-verify=false" if engine.name == "podman" else ""
    line = f"{command} build --no-cache -q -t {image} -f ../Dockerfile . && {command} push -q{insecure} {image}"

    def forget() -> None:
        registry.empty()
        engine.run("system", "prune", "-af")

    return Contender(f"{engine.name} build && push", ["sh", "-c", line], forget, context, dict(engine.environment))


def _bench_next(place: Workplace, registry: Registry, engine: Engine, count: int) -> None:
    """Push v1, then versions that differ by one per cent; show the bytes that the registry received, and the time."""
    print(f"\nThe next version: v1 has {count} images and is in the registry")
    _write_versions(place.root, count)
    registry.empty()
    run(place.datapack("v1", "push", "noise@v1", "--update-lock", "--to", f"docker://{registry.name}/datapack/noise"))
    change = _size(place.root / "added") - _size(place.root / "v1")
    for version, words in (("added", "1 % added"), ("changed", "1 % added, 1 % changed, next to each other")):
        ours = place.datapack("", "push", f"noise@{version}", "--to", f"docker://{registry.name}/datapack/noise")
        run(place.datapack("", "fetch", f"noise@{version}"))
        sent, seconds = _sent(registry, lambda ours=ours: run(ours).seconds)
        if version == "added":
            target = f"{sent / change:.2f} x the change (target: at most 1.1 x)"
        else:
            target = f"target: at most {2 * change / 1e6:.1f} MB and the layers that lost a file, 512 MiB each"
        print(f"  datapack push, {words:44} {seconds:7.2f} s  {sent / 1e6:8.1f} MB sent, {target}")
    registry.empty()
    theirs = _engine_push(engine, place.root / "v1", registry)
    (place.root / "Dockerfile").write_text("FROM scratch\nCOPY . /dataset\n")
    run(theirs)
    again = Contender("", theirs.command, cwd=place.root / "added", env=theirs.env)
    sent, seconds = _sent(registry, lambda: run(again).seconds)
    print(f"  {engine.name} build && push, 1 % added {'':28} {seconds:7.2f} s  {sent / 1e6:8.1f} MB sent", flush=True)


def _sent(registry: Registry, push: Callable[[], float]) -> tuple[int, float]:
    before = registry.size
    seconds = push()
    return registry.size - before, seconds


def _write_versions(root: Path, count: int) -> None:
    """Write the files of v1, of v1 with one per cent added, and of that with one per cent changed."""
    share = max(1, count // 100)
    v1 = root / "v1"
    shutil.copytree(root / "data/noise/v1/data/images", v1)
    for version, changed in (("added", 0), ("changed", share)):
        shutil.copytree(v1, root / version)
        for number in range(share):
            (root / version / f"added-{number:04}.png").write_bytes(png(1920, 1080))
        for path in sorted(v1.iterdir())[:changed]:
            (root / version / path.name).unlink()
            (root / version / path.name).write_bytes(png(1920, 1080))
    (root / "datasets.yml").write_text(CATALOG)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
