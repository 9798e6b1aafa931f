"""The signatures of what was verified: where they are, and whether one of them is by a key that the user trusts.

They are looked for under the digest that was verified, so it does not matter what happens to names and folders between.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from datapack.bag.any_bag import AnyBag
from datapack.bag.bagit import IDENTIFIER
from datapack.bag.manifest import PAYLOAD
from datapack.errors import DatapackError, ImageError, MismatchError, SignatureError
from datapack.files import read_limited
from datapack.hashing import digest_of
from datapack.oci.archive import Archive
from datapack.oci.boundary import boundary
from datapack.oci.image import read_json, read_part
from datapack.oci.index import entries_of
from datapack.oci.layout import Layout
from datapack.oci.named_sbom import FoundSbom, check_sboms
from datapack.oci.spec import CYCLONEDX, STATEMENT, Descriptor
from datapack.reference import Reference
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, find_layers, statements
from datapack.signing.artifact import signature
from datapack.signing.bundle import BUNDLE, LIMIT, Bundle
from datapack.signing.check import Found, Valid, require_valid
from datapack.signing.files import files_beside, own_file, provenance_file, read_found, write_bundle
from datapack.signing.provenance import ProvenanceSubject
from datapack.signing.subject import DatasetSubject, ImageSubject
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from datapack.oci.image import Storage
    from datapack.signing.keys import PublicKey
    from datapack.signing.subject import Subject
    from datapack.verify.outcome import Verified
    from datapack.workspace.folder import Workspace


SBOM_LIMIT = 256 << 20  # bytes
_SBOM_STATES = {
    "named": "SBOM: the one that the provenance names",
    "unnamed": "SBOM: NOT checked, as no provenance of this image names one",
}
_MOST = 100  # signatures of an image that are read,
_MOST_BYTES = 4 * LIMIT  # and their size in all


#: None is there, the provenance names each, or no provenance names any.
SbomState = Literal["none", "named", "unnamed"]


class Place(Protocol):
    """Where the signatures of a bag or an image are."""

    def find(self) -> list[Found]:
        """Return the signatures; raise `ImageError` if a registry's or a layout's list can't be read."""

    def provenance(self) -> list[ProvenanceSubject]:
        """Return the image's provenance, each statement once; raise `SignatureError` if one is of something else."""

    def statements(self) -> list[bytes]:
        """Return the same, of whatever image each statement is."""

    def sboms(self) -> list[FoundSbom]:
        """Return the image's SBOMs."""

    def store(self, bundle: Bundle, subject: Subject, key: PublicKey) -> str:
        """Store a signature; return where it is now."""


@dataclass(frozen=True)
class BesideBag:
    """Files beside a bag."""

    path: Path

    def find(self) -> list[Found]:
        return [read_found(file) for file in files_beside(self.path)]

    def provenance(self) -> list[ProvenanceSubject]:
        return []

    def statements(self) -> list[bytes]:
        return []

    def sboms(self) -> list[FoundSbom]:
        return []

    def store(self, bundle: Bundle, subject: Subject, key: PublicKey) -> str:
        path = own_file(self.path)
        if isinstance(subject, ProvenanceSubject):
            path = provenance_file(path)
        write_bundle(path, bundle, key)
        return str(path)


@dataclass(frozen=True)
class BesideImage(BesideBag):
    """Files beside a layout or an archive; and what another program, such as oras, has put into its index."""

    storage: Layout | Archive
    verified: Verified

    def find(self) -> list[Found]:
        inside = self._inside(BUNDLE)
        return [*super().find(), *(_read_layer(self.storage, layer) for layer in inside)]

    def provenance(self) -> list[ProvenanceSubject]:
        return _subjects(self.statements(), self.verified, self._beside("provenance.json"))

    def statements(self) -> list[bytes]:
        with boundary(self.path):
            inside = [read_part(self.storage, layer) for layer in self._inside(STATEMENT)]
        return [*_read_if_any(self._beside("provenance.json"), LIMIT), *inside]

    def sboms(self) -> list[FoundSbom]:
        file = self._beside("cdx.json")
        beside = [FoundSbom(str(file), digest_of(content)) for content in _read_if_any(file, SBOM_LIMIT)]
        return [*beside, *_as_sboms(self.storage, self._inside(CYCLONEDX))]

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{ending}")

    def _inside(self, media_type: str) -> list[Descriptor]:
        with boundary(self.path):
            return _bounded(_layers_inside(self.storage, self.verified.image, media_type), self.path)


