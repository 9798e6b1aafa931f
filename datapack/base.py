"""The base that an import container stands on: found by its digest, fetched once, kept as it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.files import atomic_writer
from datapack.layers import Part
from datapack.manifest import new_buffer, read_blocks
from datapack.oci import Descriptor, Layout, checked, is_digest
from datapack.registry import Connection, ImageName, Repository

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.layers import Blocks
    from datapack.report import Reporter

STAND_IN = "datapack.stand-in"  # the label of a base that tests and the demo make of busybox
PLATFORM = {"os": "linux", "architecture": "amd64"}  # what the Safe Haven's machines are


@dataclass(frozen=True)
class Base:
    """A base image: its name and digest as the catalog has them, its config's bytes, its layers and where they lie."""

    name: str
    digest: str
    config: bytes
    layers: tuple[Descriptor, ...]
    layout: Layout

    def parts(self) -> list[Part]:
        """Give the layers as a target takes them: the very bytes that the base's publisher made."""
        return [Part(layer.media_type, layer.size, layer.digest, partial(self._blocks, layer)) for layer in self.layers]

    def _blocks(self, layer: Descriptor) -> Blocks:
        digest, path = hashlib.sha256(), self.layout.blob(layer.digest)
        try:
            with path.open("rb", buffering=0) as file:
                for block in read_blocks(file.readinto, new_buffer()):
                    digest.update(block)
                    yield block
        except OSError as error:
            raise ImageError("a layer of the base can't be read", where=path, found=error.strerror) from error
        found = f"sha256:{digest.hexdigest()}"
        if found != layer.digest:
            raise ImageError(
                "a layer of the base is damaged",
                where=path,
                expected=layer.digest,
                found=found,
                fix="remove it and run this again",
            )
        return found

    @property
    def labels(self) -> dict[str, str]:
        """The base image's own labels."""
        return dict(json.loads(self.config).get("config", {}).get("Labels") or {})


def open_base(text: str, folder: Path, cache: Path, reporter: Reporter) -> Base:
    """Open the base that the catalog names.

    Args:
        text: ``registry/repository:tag@sha256:...``, or ``oci:DIR`` with ``DIR`` seen from ``folder``.
        folder: the catalog's folder.
        cache: where what comes from a registry is kept, by digest; what is there is not fetched again.
        reporter: told when something is fetched.

    Raises:
        ImageError: it can't be had, or is not what its digest says.
    """
    if text.startswith("oci:"):
        layout = Layout(folder / text.removeprefix("oci:"))
        base = _read(text, layout.image().digest, layout)
        if STAND_IN in base.labels:
            reporter.note(
                f"{text} is a stand-in base, for tests and the demo only: no image for a Safe Haven stands on it"
            )
        return base
    name, _, digest = text.partition("@")
    if not is_digest(digest):
        raise ImageError("the base is not pinned by its digest", where=text, expected="NAME:TAG@sha256:<64 hex digits>")
    layout = Layout(cache)
    if not _is_complete(layout, digest):
        reporter.note(f"fetching the base {text}")
        _fetch(text, digest, layout)
    return _read(name, digest, layout)


def _read(name: str, digest: str, layout: Layout) -> Base:
    manifest = _image_manifest(layout, digest)
    config = layout.read(Descriptor.parse(manifest["config"], where=name))
    return Base(name, digest, config, _layers(manifest, name), layout)


def _layers(manifest: Any, name: str) -> tuple[Descriptor, ...]:
    return tuple(Descriptor.parse(layer, where=name) for layer in manifest["layers"])


def _image_manifest(layout: Layout, digest: str) -> Any:
    """Read the manifest that ``digest`` names, through an index to the one for our platform."""
    path = layout.blob(digest)
    try:
        content = checked(path.read_bytes(), digest, where=path)
        document = json.loads(content)
    except (OSError, ValueError) as error:
        raise ImageError("the base's manifest can't be read", where=path, found=error) from error
    if "manifests" in document:  # an index: one image a platform
        return _image_manifest(layout, _for_platform(document["manifests"], where=path))
    return document


def _for_platform(manifests: list[Any], where: object) -> str:
    for entry in manifests:
        platform = entry.get("platform", {})
        if all(platform.get(key) == value for key, value in PLATFORM.items()):
            return Descriptor.parse(entry, where=where).digest
    raise ImageError("the base has no image for linux/amd64", where=where)


def _is_complete(layout: Layout, digest: str) -> bool:
    if not layout.blob(digest).is_file():
        return False
    try:
        manifest = _image_manifest(layout, digest)
        parts = [manifest["config"], *manifest["layers"]]
        return all(layout.holds(part["digest"], part["size"]) for part in parts)
    except (ImageError, KeyError):
        return False


def _fetch(text: str, digest: str, layout: Layout) -> None:
    """Fetch every part of an image from its registry into ``layout``; each is checked before it has its name."""
    repository = Repository(Connection(ImageName.parse(text)))

    def manifest(digest: str) -> Any:
        content = repository.manifest(digest)
        with atomic_writer(layout.blob(digest)) as file:
            file.write(content)
        return json.loads(content)

    document = manifest(digest)
    if "manifests" in document:
        document = manifest(_for_platform(document["manifests"], where=text))
    for part in (document["config"], *document["layers"]):
        descriptor = Descriptor.parse(part, where=text)
        if not layout.holds(descriptor.digest, descriptor.size):
            repository.save_blob(descriptor, layout.blob(descriptor.digest))
