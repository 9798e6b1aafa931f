"""Verify an image: that an engine will have the dataset in it, every byte, and run datapack's import program.

Of a ready-to-run model it shows that the trainer image below has the very same model, and starts as ours do. What
their program does, only the base's own digest can show.

The image is read as a stream, from disk or from a registry, without an engine. Above the base, everything must be bit
for bit what datapack writes; so there is nothing that engines could understand differently. The base must leave that
alone. If the base that the image names is known here, the image must be based on exactly that one.

A ``quick`` verification reads headers and seeks from one to the next. Where it can't seek, as in a registry, it sees
only the layer with the manifest, and the other layers' sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from datapack.bag.bagit import (
    BAGIT,
    DECLARATION,
    IDENTIFIER,
    INFO,
    OXUM,
    TAG_MANIFEST,
    parse_info,
    parse_oxum,
)
from datapack.bag.changes import Difference, compare_names
from datapack.bag.fetch_txt import FETCH, parse_fetch
from datapack.bag.listing import Listing
from datapack.bag.manifest import MANIFEST, Manifest, sorted_by_bytes
from datapack.errors import DatapackError, ImageError, MismatchError, UsageError
from datapack.image.config import (
    BASE_DIGEST,
    BASE_NAME,
    dataset_folder,
    dataset_of,
)
from datapack.image.kinds import DATASET_VARIABLE, DIGEST_VARIABLE, RUNNABLE
from datapack.image.stand_in import STAND_IN
from datapack.oci.boundary import boundary
from datapack.oci.compression import can_unpack
from datapack.oci.image import StoredImage, read_image
from datapack.verify.layers import Content, Parts, find_parts, read_layers
from datapack.verify.outcome import BaseCheck, Mode, Scope, Verified, raise_if
from datapack.verify.rebuild import Carrier

if TYPE_CHECKING:
    from datapack.oci.image import Storage
    from datapack.progress import Reporter
    from datapack.reference import Reference

#: Finds a base by its name and digest, where it is known; None where it is not.
FindBase = Callable[[str, str], StoredImage | None]


def verify_image(
    storage: Storage, where: str, mode: Mode, reporter: Reporter, find_base: FindBase = lambda _name, _digest: None
) -> Verified:
    """Verify an image; raise `MismatchError` with everything that is wrong, sorted."""
    image = read_image(storage, storage.image(), where)
    reference, digest = _dataset_of(image, where)
    parts = _parts_of(image, where)
    name, named = image.annotations.get(BASE_NAME, ""), image.annotations.get(BASE_DIGEST, "")
    carrier = Carrier(image, reference, digest, parts.below, find_base(name, named), bool(parts.earlier))
    with reporter.progress(f"verifying {where}", sum(layer.size for layer in image.layers), "B") as advance:
        content = read_layers(image, parts, dataset_folder(reference), mode, advance)
    scope: Scope = mode if mode == "full" or storage.seekable else "sizes"
    with boundary(where):
        info = _check(carrier, content, scope, where)
    size, files = (content.size, len(content.files)) if scope != "sizes" else parse_oxum(info) or (0, 0)
    return Verified(
        where,
        scope,
        digest,
        files,
        size,
        reference,
        image.descriptor.digest,
        stand_in=STAND_IN in image.labels or STAND_IN in image.annotations,
        base=f"{name}@{named}".removeprefix("@"),
        base_check=_base_check(carrier, content),
        earlier=parts.earlier,
        runnable=carrier.runnable,
    )


def _check(carrier: Carrier, content: Content, scope: Scope, where: str) -> dict[str, str]:
    """Compare what was read with the manifest, and the image with what datapack would write.

    Returns:
        The fields of ``bag-info.txt``.

    Raises:
        MismatchError: there are differences.
    """
    manifest = _manifest(content, where)
    info, problems = _check_tags(content.tags, manifest, carrier)
    problems += [*content.problems, *carrier.problems()]
    problems += (f"base     {problem}" for problem in _file_problems(carrier, content))
    difference = Difference()
    if scope != "sizes":
        difference = _difference(manifest, content)
        problems += [] if difference else _size_problems(info, content)
        problems += [] if carrier.base else _closed(carrier)
    raise_if(difference, sorted(problems), where)
    return info


def _file_problems(carrier: Carrier, content: Content) -> list[str]:
    return carrier.rules.files(content.base, carrier.image.config, carrier.below)


def _dataset_of(image: StoredImage, where: str) -> tuple[Reference, str]:
    """Return the reference and the dataset digest in an image's environment."""
    try:
        dataset = dataset_of(image.environment)
    except UsageError as error:
        what = f"not an import container: {DATASET_VARIABLE} is {error.what}"
        raise ImageError(what, where=where, expected=error.expected, found=error.where) from error
    if dataset is None:
        found = f"no {DATASET_VARIABLE} and {DIGEST_VARIABLE} in its environment"
        raise ImageError("not an import container", where=where, found=found)
    return dataset


