"""The signatures of what was verified: where they are, and whether one of them is by a key that the user trusts.

They are looked for under the digest that was verified, so it does not matter what happens to names and folders between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from datapack.bag.any_bag import AnyBag
from datapack.bag.bagit import IDENTIFIER
from datapack.bag.manifest import PAYLOAD
from datapack.errors import DatapackError, ImageError, MismatchError, SignatureError
from datapack.oci.archive import Archive
from datapack.oci.boundary import boundary
from datapack.oci.image import read_json, read_part
from datapack.oci.index import entries_of
from datapack.oci.layout import Layout
from datapack.oci.spec import Descriptor
from datapack.reference import Reference
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, find_layers
from datapack.signing.artifact import signature
from datapack.signing.bundle import BUNDLE, LIMIT, Bundle
from datapack.signing.check import Found, Valid, require_valid
from datapack.signing.files import files_beside, own_file, read_found, write_bundle
from datapack.signing.subject import DatasetSubject, ImageSubject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datapack.oci.image import Storage
    from datapack.signing.keys import PublicKey
    from datapack.signing.subject import Subject
    from datapack.verify.outcome import Verified
    from datapack.workspace.folder import Workspace


class Place(Protocol):
    """Where the signatures of a bag or an image are."""

    def find(self) -> list[Found]:
        """Return the signatures; raise `ImageError` if a registry's or a layout's list can't be read."""

    def store(self, bundle: Bundle, subject: Subject, key: PublicKey) -> str:
        """Store a signature; return where it is now."""


@dataclass(frozen=True)
class BesideBag:
    """Files beside a bag."""

    path: Path

    def find(self) -> list[Found]:
        return [read_found(file) for file in files_beside(self.path)]

    def store(self, bundle: Bundle, subject: Subject, key: PublicKey) -> str:
        write_bundle(own_file(self.path), bundle, key)
        return str(own_file(self.path))


@dataclass(frozen=True)
class BesideImage(BesideBag):
    """Files beside a layout or an archive; and what another program, such as oras, has put into its index."""

    storage: Layout | Archive
    digest: str  # of the image

    def find(self) -> list[Found]:
        with boundary(self.path):
            inside = list(_layers_inside(self.storage, self.digest))
        return [*super().find(), *(_read_layer(self.storage, layer) for layer in inside)]


@dataclass(frozen=True)
class InRegistry:
    """What is attached to an image in a registry."""

    image: RemoteImage

    def find(self) -> list[Found]:
        with boundary(self.image.repository.name):
            return [_read_layer(self.image, layer) for layer in find_layers(self.image, BUNDLE)]

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
        return ImageSubject(verified.image), InRegistry(RemoteImage.find(Repository(client)))
    if text.startswith(("oci:", "oci-archive:")):
        form, _, name_here = text.partition(":")
        storage = Layout.at(folder, name_here) if form == "oci" else Archive.at(folder, name_here)
        path = (storage.root if isinstance(storage, Layout) else storage.path).resolve()
        return ImageSubject(verified.image), BesideImage(path, storage, verified.image)
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

    def __str__(self) -> str:
        if self.valid is not None:
            return f"signed by {self.valid.key}: {self.valid.where}"
        if not self.count:
            return ""
        return f"signatures: {self.count} found, NOT checked: name the signer's public key with --key"


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
        SignatureError: no signature is by one of the keys and of exactly this subject.
    """
    given = [read_found(file) for file in files]
    if keys:
        found = [*given, *place.find()]
        return Signatures(len(found), require_valid(found, subject, keys, text))
    try:
        return Signatures(len(given) + len(place.find()))
    except ImageError:  # what others attached must not fail a verification that does not need it
        return Signatures(len(given))


def _layers_inside(storage: Layout | Archive, digest: str) -> Iterator[Descriptor]:
    """Yield the bundles that a layout's own index attaches to an image."""
    for entry in entries_of(storage.read_index()):
        manifest = read_json(storage, Descriptor.parse(entry, storage))
        subject, layers = manifest.get("subject"), manifest.get("layers")
        if isinstance(subject, dict) and subject.get("digest") == digest and isinstance(layers, list):
            parsed = (Descriptor.parse(layer, storage) for layer in layers)
            yield from (layer for layer in parsed if layer.media_type == BUNDLE)


def _read_layer(storage: Storage, layer: Descriptor) -> Found:
    where = storage.locate(layer)
    try:
        return Found(where, read_part(storage, layer, LIMIT))
    except DatapackError as error:
        return Found(where, b"", str(error))
