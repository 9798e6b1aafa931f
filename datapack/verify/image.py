"""Verify an image: its parts by their digests, the dataset in it by its manifest, in one pass over the bytes.

It is read as a stream, from a disk or from a registry, and needs no engine. A ``quick`` look reads headers and seeks
from one to the next; where it can't seek, as in a registry, it sees only the sizes of the layers, and the manifest.
"""

from __future__ import annotations

import hashlib
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.bag.bagit import INFO, parse_info, parse_oxum
from datapack.bag.changes import Difference, compare_names
from datapack.bag.listing import Listing
from datapack.bag.manifest import MANIFEST, PAYLOAD, Manifest, sorted_by_bytes
from datapack.errors import ImageError, MismatchError
from datapack.files import FileStat
from datapack.image.base import STAND_IN
from datapack.image.config import DATASET_VARIABLE, DIGEST_VARIABLE, dataset_folder, dataset_of
from datapack.oci.image import StoredImage, read_json
from datapack.oci.spec import LAYER, Descriptor
from datapack.verify.outcome import Looked, Mode, Verified, oxum_problems, raise_if

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datapack.progress import Reporter
    from datapack.reference import Reference

_BLOCK = 1 << 20  # bytes


@dataclass
class _Content:
    """What the layers of an image hold of its dataset: by the path below the bag's folder."""

    folder: str
    files: dict[str, FileStat] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, member: tarfile.TarInfo, archive: tarfile.TarFile, read: bool) -> None:
        """Note what an entry of a layer is; its bytes are read if they are a tag file's, or where ``read`` says so."""
        path = member.name.removeprefix(self.folder)
        if member.isdir() or path == member.name:
            return  # not of the bag
        if not path.startswith(f"{PAYLOAD}/"):
            if file := archive.extractfile(member):
                self.tags[path] = file.read()
            return
        self.files[path] = FileStat(member.size, 0)
        if read and (file := archive.extractfile(member)):
            self.hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it can readinto


def verify_image(image: StoredImage, where: str, mode: Mode, reporter: Reporter) -> Verified:
    """Verify an image; raise `MismatchError` with all that is wrong, sorted."""
    descriptor = image.descriptor()
    manifest_json = _image_manifest(read_json(image, descriptor), where)
    config = read_json(image, Descriptor.parse(manifest_json["config"], where=where))
    reference, digest = _dataset_of(config, where)
    layers = [Descriptor.parse(layer, where=where) for layer in manifest_json["layers"]]
    names_are_seen = mode == "full" or image.seekable
    content = _Content(f"{dataset_folder(reference)}/")
    with reporter.progress(f"verifying {where}", sum(layer.size for layer in layers), "B") as advance:
        _read_layers(image, layers, content, mode, advance)
    manifest = _manifest(content, where)
    if manifest.digest != digest:
        content.problems.append(f"digest   the image says {digest}, its manifest is {manifest.digest}")
    difference = _difference(manifest, content, mode) if names_are_seen else Difference()
    total, files = sum(file.size for file in content.files.values()), len(content.files)
    if not names_are_seen:
        total, files = (parse_oxum(parse_info(content.tags[INFO])) if INFO in content.tags else None) or (0, 0)
    elif not difference and INFO in content.tags:
        content.problems += oxum_problems(content.tags, total, files)
    raise_if(difference, sorted(content.problems), where)
    looked: Looked = mode if names_are_seen else "sizes"
    stands_in = STAND_IN in (config["config"].get("Labels") or {}) or STAND_IN in (
        manifest_json.get("annotations") or {}
    )
    return Verified(where, looked, digest, files, total, reference, descriptor.digest, stands_in)


def _dataset_of(config: Any, where: str) -> tuple[Reference, str]:
    """Return the reference and the dataset digest that an image's configuration names."""
    dataset = dataset_of(config.get("config", {}).get("Env") or ())
    if dataset is None:
        raise ImageError(
            "not an import container",
            where=where,
            found=f"no {DATASET_VARIABLE} and {DIGEST_VARIABLE} in its environment",
        )
    return dataset


