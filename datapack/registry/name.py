"""Names of images in registries: ``registry/namespace/name:tag@digest``."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from datapack.errors import UsageError
from datapack.hashing import is_digest

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")


def is_loopback(registry: str) -> bool:
    """Whether a registry, ``host`` or ``host:port``, is on this machine."""
    with contextlib.suppress(ValueError):  # not an address
        host = urlsplit(f"//{registry}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


@dataclass(frozen=True)
class ImageName:
    """The name of an image in a registry. Without a digest the tag identifies the image; either may be empty."""

    registry: str  # host, or host:port
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Parse a name that includes its registry; raise `UsageError` for anything else."""
        rest, _, digest = text.partition("@")
        registry, _, path = rest.partition("/")
        repository, _, tag = path.partition(":")
        named = any(mark in registry for mark in ".:") or registry == "localhost"
        if not (
            named
            and _REGISTRY.fullmatch(registry)
            and _REPOSITORY.fullmatch(repository)
            and (not tag or _TAG.fullmatch(tag))
            and (digest == "" or is_digest(digest))
            and not text.endswith((":", "@"))
        ):
            expected = "REGISTRY/NAMESPACE/NAME:TAG in small letters, such as ghcr.io/my-group/fathom24:v1"
            raise UsageError("not the name of an image in a registry", where=repr(text), expected=expected)
        return cls(registry, repository, tag, digest)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        return is_loopback(self.registry)

    @property
    def path(self) -> str:
        """The repository with its registry."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.path}{tag}{f'@{self.digest}' if self.digest else ''}"
