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

    def progress(self, label, total, unit):
        reporter = self

        class Progress:
            def __enter__(self):
                return lambda done: reporter.amounts.append((unit, done))

            def __exit__(self, *_):
                pass

        return Progress()


def downloader(**options):
    """A downloader that hardly waits between tries."""
    return Downloader(**{"backoff": lambda tries: 0.01, "timeout": 5.0, **options})


def fetch(path: Path, *urls: str, fetcher=None, **expected):
    """Download one file; return its failure, or None."""
    return next(iter((fetcher or downloader()).fetch([Request(urls, path, **expected)], "a file")), None)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []
