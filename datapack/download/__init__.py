"""Many files over a flaky network, fetched politely, each either whole under its name or not there.

`Downloader` is the whole. `hosts` says whose turn it is, `web` asks, `content` judges what came, and `address` what may
be asked at all.
"""

from datapack.download.downloader import Answer, Downloader, Failure, Fetched, Request

__all__ = ["Answer", "Downloader", "Failure", "Fetched", "Request"]
