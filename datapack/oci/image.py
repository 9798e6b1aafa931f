"""The image reader: reads an image part by part, wherever it is stored, and checks what it reads.

There are three storages: a layout, an archive and a registry. A storage only provides bytes, and the reader trusts none
of them: it goes from the root descriptor to the manifest, and to the config and the layers that the manifest names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from datapack.errors import ImageError
from datapack.hashing import is_digest
from datapack.oci.boundary import boundary
from datapack.oci.spec import Descriptor, check_spelling, checked, parse_object
from datapack.text import size as shown

if TYPE_CHECKING:
    from collections.abc import Mapping

READABLE_AT_ONCE = 4 << 20  # bytes: registries accept no larger manifest, and no config or statement is larger
_NESTED_INDEXES = 8  # at most, on the way to a manifest; real images have one


class Storage(Protocol):
    """Where an image is stored. It holds nothing open, so it can be pickled."""

    @property
    def seekable(self) -> bool:
        """Whether an open part is seekable, so that headers can be read without the bytes between them."""

    @property
    def streams(self) -> int | None:
        """How many parts to read at once; None for as many as there are cores."""

    def image(self) -> Descriptor:
        """Return the root descriptor: of the one image that is stored here, or of an index of images."""

    def locate(self, descriptor: Descriptor) -> str:
        """Return where a part is, for errors."""

    def size(self, descriptor: Descriptor) -> int | None:
        """Return the size in bytes that a part has here, or None if it is missing."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a part to read it; raise `ImageError` if it is missing."""


@dataclass(frozen=True)
class Platform:
    """The machines that an image is for."""

    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    def select(self, index: Mapping[str, Any], where: object) -> Descriptor:
        """Return the descriptor of this platform's image in an index; raise `ImageError` if there is none."""
        entries = index["manifests"]
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and self._matches(entry.get("platform")):
                return Descriptor.parse(entry, where)
        raise ImageError(f"no image for {self}", where=where)

    def check(self, config: Mapping[str, Any], where: object) -> None:
        """Raise `ImageError` if an image, by its own config, is for another platform."""
        if not self._matches(config):
            found = f"{config.get('os')}/{config.get('architecture')}"
            raise ImageError(f"no image for {self}", where=where, found=found)

    def _matches(self, value: Any) -> bool:
        return isinstance(value, dict) and (value.get("os"), value.get("architecture")) == (self.os, self.architecture)


@dataclass(frozen=True)
class StoredImage:
    """An image whose manifest and config have been read and checked. The bytes of its layers have not."""

    storage: Storage
    descriptor: Descriptor  # of its manifest
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]
    documents: Mapping[
        Descriptor, bytes
    ]  # the JSON parts: the indexes that led to the manifest, the manifest, the config

    @property
    def labels(self) -> dict[str, str]:
        """The config's labels."""
        return dict(self._runtime.get("Labels") or {})

    @property
    def environment(self) -> list[str]:
        """The config's environment variables, each as ``NAME=value``."""
        return list(self._runtime.get("Env") or ())

    @property
    def annotations(self) -> dict[str, str]:
        """The manifest's annotations."""
        return dict(self.manifest.get("annotations") or {})

    @property
    def _runtime(self) -> Mapping[str, Any]:
        runtime = self.config.get("config")
        return runtime if isinstance(runtime, dict) else {}


def read_image(storage: Storage, root: Descriptor, where: object, platform: Platform | None = None) -> StoredImage:
    """Read an image's manifest and config.

    Args:
        storage: where it is.
        root: the descriptor of its manifest, or of an index.
        where: what the user calls it, for errors.
        platform: selects the image in an index; the image's config must have it too. Without it, an index is an error.

    Raises:
        ImageError: a part is missing, damaged or malformed; there is no image, or none for the platform.
    """
    with boundary(where):
        documents = _read_manifests(storage, root, where, platform, _NESTED_INDEXES)
        descriptor, content = list(documents.items())[-1]
        manifest = parse_object(content, storage.locate(descriptor))
        config = Descriptor.parse(manifest["config"], where)
        documents[config] = read_part(storage, config)
        settings = parse_object(documents[config], storage.locate(config))
        if platform is not None:
            platform.check(settings, where)
        layers = tuple(Descriptor.parse(layer, where) for layer in manifest["layers"])
        _check_values(manifest, settings, where)
        return StoredImage(storage, descriptor, manifest, settings, layers, documents)


