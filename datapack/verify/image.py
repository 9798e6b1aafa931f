"""Verify an image: its parts by their digests, the dataset in it by its manifest, in one pass over the bytes.

The image is read as a stream, from disk or from a registry, without an engine. A ``quick`` verification reads headers
and seeks from one to the next. Where it can't seek, as in a registry, it sees only the manifest and the layers' sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.bagit import INFO, parse_info, parse_oxum
from datapack.bag.changes import Difference, compare_names
from datapack.bag.listing import Listing
from datapack.bag.manifest import MANIFEST, Manifest, sorted_by_bytes
from datapack.errors import ImageError, MismatchError
from datapack.image.config import DATASET_VARIABLE, DIGEST_VARIABLE, dataset_folder, dataset_of
from datapack.image.stand_in import STAND_IN
from datapack.oci.image import StoredImage, read_image
from datapack.verify.layers import Content, read_layers
from datapack.verify.outcome import Mode, Scope, Verified, oxum_problems, raise_if

if TYPE_CHECKING:
    from datapack.oci.image import Storage
    from datapack.progress import Reporter
    from datapack.reference import Reference


def verify_image(storage: Storage, where: str, mode: Mode, reporter: Reporter) -> Verified:
    """Verify an image; raise `MismatchError` with everything that is wrong, sorted."""
    image = read_image(storage, storage.image(), where)
    reference, digest = _dataset_of(image, where)
    with reporter.progress(f"verifying {where}", sum(layer.size for layer in image.layers), "B") as advance:
        content = read_layers(image, dataset_folder(reference), mode, advance)
    manifest = _manifest(content, where)
    if manifest.digest != digest:
        content.problems.append(f"digest   the image says {digest}, its manifest is {manifest.digest}")
    scope: Scope = mode if mode == "full" or storage.seekable else "sizes"
    difference = Difference() if scope == "sizes" else _difference(manifest, content)
    if scope != "sizes" and not difference and INFO in content.tags:
        content.problems += oxum_problems(content.tags, content.size, len(content.files))
    raise_if(difference, sorted(content.problems), where)
    size, files = _announced(content) if scope == "sizes" else (content.size, len(content.files))
    stand_in = STAND_IN in image.labels or STAND_IN in image.annotations
    return Verified(where, scope, digest, files, size, reference, image.descriptor.digest, stand_in)


def _dataset_of(image: StoredImage, where: str) -> tuple[Reference, str]:
    """Return the reference and the dataset digest in an image's environment."""
    dataset = dataset_of(image.environment)
    if dataset is None:
        raise ImageError(
            "not an import container",
            where=where,
            found=f"no {DATASET_VARIABLE} and {DIGEST_VARIABLE} in its environment",
        )
    return dataset


def _manifest(content: Content, where: str) -> Manifest:
    if MANIFEST not in content.tags:
        problems = "; ".join(content.problems) or "no manifest in its layers; was the image compressed on the way?"
        raise MismatchError("the image contains no readable dataset", where=where, found=problems)
    return Manifest.parse(content.tags[MANIFEST], where=f"{where} {MANIFEST}")


def _difference(manifest: Manifest, content: Content) -> Difference:
    difference = compare_names(manifest, Listing(content.files, frozenset()))
    changed = (path for path, found in content.hashes.items() if manifest.hashes.get(path, found) != found)
    return Difference(difference.missing, difference.extra, tuple(sorted_by_bytes(changed)))


def _announced(content: Content) -> tuple[int, int]:
    """Return the size and the number of files in ``bag-info.txt``."""
    return (parse_oxum(parse_info(content.tags[INFO])) if INFO in content.tags else None) or (0, 0)
