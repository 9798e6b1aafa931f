"""List the console blocks that no test runs, and count them: ``python -m tests.docs``."""

from __future__ import annotations

from collections import Counter

from tests.conftest import PROJECT
from tests.docs.pages import NEEDS, blocks, pages


def main() -> None:
    """Print a line for each block, and the totals."""
    counts: Counter[str] = Counter()
    for page in pages():
        for block in blocks(page.read_text()):
            if block.kind == "console":
                need = next((need for need in NEEDS if block.not_run.startswith(need)), "run")
                counts[need] += 1
                if block.not_run:
                    print(f"{page.relative_to(PROJECT)}:{block.line}: {block.not_run}")  # noqa: T201 - a list to read
    total = sum(counts.values())
    print(f"{counts.pop('run', 0)} of {total} console blocks are run; not run:", dict(counts.most_common()))  # noqa: T201


if __name__ == "__main__":
    main()