def _read_manifests(
    storage: Storage, root: Descriptor, where: object, platform: Platform | None, nested: int
) -> dict[Descriptor, bytes]:
    """Read the manifest of one image and, before it, the indexes on the way to it: at most ``nested``."""
    content = read_part(storage, root)
    document = parse_object(content, where)
    check_spelling(document, ("manifests", "config", "layers", "annotations"), where)
    if "manifests" in document and platform is not None:
        if not nested:
            raise ImageError("too many nested indexes", where=where, expected=f"at most {_NESTED_INDEXES}")
        selected = platform.select(document, where)
        return {root: content, **_read_manifests(storage, selected, where, platform, nested - 1)}
    if "config" not in document or not isinstance(document.get("layers"), list):
        found = "an index of several images" if "manifests" in document else str(document.get("mediaType", "no layers"))
        raise ImageError("not the manifest of one image", where=where, found=found, fix="name one image by its digest")
    return {root: content}


def _check_values(manifest: Mapping[str, Any], config: Mapping[str, Any], where: object) -> None:
    """Check the types of what is read from an image later: any JSON may have the right digest."""
    runtime, root = config.get("config"), config.get("rootfs")
    runtime = {} if runtime is None else runtime
    layers = root.get("diff_ids") if isinstance(root, dict) else None
    checks = {
        "annotations": _is_text(manifest.get("annotations"), dict),
        "architecture": isinstance(config.get("architecture"), str),
        "os": isinstance(config.get("os"), str),
        "config": isinstance(runtime, dict),
        "config.Labels": isinstance(runtime, dict) and _is_text(runtime.get("Labels"), dict),
        "config.Env": isinstance(runtime, dict) and _is_text(runtime.get("Env"), list),
        "config.WorkingDir": isinstance(runtime, dict) and isinstance(runtime.get("WorkingDir") or "", str),
        "rootfs.diff_ids": isinstance(layers, list) and all(map(is_digest, layers)),
        "history": _is_history(config.get("history")),
    }
    wrong = [name for name, right in checks.items() if not right]
    if wrong:
        raise ImageError("not an image: a value has the wrong type", where=where, found=wrong[0])
    if len(layers or ()) != len(manifest["layers"]):
        expected, found = f"{len(manifest['layers'])} diff_ids, one a layer", len(layers or ())
        raise ImageError("not an image: its config is that of another", where=where, expected=expected, found=found)


def _is_history(value: Any) -> bool:
    """Whether a value is absent, or a list of what engines can read as history."""
    steps = value or []
    return isinstance(steps, list) and all(
        isinstance(step, dict) and all(isinstance(fact, str | bool | None) for fact in step.values()) for step in steps
    )


def _is_text(value: Any, container: type[dict[str, Any]] | type[list[Any]]) -> bool:
    """Whether a value is absent, or a mapping to text, or a list of text."""
    if value is None:
        return True
    texts = value.values() if isinstance(value, dict) else value
    return isinstance(value, container) and all(isinstance(text, str) for text in texts)


def read_json(storage: Storage, descriptor: Descriptor) -> dict[str, Any]:
    """Read a part that is a JSON object and check it; raise `ImageError` for anything else."""
    return parse_object(read_part(storage, descriptor), storage.locate(descriptor))


def read_part(storage: Storage, descriptor: Descriptor, limit: int = READABLE_AT_ONCE) -> bytes:
    """Read a small part, of at most ``limit`` bytes, and check its size and digest.

    Raises:
        ImageError: it is missing, too large, or damaged.
    """
    where = storage.locate(descriptor)
    if descriptor.size > limit:
        expected, found = f"at most {shown(limit)}", shown(descriptor.size)
        raise ImageError("this part of the image is too large", where=where, expected=expected, found=found)
    with storage.open(descriptor) as file:
        content = file.read(descriptor.size + 1)
    if len(content) != descriptor.size:
        found = "more" if len(content) > descriptor.size else f"{len(content)} bytes"
        raise ImageError("damaged: wrong size", where=where, expected=f"{descriptor.size} bytes", found=found)
    return checked(content, descriptor.digest, where)