@dataclass(frozen=True)
class InRegistry:
    """What is attached to an image in a registry."""

    image: RemoteImage
    verified: Verified

    def find(self) -> list[Found]:
        name = self.image.repository.name
        with boundary(name):
            return [_read_layer(self.image, layer) for layer in _bounded(find_layers(self.image, BUNDLE), name)]

    def provenance(self) -> list[ProvenanceSubject]:
        return _subjects(self.statements(), self.verified, self.image.repository.name)

    def statements(self) -> list[bytes]:
        with boundary(self.image.repository.name):
            return statements(self.image)

    def sboms(self) -> list[FoundSbom]:
        with boundary(self.image.repository.name):
            return _as_sboms(self.image, find_layers(self.image, CYCLONEDX))

    def store(self, bundle: Bundle, subject: Subject, key: PublicKey) -> str:
        digest = attach(self.image.repository, self.image.image(), signature(bundle, subject))
        return f"docker://{self.image.repository.name.path}@{digest}"


def locate(
    text: str, folder: Path, workspace: Workspace | None, verified: Verified, *, insecure: bool, push: bool = False
) -> tuple[Subject, Place]:
    """Return what was verified as something that can be signed, and where its signatures are.

    Args:
        text: what the user verified.
        folder: where relative paths start.
        workspace: where a reference's bag is.
        verified: the outcome of the verification.
        insecure: accept a registry without TLS, or with an untrusted certificate.
        push: whether something will be attached to an image.

    Raises:
        MismatchError: it changed since it was verified.
        SignatureError: the bag has no list of sha256 hashes, of which a signature could be.
    """
    if text.startswith("docker://"):
        name = replace(ImageName.parse(text.removeprefix("docker://")), digest=verified.image)
        client = RegistryClient(name, actions="pull,push" if push else "pull", insecure=insecure)
        return ImageSubject(verified.image), InRegistry(RemoteImage.find(Repository(client)), verified)
    if text.startswith(("oci:", "oci-archive:")):
        form, _, name_here = text.partition(":")
        storage = Layout.at(folder, name_here) if form == "oci" else Archive.at(folder, name_here)
        path = (storage.root if isinstance(storage, Layout) else storage.path).resolve()
        return ImageSubject(verified.image), BesideImage(path, storage, verified)
    path = folder / text
    if not path.is_dir() and workspace is not None:
        path = workspace.bag(Reference.parse(text))
    return dataset_subject(path, verified.digest), BesideBag(path.resolve())


def dataset_subject(path: Path, digest: str) -> DatasetSubject:
    """Return the dataset in a bag that was verified, with the digest that it had."""
    bag = AnyBag.read(path)
    manifest = bag.manifests[0]
    if manifest.digest != digest:
        raise MismatchError(
            "the bag changed while it was verified", where=path, expected=digest, found=manifest.digest, fix="try again"
        )
    if manifest.algorithm != "sha256" or manifest.hashes.keys() != bag.names:
        raise SignatureError(
            "the bag can't be signed, nor a signature of it be checked",
            where=path,
            expected="manifest-sha256.txt with all its files",
            found=manifest.name,
        )
    files = {name.removeprefix(f"{PAYLOAD}/"): sha256 for name, sha256 in manifest.hashes.items()}
    return DatasetSubject(bag.info.get(IDENTIFIER) or path.resolve().name, digest, files)


