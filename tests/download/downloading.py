"""Shared parts of the downloader tests."""

from pathlib import Path

from datapack.download import Downloader, Request


class Notes:
    """A reporter that records notes and progress."""

    def __init__(self):
        self.notes = []
        self.amounts = []

    def note(self, text):
        self.notes.append(text)

    def detail(self, text):
        pass

    def progress(self, label, total, unit):
        reporter = self

        class Progress:
            def __enter__(self):
                return lambda done: reporter.amounts.append((unit, done))

            def __exit__(self, *_):
                pass

        return Progress()


def downloader(**options):
    """A downloader that hardly waits between tries, and to which the tests' own addresses are public."""
    return Downloader(**{"backoff": lambda tries: 0.01, "timeout": 5.0, "is_public": lambda ip: True, **options})


def fetch(path: Path, *urls: str, fetcher=None, named=(), **expected):
    """Download one file; return its failure, or None."""
    failures = (fetcher or downloader()).fetch([Request(urls, path, **expected)], "a file", named=named)
    return next(iter(failures), None)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []
