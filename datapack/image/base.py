"""The base of an image: pinned by its digest, fetched once, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError, UsageError
from datapack.files import atomic_writer
from datapack.hashing import is_digest
from datapack.image.base_rules import IMPORT_RULES, BaseFiles, BaseRules
from datapack.image.stand_in import STAND_IN, STAND_IN_MEANS
from datapack.oci.blob import Blob, FileContent
from datapack.oci.boundary import FAILURES
from datapack.oci.compression import UNPACKED_LIMIT, can_unpack, unpacked
from datapack.oci.filesystem import list_entries
from datapack.oci.image import Platform, StoredImage, read_image
from datapack.oci.layout import Layout
from datapack.oci.spec import INDEX, LAYER, Descriptor
from datapack.oci.tar import TarReader
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.progress import Reporter

PLATFORM = Platform("linux", "amd64")  # of the Safe Haven's machines


@dataclass(frozen=True)
class Base:
    """A base image: its name and digest as in the catalog, its config, its layers, and the layout they are in."""

    name: str
    digest: str
    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]
    layout: Layout

    def blobs(self) -> list[Blob]:
        """Return the layers as blobs for a target, byte for byte as the base's publisher made them."""
        return [
            Blob(layer.media_type, layer.size, layer.digest, FileContent(self.layout.blob(layer.digest), layer.digest))
            for layer in self.layers
        ]

    @property
    def labels(self) -> dict[str, str]:
        """The base image's own labels."""
        return dict((self.config.get("config") or {}).get("Labels") or {})

    @property
    def is_on_disk(self) -> bool:
        """Whether it comes from a folder, ``oci:DIR``, instead of a registry."""
        return self.name.startswith("oci:")

    @property
    def text(self) -> str:
        """The base wherever it is named: ``NAME:TAG@sha256:...``, or of a base on disk only its digest."""
        return self.digest if self.is_on_disk else f"{self.name}@{self.digest}"

    @property
    def is_stand_in(self) -> bool:
        """Whether it is only for tests and the demo."""
        return STAND_IN in self.labels


def open_base(text: str, folder: Path, cache: Path, reporter: Reporter, rules: BaseRules = IMPORT_RULES) -> Base:
    """Open the base that the catalog names.

    Args:
        text: ``registry/repository:tag@sha256:...``, or ``oci:DIR`` with ``DIR`` relative to ``folder``.
        folder: the catalog's folder.
        cache: keeps, by digest, what was fetched from a registry, so that nothing is fetched twice.
        reporter: notified when something is fetched, and when the base is a stand-in.
        rules: what the base must be like.

    Raises:
        UsageError: ``text`` names no base, or one without a digest.
        ImageError: the base can't be fetched or read, differs from its digest, is not for the Safe Haven's machines, or
            breaks the rules of a base.
    """
    is_layout = text.startswith("oci:")
    base = _open_layout(text, folder) if is_layout else _open_pinned(text, Layout(cache), reporter, rules)
    check_rules(base, reporter, rules)
    if base.is_stand_in:
        reporter.note(f"{text} is {STAND_IN_MEANS}: do not use images based on it in a Safe Haven")
    return base


def check_rules(base: Base, reporter: Reporter, rules: BaseRules = IMPORT_RULES) -> None:
    """Raise `ImageError` if a base breaks the rules: `datapack verify` would not accept an image based on it."""
    problems = rules.settings(base.config)
    if all(can_unpack(layer.media_type) for layer in base.layers):
        files = BaseFiles()
        for layer in base.layers:
            files.add(_entries(base.layout, layer))
        problems += rules.files(files, base.config, len(base.layers))
    else:
        reporter.note(f"the files of the base {base.name} are not checked: its layers can't be unpacked here")
    if problems:
        what = f"{rules.problem} {problems[0]}"
        raise ImageError(what, where=base.name, fix=rules.fix, details=tuple(problems[1:]))


def _entries(layout: Layout, layer: Descriptor) -> list[tuple[str, str, str]]:
    """List what is in a layer, for `BaseFiles`."""
    with layout.open(layer) as file:
        plain = layer.media_type == LAYER
        archive = unpacked(layer.media_type, file, layout.locate(layer))
        reader = TarReader(archive, layer.size if plain else UNPACKED_LIMIT, file.seek if plain else None)
        try:
            return list_entries(reader)
        except FAILURES as error:
            where = layout.locate(layer)
            raise ImageError("a layer of the base can't be unpacked", where=where, found=error) from error


def resolve(name: str, cache: Path) -> str:
    """Return the digest of the image that a registry has under a name now.

    Args:
        name: ``registry/repository:tag``.
        cache: keeps its manifest and its config, as `open_base` does.

    Raises:
        ImageError: the registry does not have the image, or not for the Safe Haven's machines.
    """
    remote = _find(name)
    _keep_documents(read_image(remote, remote.image(), name, PLATFORM), Layout(cache))
    return remote.image().digest


def _open_layout(text: str, folder: Path) -> Base:
    if text == "oci:":
        raise UsageError("the base has no name", where=repr(text), expected="oci:DIR")
    layout = Layout.at(folder, text.removeprefix("oci:"))
    root = layout.image()
    return _base(text, root.digest, read_image(layout, root, text, PLATFORM), layout)


def _open_pinned(text: str, cache: Layout, reporter: Reporter, rules: BaseRules) -> Base:
    name, _, digest = text.partition("@")
    if not is_digest(digest):
        known = name if ":" in name else "NAME:TAG"
        raise UsageError(
            "the base is not pinned by its digest",
            where=repr(text),
            expected="NAME:TAG@sha256:<64 hex digits>, or oci:DIR for one on this disk",
            fix=rules.how_to_pin(known),
        )
    image = find_cached(cache, digest, text)
    if image is None:
        reporter.note(f"fetching the base {text}")
        image = _fetch(text, cache)
    return _base(name, digest, image, cache)


def _base(name: str, digest: str, image: StoredImage, layout: Layout) -> Base:
    return Base(name, digest, image.config, image.layers, layout)


def find_cached(cache: Layout, digest: str, where: str) -> StoredImage | None:
    """Return the image with a digest, or with the digest of its index, if every part of it is in the cache."""
    image = find_base(cache, digest, where)
    return image if image and all(cache.holds(layer.digest, layer.size) for layer in image.layers) else None


def find_base(cache: Layout, digest: str, where: str) -> StoredImage | None:
    """Return the image with a digest, or with the digest of its index, if the cache has its manifest and config."""
    size = cache.size(Descriptor(INDEX, digest, 0))
    if size is None:
        return None
    try:
        return read_image(cache, Descriptor(INDEX, digest, size), where, PLATFORM)
    except ImageError:  # it is only a cache: damaged parts are fetched again
        return None


def _fetch(text: str, cache: Layout) -> StoredImage:
    """Copy every part of an image from its registry into the cache."""
    remote = _find(text)
    image = read_image(remote, remote.image(), text, PLATFORM)
    _keep_documents(image, cache)
    for layer in image.layers:
        if not cache.holds(layer.digest, layer.size):
            with remote.open(layer) as source:
                cache.add(layer, source, remote.locate(layer))
    return image


def _keep_documents(image: StoredImage, cache: Layout) -> None:
    for descriptor, content in image.documents.items():
        with atomic_writer(cache.blob(descriptor.digest)) as file:
            file.write(content)


def current_digest(name: str) -> str:
    """Return the digest of what a registry has under a name now, whatever it is; raise `ImageError` if nothing."""
    return _find(name).image().digest


def _find(text: str) -> RemoteImage:
    return RemoteImage.find(Repository(RegistryClient(ImageName.parse(text))))
