"""Check a bag against its manifest."""

from __future__ import annotations

from benchmarks.measure import Contender, compare
from benchmarks.workplace import workplace

OTHERS = (
    ("sha256sum -c", "sha256sum -c --quiet manifest-sha256.txt", "at least 3.5 x"),
    ("cat | openssl dgst -sha256", "find data -type f | xargs cat | openssl dgst -sha256", "at least 1 x"),
    ("openssl dgst -sha256 on every file", "find data -type f | xargs openssl dgst -sha256", "at least 1 x"),
)


def bench(count: int, repeats: int) -> None:
    """Compare the manifest check with ``sha256sum -c`` and with OpenSSL over all the bytes."""
    with workplace(count) as place:
        place.fetch()
        compare(
            f"Check the manifest of {count} images",
            place.datapack("datapack verify --full", "verify", "--full", "noise@v1"),
            [(Contender.shell(name, line, place.bag), target) for name, line, target in OTHERS],
            repeats,
        )