def _image_manifest(manifest: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a manifest if it is one image's; raise `ImageError` for an index of several, or something else."""
    if "config" not in manifest or not isinstance(manifest.get("layers"), list):
        found = "an index of several images" if "manifests" in manifest else str(manifest.get("mediaType", "no layers"))
        raise ImageError("not the manifest of one image", where=where, found=found, fix="name one image by its digest")
    return manifest


def _manifest(content: _Content, where: str) -> Manifest:
    if MANIFEST not in content.tags:
        problems = "; ".join(content.problems) or "its layers hold no manifest; were they compressed on the way?"
        raise MismatchError("the image carries no dataset that can be read", where=where, found=problems)
    return Manifest.parse(content.tags[MANIFEST], where=f"{where} {MANIFEST}")


def _difference(manifest: Manifest, content: _Content, mode: Mode) -> Difference:
    difference = compare_names(manifest, Listing(content.files, frozenset()))
    if mode == "quick":
        return difference
    changed = (path for path, found in content.hashes.items() if manifest.hashes.get(path, found) != found)
    return Difference(difference.missing, difference.extra, tuple(sorted_by_bytes(changed)))


def _read_layers(
    image: StoredImage, layers: Sequence[Descriptor], content: _Content, mode: Mode, advance: Callable[[int], None]
) -> None:
    """Read layers side by side, in the order of the image where one file hides another."""

    def read(layer: Descriptor) -> _Content:
        found = _Content(content.folder)
        size = image.size(layer.digest)
        if size != layer.size:
            is_ = "missing" if size is None else f"{size} bytes, not {layer.size}"
            found.problems.append(f"layer    {layer.digest} is {is_}")
        elif mode == "full":
            _read_bytes(image, layer, found, advance)
        elif image.seekable or layer is layers[-1]:  # the last one holds the manifest
            _read_headers(image, layer, found)
        return found

    with ThreadPoolExecutor(image.streams) as pool:
        for found in pool.map(read, layers):
            content.files.update(found.files)
            content.hashes.update(found.hashes)
            content.tags.update(found.tags)
            content.problems.extend(found.problems)


def _read_headers(image: StoredImage, layer: Descriptor, content: _Content) -> None:
    """Note what an uncompressed layer holds; of the bytes only those of tag files are read."""
    if layer.media_type != LAYER:
        return
    try:
        with (
            image.open(layer.digest) as blob,
            tarfile.open(fileobj=blob, mode="r:" if image.seekable else "r|") as archive,
        ):
            for member in archive:
                content.take(member, archive, read=False)
    except tarfile.TarError as error:
        content.problems.append(f"layer    {layer.digest} is not a tar archive: {error}")


def _read_bytes(image: StoredImage, layer: Descriptor, content: _Content, advance: Callable[[int], None]) -> None:
    """Hash a layer and, in the same pass, each of the dataset's files in it."""
    with image.open(layer.digest) as blob:
        stream = _Hashed(blob, advance)
        if layer.media_type == LAYER:  # a compressed one is the base's: no file of the dataset is in it
            try:
                # Of a stream tarfile needs `read` alone, and there is nothing to close.
                archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK)  # type: ignore[call-overload] # noqa: SIM115
                for member in archive:
                    content.take(member, archive, read=True)
                    archive.members.clear()  # a stream needs no list of what has passed
            except tarfile.TarError as error:
                content.problems.append(f"layer    {layer.digest} is not a tar archive: {error}")
        while stream.read(_BLOCK):
            pass
    if stream.digest != layer.digest:
        content.problems.append(f"layer    {layer.digest} is damaged: its bytes have {stream.digest}")


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, blob: BinaryIO, advance: Callable[[int], None]) -> None:
        self._blob, self._advance, self._hash = blob, advance, hashlib.sha256()

    def read(self, count: int) -> bytes:
        block = self._blob.read(count)
        self._hash.update(block)
        self._advance(len(block))
        return block

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
