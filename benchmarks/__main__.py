"""``make bench``: every performance claim of the project, as a comparison with its ratio.

python -m benchmarks [SUBJECT ...] [--repeats N] [--images N]
"""

from __future__ import annotations

import argparse

from benchmarks import (
    building,
    checking,
    deep,
    deriving,
    fetching,
    importing,
    kills,
    memory,
    pushing,
    simulate,
    starting,
    training,
    training_input,
    verifying,
)

SUBJECTS = {
    "start": starting.bench,
    "fetch": fetching.bench,
    "derive": deriving.bench,
    "verify": verifying.bench,
    "check": checking.bench,
    "build": building.bench,
    "push": pushing.bench,
    "import": importing.bench,
    "memory": memory.bench,
    "kills": kills.bench,
    "simulate": simulate.bench,
    "deep": deep.bench,
    "input": training_input.bench,
    "train": training.bench,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", nargs="*", choices=[*SUBJECTS, []], help="the comparisons to run (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender (default: 3)")
    parser.add_argument("--images", type=int, default=650, help="the number of images of 2.07 MB (default: 650)")
    options = parser.parse_args()
    for subject in options.which or SUBJECTS:
        SUBJECTS[subject](options.images, options.repeats)


if __name__ == "__main__":
    main()
