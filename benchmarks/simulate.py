"""Plan a version of millions of files, and the next one, without any file on disk: time, memory, layers, bytes to push.

Times are CPU times, which a busy machine does not change much. Each size runs in its own process, so that its memory is
measured separately: ``python -m benchmarks.simulate FILES``.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from datapack.bag.bagit import PayloadFile
from datapack.build.plan import Group, images, plan
from datapack.progress import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COUNTS = (1_000_000, 2_500_000, 5_000_000, 10_000_000)
FOLDER = 1000  # files
BYTES = (1_000_000, 3_000_000)  # the smallest and the largest file: 2 MB on average
SHARE = 100  # one file in a hundred is changed, and one is added


def bench(_count: int = 0, _repeats: int = 1, counts: Sequence[int] = COUNTS) -> None:
    """Show the cost of planning for each number of files, and the cost of the next version."""
    print("\nPlan a version of many files of about 2 MB, then one with 1 % added and 1 % changed (no byte is written)")
    heads = f"{'files':>10} {'bytes':>8}  {'plan':25} {'layers':>7} {'images':>6} {'CPU':>8} {'kept':>5} {'to push':>8}"
    print(f"  {heads}")
    for count in counts:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.simulate", str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
        result = json.loads(done.stdout)
        for row in result["plans"]:
            print(
                f"  {count:>10,} {size(row['bytes']):>8}  {row['name']:25} {row['layers']:>7,} {row['images']:>6} "
                f"{row['seconds']:>6.1f} s {row['kept']:>5,} {size(row['push']):>8}"
            )
        files, peak = result["memory_of_files"], result["memory"]
        print(
            f"  {count:>10,} {'':8}  peak memory {size(peak)}, {size(files)} of it for v1's list of files",
            flush=True,
        )


def simulate(count: int) -> dict[str, Any]:
    """Plan a version of ``count`` files, and two possible next versions."""
    first = _files(count)
    memory_of_files = _peak()
    plans = [_plan("v1", first, [])]
    groups = plan(first)
    for name, changed in (
        ("v2, changes in one place", range(count // 2, count // 2 + count // SHARE)),
        ("v2, changes everywhere", random.Random(2).sample(range(count), count // SHARE)),
    ):
        plans.append(_plan(name, _next(first, changed), groups))
    return {"plans": plans, "memory_of_files": memory_of_files, "memory": _peak()}


def _files(count: int) -> list[PayloadFile]:
    draw = random.Random(1)
    return [
        PayloadFile(f"data/images/{n // FOLDER:05}/{n:08}.png", draw.randint(*BYTES), f"{draw.getrandbits(256):064x}")
        for n in range(count)
    ]


def _next(files: Sequence[PayloadFile], changed: Iterable[int]) -> list[PayloadFile]:
    """Change some files, and add one per cent."""
    version = list(files)
    for number in changed:
        version[number] = version[number]._replace(sha256=f"{number:064x}")
    added = (f"data/images/new/{n:08}.png" for n in range(len(files) // SHARE))
    return version + [PayloadFile(path, sum(BYTES) // 2, f"{n:064x}") for n, path in enumerate(added, len(files))]


def _plan(name: str, files: Sequence[PayloadFile], parent: Sequence[Group]) -> dict[str, Any]:
    started = time.process_time()
    groups = plan(files, ([(file.path, file.sha256) for file in group] for group in parent))
    seconds = time.process_time() - started
    before = {group[0].path: group for group in parent}
    new = [group for group in groups if before.get(group[0].path) != group]
    return {
        "name": name,
        "seconds": seconds,
        "bytes": sum(file.size for file in files),
        "layers": len(groups),
        "images": len(images(groups)),
        "kept": len(groups) - len(new),
        "push": sum(file.size for group in new for file in group),
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(simulate(int(sys.argv[1]))))
