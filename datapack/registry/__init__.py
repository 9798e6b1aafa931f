"""Container registries (OCI distribution-spec 1.1): what is asked of them, and what they are believed.

Tokens and Docker's credentials are the work of oras; the requests are made here, as streams.
"""

from datapack.registry.client import Connection, RefusedError
from datapack.registry.name import ImageName, is_loopback
from datapack.registry.repository import Repository

__all__ = ["Connection", "ImageName", "RefusedError", "Repository", "is_loopback"]
