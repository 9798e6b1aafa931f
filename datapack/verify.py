"""Verify: hold a bag, or an image on disk, against its manifest.

``quick`` looks at names and sizes; ``full`` reads every byte, once. Both report everything that is wrong, sorted.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from datapack import manifest as manifests
from datapack.bag import INFO, parse_info, read_tags
from datapack.base import STAND_IN, STAND_IN_MEANS
from datapack.errors import BagError, ImageError, MismatchError, UsageError
from datapack.image import DATASET_VARIABLE, DIGEST_VARIABLE, dataset_folder
from datapack.lock import Lock
from datapack.manifest import (
    Difference,
    FileStat,
    Listing,
    Manifest,
    compare_bytes,
    compare_names,
    list_payload,
    new_buffer,
    sorted_by_bytes,
)
from datapack.oci import LAYER, Descriptor
from datapack.reference import Reference
from datapack.report import size
from datapack.stored import StoredImage, open_image, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from datapack.report import Reporter
    from datapack.workspace import Workspace

Mode = Literal["quick", "full"]


@dataclass(frozen=True)
class Verified:
    """What was found right: where, how it was looked at, which dataset, and how much of it."""

    where: str
    mode: Mode
    digest: str
    files: int
    bytes: int
    stand_in: bool = False  # an image that is for tests and the demo only

    def __str__(self) -> str:
        full = "verified, every byte"
        quick = "complete by names and sizes, no byte was read"
        amount = f"{self.files:,} files, {size(self.bytes)}, {self.digest}"
        line = f"{full if self.mode == 'full' else quick}: {self.where}: {amount}"
        return f"{line}\nnot for a Safe Haven: this image stands on {STAND_IN_MEANS}" if self.stand_in else line


def verify(text: str, folder: Path, workspace: Workspace | None, mode: Mode, reporter: Reporter) -> Verified:
    """Verify what ``text`` names: a reference, ``oci:DIR``, ``oci-archive:FILE``, or the folder of a bag.

    Args:
        text: what to verify.
        folder: where relative paths start.
        workspace: where a reference's bag and lock are; None outside any.
        mode: how closely to look.
        reporter: told how far it is.

    Raises:
        MismatchError: it differs; ``details`` has a line per difference, sorted.
        DatapackError: it can't be read at all.
    """
    form, colon, name = text.partition(":")
    if colon and form in {"oci", "oci-archive"}:
        with open_image(form, folder / name) as image:
            return verify_image(image, text, mode, reporter)
    if (folder / text).is_dir():
        return replace(verify_bag(folder / text, mode, reporter), where=text)
    if "@" not in text or workspace is None:
        raise UsageError(
            "nothing to verify", where=repr(text), expected="NAME@VERSION, oci:DIR, oci-archive:FILE or a bag's folder"
        )
    reference = Reference.parse(text)
    locked = Lock.read(workspace.lock).entries.get(reference)
    if not workspace.bag(reference).exists():
        raise BagError("there is no bag of it here", where=text, fix=f"'datapack fetch {text}' brings it")
    verified = verify_bag(workspace.bag(reference), mode, reporter)
    if locked is not None and locked.digest != verified.digest:
        raise MismatchError(
            "the bag is not the one that the lock names", where=text, expected=locked.digest, found=verified.digest
        )
    return replace(verified, where=text)


def verify_bag(path: Path, mode: Mode, reporter: Reporter) -> Verified:
    """Verify a bag on disk; raise `MismatchError` with all its differences."""
    tags = read_tags(path)
    manifest = Manifest.parse(tags[manifests.NAME], where=path / manifests.NAME)
    listing = list_payload(path)
    total = sum(file.size for file in listing.files.values())
    if mode == "full":
        with reporter.progress(f"verifying {path.name}", total, "B") as advance:
            difference = compare_bytes(manifest, path, advance=advance)
    else:
        difference = compare_names(manifest, listing)
    problems = [] if difference else _oxum_problems(tags, total, len(listing.files))
    _raise_if(difference, problems, where=path)
    return Verified(str(path), mode, manifest.digest, len(listing.files), total)


def _oxum_problems(tags: Mapping[str, bytes], total: int, files: int) -> list[str]:
    expected = parse_info(tags[INFO]).get("Payload-Oxum")
    found = f"{total}.{files}"
    return [] if expected == found else [f"size     {INFO} says Payload-Oxum {expected}, the payload has {found}"]


def _raise_if(difference: Difference, problems: Iterable[str], where: object) -> None:
    details = (*difference.lines(), *problems)
    if details:
        raise MismatchError(
            "this is not the dataset that its manifest says",
            where=where,
            found=difference or f"{len(details)} problems",
            details=details,
        )


@dataclass
class _Content:
    """What the layers of an image hold of its dataset: by the path below the bag's folder."""

    folder: str
    files: dict[str, FileStat] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def path(self, member: str) -> str | None:
        """Return a member's path below the bag, or None where it is not of the bag."""
        return member.removeprefix(self.folder) if member.startswith(self.folder) else None


