"""The memory of a build, which does not depend on the size of the dataset."""

from __future__ import annotations

from benchmarks.measure import run
from benchmarks.workplace import workplace

SIZES = (150, 1500)  # images


def bench(_count: int, _repeats: int) -> None:
    """Show the peak memory of a build for 0.3 GB and for 3 GB."""
    print("\nPeak memory of datapack build (target: under 200 MB, the same for both)")
    for count in SIZES:
        with workplace(count) as place:
            place.fetch()
            done = run(place.datapack("datapack build", "build", "noise@v1"))
            print(f"  {count * 2.07 / 1000:4.1f} GB: {done.memory / 1e6:.0f} MB in {done.seconds:.1f} s", flush=True)