@dataclass(frozen=True)
class Signatures:
    """What is known about the signatures of what was verified."""

    count: int
    valid: Valid | None = None  # None if no key was given
    provenance: tuple[Valid, ...] = ()  # of the image's provenance, if it has any
    sbom: SbomState = "none"  # of an image

    def __str__(self) -> str:
        lines = [_SBOM_STATES[self.sbom]] if self.sbom in _SBOM_STATES else []
        if self.valid is not None:
            lines += [f"provenance signed by {valid.key}: {valid.where}" for valid in self.provenance]
            lines.append(f"signed by {self.valid.key}: {self.valid.where}")
        elif self.count:
            lines.append(f"signatures: {self.count} found, NOT checked: name the signer's public key with --key")
        return "\n".join(lines)


def check_signatures(
    text: str, subject: Subject, place: Place, keys: Sequence[PublicKey], files: Sequence[Path] = ()
) -> Signatures:
    """Check the signatures of what was verified; without keys, only count them.

    Args:
        text: what the user verified, for errors.
        subject: what was verified.
        place: where its signatures are.
        keys: the public keys that the user trusts; any one will do.
        files: further files with signatures.

    Raises:
        SignatureError: no signature is by one of the keys and of exactly this subject, or the image has provenance
            that none of the keys has signed.
        MismatchError: the image's SBOM is not the one that its provenance names.
    """
    given = [read_found(file) for file in files]
    if keys:
        found = [*given, *place.find()]
        valid = require_valid(found, subject, keys, text)
        made = tuple(require_valid(found, provenance, keys, text) for provenance in place.provenance())
        return Signatures(len(found), valid, made, check_image_sboms(place, subject.digest))
    try:
        return Signatures(len(given) + len(place.find()), sbom=check_image_sboms(place, subject.digest))
    except ImageError:  # what others attached must not fail a verification that does not need it
        return Signatures(len(given))


def check_image_sboms(place: Place, image: str) -> SbomState:
    """Compare an image's SBOMs with its provenance; raise `MismatchError` if one is not what that names."""
    found = place.sboms()
    if not found:
        return "none"
    return "named" if check_sboms(image, place.statements(), found) else "unnamed"


def _as_sboms(storage: Storage, layers: Iterable[Descriptor]) -> list[FoundSbom]:
    return [FoundSbom(storage.locate(layer), layer.digest) for layer in layers]


def _read_if_any(file: Path, limit: int) -> list[bytes]:
    return [read_limited(file, limit, SignatureError)] if file.exists() or file.is_symlink() else []


def _subjects(found: Iterable[bytes], verified: Verified, where: object) -> list[ProvenanceSubject]:
    return [ProvenanceSubject.read(one, verified.image, verified.digest, where) for one in dict.fromkeys(found)]


def _bounded(layers: Iterable[Descriptor], where: object) -> list[Descriptor]:
    """Return layers that anyone may have attached, if a program should read as much; raise `ImageError` if not."""
    found = list(itertools.islice(layers, _MOST + 1))
    total = sum(min(layer.size, LIMIT) for layer in found)
    if len(found) > _MOST or total > _MOST_BYTES:
        expected = f"at most {_MOST} with {size(_MOST_BYTES)}"
        raise ImageError("too much is attached to the image", where=where, expected=expected, found=size(total))
    return found


def _layers_inside(storage: Layout | Archive, digest: str, media_type: str) -> Iterator[Descriptor]:
    """Yield what a layout's own index attaches to an image, of one media type."""
    for entry in entries_of(storage.read_index()):
        manifest = read_json(storage, Descriptor.parse(entry, storage))
        subject, layers = manifest.get("subject"), manifest.get("layers")
        if isinstance(subject, dict) and subject.get("digest") == digest and isinstance(layers, list):
            parsed = (Descriptor.parse(layer, storage) for layer in layers)
            yield from (layer for layer in parsed if layer.media_type == media_type)


def _read_layer(storage: Storage, layer: Descriptor) -> Found:
    where = storage.locate(layer)
    try:
        return Found(where, read_part(storage, layer, LIMIT))
    except DatapackError as error:
        return Found(where, b"", str(error))
