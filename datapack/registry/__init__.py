"""Container registries (OCI distribution-spec 1.1): requests to them, and checks of their answers."""

from datapack.registry.answer import RefusedError
from datapack.registry.client import RegistryClient
from datapack.registry.image import RemoteImage
from datapack.registry.name import ImageName, is_loopback
from datapack.registry.repository import Repository

__all__ = ["ImageName", "RefusedError", "RegistryClient", "RemoteImage", "Repository", "is_loopback"]