def verify_image(image: StoredImage, where: str, mode: Mode, reporter: Reporter) -> Verified:
    """Verify an image on disk: its parts by their digests, its dataset by its manifest, in one pass over the bytes."""
    manifest_json = read_json(image, image.descriptor())
    config = read_json(image, Descriptor.parse(manifest_json["config"], where=where))
    reference, digest = _dataset_of(config, where)
    layers = [Descriptor.parse(layer, where=where) for layer in manifest_json["layers"]]
    content = _Content(f"{dataset_folder(reference)}/")
    with reporter.progress(f"verifying {where}", sum(layer.size for layer in layers), "B") as advance:
        _read_layers(image, layers, content, mode, advance)
    if manifests.NAME not in content.tags:
        problems = "; ".join(content.problems) or "its layers hold no manifest; were they compressed on the way?"
        raise MismatchError("the image carries no dataset that can be read", where=where, found=problems)
    manifest = Manifest.parse(content.tags[manifests.NAME], where=f"{where} {manifests.NAME}")
    difference = compare_names(manifest, Listing(content.files, frozenset()))
    if mode == "full":
        changed = (path for path, found in content.hashes.items() if manifest.hashes.get(path, found) != found)
        difference = Difference(difference.missing, difference.extra, tuple(sorted_by_bytes(changed)))
    if manifest.digest != digest:
        content.problems.append(f"digest   the image says {digest}, its manifest is {manifest.digest}")
    total = sum(file.size for file in content.files.values())
    if not difference and INFO in content.tags:
        content.problems += _oxum_problems(content.tags, total, len(content.files))
    _raise_if(difference, sorted(content.problems), where)
    stand_in = STAND_IN in (config["config"].get("Labels") or {}) or STAND_IN in (
        manifest_json.get("annotations") or {}
    )
    return Verified(where, mode, digest, len(content.files), total, stand_in)


def _dataset_of(config: Any, where: str) -> tuple[Reference, str]:
    """Return the reference and the dataset digest that an image's configuration names."""
    variables = dict(line.partition("=")[::2] for line in config.get("config", {}).get("Env") or ())
    try:
        return Reference.parse(variables[DATASET_VARIABLE]), variables[DIGEST_VARIABLE]
    except KeyError as error:
        raise ImageError(
            "not an import container", where=where, found=f"no {error.args[0]} in its environment"
        ) from error


def _read_layers(
    image: StoredImage, layers: Iterable[Descriptor], content: _Content, mode: Mode, advance: Callable[[int], None]
) -> None:
    """Read layers side by side, in the order of the image where one file hides another."""

    def read(layer: Descriptor) -> _Content:
        return _read_layer(image, layer, content.folder, mode, advance)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for found in pool.map(read, layers):
            content.files.update(found.files)
            content.hashes.update(found.hashes)
            content.tags.update(found.tags)
            content.problems.extend(found.problems)


def _read_layer(
    image: StoredImage, layer: Descriptor, folder: str, mode: Mode, advance: Callable[[int], None]
) -> _Content:
    content = _Content(folder)
    found_size = image.size(layer.digest)
    if found_size != layer.size:
        found = "missing" if found_size is None else f"{found_size} bytes, not {layer.size}"
        content.problems.append(f"layer    {layer.digest} is {found}")
        return content
    with image.open(layer.digest) as blob:
        members = _list_members(blob, layer, content)
        if mode == "full":
            _hash_layer(blob, layer, members, content, advance)
    return content


def _list_members(blob: BinaryIO, layer: Descriptor, content: _Content) -> list[tarfile.TarInfo]:
    """Note what an uncompressed layer holds; only headers and tag files are read."""
    if layer.media_type != LAYER:
        return []  # the base's: its bytes are held against its digest, its files are not of the dataset
    try:
        with tarfile.open(fileobj=blob, mode="r:") as archive:
            members = [member for member in archive if not member.isdir()]
            for member in members:
                path = content.path(member.name)
                if path and path.startswith(f"{manifests.PAYLOAD}/"):
                    content.files[path] = FileStat(member.size, 0)
                elif path and (file := archive.extractfile(member)):
                    content.tags[path] = file.read()
    except tarfile.TarError as error:
        content.problems.append(f"layer    {layer.digest} is not a tar archive: {error}")
        return []
    return members


def _hash_layer(
    blob: BinaryIO, layer: Descriptor, members: list[tarfile.TarInfo], content: _Content, advance: Callable[[int], None]
) -> None:
    """Hash a layer and, in the same pass, each of the dataset's files in it."""
    whole = hashlib.sha256()
    buffer = new_buffer()

    def feed(end: int, also: Callable[[memoryview], None] = lambda _: None) -> None:
        while (missing := end - blob.tell()) > 0 and (count := blob.readinto(buffer[:missing])):  # type: ignore[attr-defined]
            whole.update(buffer[:count])
            also(buffer[:count])
            advance(count)

    blob.seek(0)
    for member in members:
        path = content.path(member.name)
        if path in content.files:
            digest = hashlib.sha256()
            feed(member.offset_data)
            feed(member.offset_data + member.size, digest.update)
            content.hashes[path] = digest.hexdigest()
    feed(layer.size)
    if (found := f"sha256:{whole.hexdigest()}") != layer.digest:
        content.problems.append(f"layer    {layer.digest} is damaged: its bytes have {found}")
