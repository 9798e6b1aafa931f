"""The base that an import container stands on: found by its digest, fetched once, kept as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError, UsageError
from datapack.files import atomic_writer
from datapack.hashing import digest_of, is_digest
from datapack.oci.blob import Blob, FileContent
from datapack.oci.layout import Layout
from datapack.oci.spec import Descriptor, checked
from datapack.registry import Connection, ImageName, Repository, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.progress import Reporter


STAND_IN = "datapack.stand-in"  # the label of a base that tests and the demo make of busybox, and of what stands on it
STAND_IN_MEANS = "a stand-in base, for tests and the demo only"
PLATFORM = {"os": "linux", "architecture": "amd64"}  # what the Safe Haven's machines are


@dataclass(frozen=True)
class Base:
    """A base image: its name and digest as the catalog has them, its config's bytes, its layers and where they lie."""

    name: str
    digest: str
    config: bytes
    layers: tuple[Descriptor, ...]
    layout: Layout

    def blobs(self) -> list[Blob]:
        """Return the layers as a target takes them: the very bytes that the base's publisher made."""
        return [
            Blob(layer.media_type, layer.size, layer.digest, FileContent(self.layout.blob(layer.digest), layer.digest))
            for layer in self.layers
        ]

    @property
    def labels(self) -> dict[str, str]:
        """The base image's own labels."""
        return dict(json.loads(self.config).get("config", {}).get("Labels") or {})

    @property
    def is_on_disk(self) -> bool:
        """Whether it comes from a folder, ``oci:DIR``, and not from a registry."""
        return self.name.startswith("oci:")

    @property
    def text(self) -> str:
        """What the catalog or the command line says to get it: ``NAME:TAG@sha256:...`` or ``oci:DIR``."""
        return self.name if self.is_on_disk else f"{self.name}@{self.digest}"

    @property
    def is_stand_in(self) -> bool:
        """Whether it is only for tests and the demo."""
        return STAND_IN in self.labels


def open_base(text: str, folder: Path, cache: Path, reporter: Reporter) -> Base:
    """Open the base that the catalog names.

    Args:
        text: ``registry/repository:tag@sha256:...``, or ``oci:DIR`` with ``DIR`` seen from ``folder``.
        folder: the catalog's folder.
        cache: where what comes from a registry is kept, by digest; what is there is not fetched again.
        reporter: told when something is fetched, and when it is a stand-in.

    Raises:
        ImageError: it can't be had, or is not what its digest says, or is not for the Safe Haven's machines.
    """
    base = _open_layout(text, folder) if text.startswith("oci:") else _open_pinned(text, Layout(cache), reporter)
    if base.is_stand_in:
        reporter.note(f"{text} is {STAND_IN_MEANS}: no image for a Safe Haven stands on it")
    return base


def resolve(name: str, cache: Path) -> str:
    """Ask a registry which image it has under a name now, and return its digest.

    Args:
        name: ``registry/repository:tag``.
        cache: where its manifest and its config are kept, as `open_base` keeps them.

    Raises:
        ImageError: it can't be had, or is not for the Safe Haven's machines.
    """
    repository, layout = Repository(Connection(ImageName.parse(name))), Layout(cache)
    content = repository.manifest(repository.name.tag)
    digest = _keep(content, layout)
    config = _part(_fetch_image_manifest(repository, content, layout), "config", name)
    _save(repository, config, layout)
    _check_platform(layout.read(config), name)
    return digest


def refuse_stand_in(labels: Mapping[str, str], registry: str) -> None:
    """Let an image that stands on a stand-in go to a registry on this machine only.

    Args:
        labels: the image's labels or annotations.
        registry: ``host``, ``host:port`` or more, as an image's name begins.

    Raises:
        UsageError: it would leave this machine.
    """
    if STAND_IN in labels and not is_loopback(registry):
        raise UsageError(
            f"this image stands on {STAND_IN_MEANS}",
            where=registry,
            expected="a registry on this machine, such as localhost:5000",
            fix="build it on the catalog's base, without --base",
        )


def _open_layout(text: str, folder: Path) -> Base:
    layout = Layout(folder / text.removeprefix("oci:"))
    return _read(text, layout.image().digest, layout)


def _open_pinned(text: str, layout: Layout, reporter: Reporter) -> Base:
    name, _, digest = text.partition("@")
    if not is_digest(digest):
        raise ImageError("the base is not pinned by its digest", where=text, expected="NAME:TAG@sha256:<64 hex digits>")
    if not _is_complete(layout, digest):
        reporter.note(f"fetching the base {text}")
        _fetch(text, digest, layout)
    return _read(name, digest, layout)


def _read(name: str, digest: str, layout: Layout) -> Base:
    manifest = _image_manifest(layout, digest)
    config = layout.read(_part(manifest, "config", name))
    _check_platform(config, name)
    return Base(name, digest, config, _layers(manifest, name), layout)


def _part(manifest: Any, key: str, where: object) -> Descriptor:
    return Descriptor.parse(manifest.get(key) if isinstance(manifest, dict) else None, where=where)


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


def _check_platform(config: bytes, where: object) -> None:
    """Raise `ImageError` where an image, by its own config, is not for the Safe Haven's machines."""
    facts = json.loads(config)
    if any(facts.get(key) != value for key, value in PLATFORM.items()):
        found = f"{facts.get('os')}/{facts.get('architecture')}"
        raise ImageError("the base has no image for linux/amd64", where=where, found=found)


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
    content = repository.manifest(digest)
    _keep(content, layout)
    manifest = _fetch_image_manifest(repository, content, layout)
    for part in (_part(manifest, "config", text), *_layers(manifest, text)):
        _save(repository, part, layout)


def _fetch_image_manifest(repository: Repository, content: bytes, layout: Layout) -> Any:
    """Return an image's manifest, where ``content`` is an index the one for our platform, which is fetched then."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ImageError("the registry sent no manifest", where=repository.name, found=error) from error
    if not (isinstance(document, dict) and "manifests" in document):
        return document
    content = repository.manifest(_for_platform(document["manifests"], where=repository.name))
    _keep(content, layout)
    return json.loads(content)


def _keep(manifest: bytes, layout: Layout) -> str:
    digest = digest_of(manifest)
    if not layout.holds(digest, len(manifest)):
        with atomic_writer(layout.blob(digest)) as file:
            file.write(manifest)
    return digest


def _save(repository: Repository, part: Descriptor, layout: Layout) -> None:
    if not layout.holds(part.digest, part.size):
        repository.save_blob(part, layout.blob(part.digest))
