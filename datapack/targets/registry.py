"""``docker://REGISTRY/NAME:TAG``: an image in a registry, sent straight from the bag, without a copy or an engine.

Nothing that the registry already has is sent again. The manifest goes last: until then, the name shows nothing.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.catalog.licences import may_be_public, undecided
from datapack.errors import ImageError, MismatchError, UsageError
from datapack.hashing import digest_of
from datapack.image.kinds import image_name
from datapack.image.stand_in import STAND_IN, STAND_IN_MEANS
from datapack.oci.blob import UNOBSERVED, Blob
from datapack.oci.boundary import boundary
from datapack.oci.named_sbom import FoundSbom, check_sboms
from datapack.oci.spec import CONFIG, CYCLONEDX, MANIFEST
from datapack.progress import size
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository, is_loopback
from datapack.registry.referrers import EMPTY, attach, find_layers, statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from datapack.catalog.model import Entry
    from datapack.image.config import Image
    from datapack.oci.blob import Observer
    from datapack.oci.spec import Descriptor
    from datapack.registry.referrers import Artifact
    from datapack.registry.upload import Sent, Way
    from datapack.targets.target import Delivery

_WAYS: dict[Way, str] = {"sent": "sent", "there": "there already", "mounted": "mounted from another repository"}


def open_registry(text: str, delivery: Delivery) -> AbstractContextManager[RegistryTarget]:
    """Open a repository of a registry, and check that we may push there before a byte of the data is read.

    Args:
        text: ``REGISTRY/NAME[:TAG]``; empty for the name that the catalog and the reference give.
        delivery: what is pushed.

    Raises:
        UsageError: ``text`` is not such a name, the image is for tests only, or everybody could read private data.
        ImageError: the registry can't be reached, or refuses the push.
    """
    name = pushed_name(text, delivery.entry, runnable=delivery.runnable)
    refuse_stand_in(delivery.base.labels, name.registry)
    sources = [path for path in delivery.cache.repositories(name.registry) if path != name.repository]
    client = RegistryClient(name, actions="pull,push", sources=sources, insecure=delivery.insecure)
    target = RegistryTarget(name, Repository(client), delivery)
    target.repository.check_access()
    target.keep_private("")
    return nullcontext(target)


def pushed_name(text: str, entry: Entry, *, runnable: bool = False) -> ImageName:
    """Return the name under which a version is pushed; raise `UsageError` if ``text`` gives none."""
    reference = entry.reference
    if not text:
        if entry.defaults.registry is None:
            raise UsageError(
                "no registry to push to", where=reference, fix="set defaults.registry, or name one: --to docker://..."
            )
        text = f"{entry.defaults.registry}/{image_name(reference, runnable=runnable)}"
    name = ImageName.parse(text)
    if name.digest:
        raise UsageError("a push can't take a digest: it returns one", where=text, expected="REGISTRY/NAME:TAG")
    return replace(name, tag=name.tag or reference.version)


def refuse_stand_in(labels: Mapping[str, str], registry: str) -> None:
    """Allow an image based on a stand-in only in a registry on this machine.

    Args:
        labels: the image's labels or annotations.
        registry: ``host``, ``host:port`` or more, as at the start of an image's name.

    Raises:
        UsageError: the image would leave this machine.
    """
    if STAND_IN in labels and not is_loopback(registry):
        raise UsageError(
            f"this image is based on {STAND_IN_MEANS}",
            where=registry,
            expected="a registry on this machine, such as localhost:5000",
            fix="build it on the catalog's base, without --base",
        )


class RegistryTarget:
    """An image that is pushed to a repository of a registry."""

    checks = True

    def __init__(self, name: ImageName, repository: Repository, delivery: Delivery) -> None:
        self.name, self.repository, self._delivery = name, repository, delivery
        self._sent: dict[str, Sent] = {}  # by digest
        self.doing = f"pushing to {name}"
        self.streams = delivery.streams

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        cache, registry = self._delivery.cache, self.name.registry
        elsewhere = cache.repositories(registry, blob.digest) if blob.digest else []
        sent = self.repository.upload(blob, observer, [path for path in elsewhere if path != self.name.repository])
        cache.record_place(registry, self.name.repository, sent.descriptor.digest)
        self._sent[sent.descriptor.digest] = sent
        return sent.descriptor

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        self._check_name_is_free(image)
        config = self.add(Blob.of(CONFIG, image.config), UNOBSERVED)
        self.keep_private(config.digest)
        self.repository.put_manifest(image.manifest, MANIFEST, self.name.tag)
        if self.repository.find_manifest(image.digest) != image.manifest:
            raise ImageError("the registry can't find the image by its digest", where=self.name, expected=image.digest)
        self._check_is_private(image)
        for artifact in artifacts:
            self._attach(image, artifact)
        self._check_sboms(image)
        self._delivery.reporter.note(self._summary())
        return f"docker://{replace(self.name, digest=image.digest)}"

    def _attach(self, image: Image, artifact: Artifact) -> None:
        """Attach something. The image is there and complete without it, so a failure here does not fail the push."""
        reporter = self._delivery.reporter
        try:
            attach(self.repository, image.descriptor, artifact)
        except ImageError as error:
            reporter.note(f"the image is in the registry, but its {artifact.name} could not be attached: {error}")
            reporter.note("to attach it, run the same command again: nothing else is sent")
        else:
            reporter.note(f"the {artifact.name} is attached to the image")

    def _check_sboms(self, image: Image) -> None:
        """Raise `MismatchError` if somebody attached an SBOM that no provenance of the image names."""
        there = RemoteImage(self.repository, image.manifest)
        try:
            with boundary(self.name):
                found = [FoundSbom(there.locate(layer), layer.digest) for layer in find_layers(there, CYCLONEDX)]
                check_sboms(image.digest, statements(there) if found else [], found)
        except ImageError as error:  # as when nothing could be attached
            self._delivery.reporter.note(f"what is attached to the image was not checked: {error}")

    def _check_name_is_free(self, image: Image) -> None:
        """Raise `MismatchError` if the tag names another image, which somebody may have approved."""
        there = self.repository.find_manifest(self.name.tag)
        if there is None or self._delivery.replace or digest_of(there) == image.digest:
            return
        raise MismatchError(
            "the registry has another image of this name",
            where=self.name,
            expected=image.digest,
            found=digest_of(there),
            fix="make it a new version, or replace the other image with --replace",
        )

    def _summary(self) -> str:
        parts = []
        for way, words in _WAYS.items():
            sizes = [sent.descriptor.size for sent in self._sent.values() if sent.way == way]
            if sizes:
                parts.append(f"{len(sizes)} ({size(sum(sizes))}) {words}")
        return f"layers and configuration: {', '.join(parts)}"

    def keep_private(self, blob: str) -> None:
        """Raise `UsageError` if everybody could read here what not everybody may have, before any of it is sent.

        A registry may create the repository as soon as something is sent to it, and only then can we see who may read
        it. So the first to go are the two bytes that the provenance needs anyway.

        Args:
            blob: the digest of a blob that is there; empty for those two bytes.
        """
        dataset = self._delivery.entry.dataset
        if may_be_public(dataset):
            return
        if not self._is_public(blob or self.repository.upload(EMPTY).descriptor.digest):
            return
        if not self._delivery.allow_public and not dataset.private:
            raise undecided(self.name.path, dataset)
        if not self._delivery.allow_public:
            raise UsageError(
                "everybody can pull from this repository, and the dataset is private",
                where=self.name.path,
                expected="a repository that only authorised people can read",
                fix="make it private first, or push anyway with --allow-public",
            )
        if not blob:
            self._delivery.reporter.warn(f"EVERYBODY CAN PULL FROM {self.name.path}\n{self._privacy}")

    def _check_is_private(self, image: Image) -> None:
        """Raise `ImageError` if the image became visible to everybody although it is private."""
        delivery = self._delivery
        dataset = delivery.entry.dataset
        if not may_be_public(dataset) and not delivery.allow_public and self._is_public(image.id):
            raise ImageError(
                "EVERYBODY CAN PULL THIS PRIVATE IMAGE",
                where=self.name,
                fix="make the repository private NOW, or delete the image; then run this again",
            )

    @property
    def _privacy(self) -> str:
        entry = self._delivery.entry
        said = "is private" if entry.dataset.private else "has this licence, and not that anyone may have it"
        return f"and the catalog says that {entry.reference.name} {said} ({entry.dataset.licence})."

    def _is_public(self, digest: str) -> bool:
        """Whether everybody can read the repository, in which a blob with this digest is."""
        anonymous = RegistryClient(self.name, insecure=self._delivery.insecure, anonymous=True)
        return Repository(anonymous).lets_read(digest)
