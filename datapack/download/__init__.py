"""Download many files over an unreliable network, politely; each file is either complete or not there.

`Downloader` runs a download. `hosts` decides when a host may be requested from, `web` makes requests, and `content`
checks what arrived.
"""

from datapack.download.downloader import Downloader
from datapack.download.model import Answer, Failure, Fetched, Request

__all__ = ["Answer", "Downloader", "Failure", "Fetched", "Request"]