def _parts_of(image: StoredImage, where: str) -> Parts:
    """Return which layers are whose; raise `MismatchError` if nothing shows it."""
    runnable = RUNNABLE in image.annotations
    found = find_parts(image, runnable=runnable)
    if found is None and runnable:
        raise MismatchError(
            "the image says that it is ready to run, but its history has no step of datapack's", where=where
        )
    if found is None:
        raise MismatchError(
            "the image does not have the import program of this datapack or an earlier one",
            where=where,
            found="none in its layers",
            fix="if it was compressed on the way, copy it with 'skopeo copy --preserve-digests'; if a later datapack "
            "built it, verify it with that one",
        )
    return found


def _manifest(content: Content, where: str) -> Manifest:
    if MANIFEST not in content.tags:
        found = "; ".join(content.problems) or "no manifest in its last layer"
        raise MismatchError("the image contains no readable dataset", where=where, found=found)
    return Manifest.parse(content.tags[MANIFEST], where=f"{where} {MANIFEST}")


def _difference(manifest: Manifest, content: Content) -> Difference:
    difference = compare_names(manifest, Listing(content.files, frozenset()))
    changed = (path for path, found in content.hashes.items() if manifest.hashes.get(path, found) != found)
    return Difference(difference.missing, difference.extra, tuple(sorted_by_bytes(changed)))


def _check_tags(tags: Mapping[str, bytes], manifest: Manifest, carrier: Carrier) -> tuple[dict[str, str], list[str]]:
    """Return the fields of ``bag-info.txt``, and what is wrong with the tag files, which the import copies too."""
    info, problems = {}, []
    if manifest.digest != carrier.digest:
        problems.append(f"digest   the image says {carrier.digest}, its manifest is {manifest.digest}")
    others = {name: hashlib.sha256(tag).hexdigest() for name, tag in tags.items() if name != TAG_MANIFEST}
    if tags.get(TAG_MANIFEST) != Manifest.of(others).content:
        problems.append(f"tags     {TAG_MANIFEST} is not that of the tag files")
    if tags.get(DECLARATION) != BAGIT:
        problems.append(f"tags     {DECLARATION} is not as datapack writes it")
    try:
        info = parse_info(tags.get(INFO, b""))
        parse_fetch(tags.get(FETCH, b""))
    except DatapackError as error:
        problems.append(f"tags     {error}")
    if info.get(IDENTIFIER) != str(carrier.reference):
        problems.append(f"tags     {INFO} is that of {info.get(IDENTIFIER)!a}, not of {str(carrier.reference)!a}")
    return info, problems


def _size_problems(info: Mapping[str, str], content: Content) -> list[str]:
    """Return a line if the payload does not have the size in ``bag-info.txt``."""
    expected, found = info.get(OXUM), f"{content.size}.{len(content.files)}"
    return [] if expected == found else [f"size     {INFO} says {OXUM} {expected}, the payload has {found}"]


def _base_check(carrier: Carrier, content: Content) -> BaseCheck:
    if carrier.base is not None:  # and it is the image's, or there would be a problem
        return "closed" if _closed(carrier) else "compared"
    return "read" if content.base.layers == carrier.below else "unread"


def _closed(carrier: Carrier) -> list[str]:
    """Return a line for each layer of an unknown base that can't be unpacked here: it could contain anything."""
    closed = [layer for layer in carrier.image.layers[: carrier.below] if not can_unpack(layer.media_type)]
    fix = "verify where its base is known, or install the package zstandard beside datapack"
    return [f"layer    {layer.digest} is {layer.media_type}, which can't be unpacked here: {fix}" for layer in closed]
