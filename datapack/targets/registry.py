"""``docker://REGISTRY/NAME:TAG``: an image in a registry, sent straight from the bag, without a copy or an engine.

Nothing that the registry already has is sent again. The manifest goes last: until then, the name shows nothing.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.errors import ImageError, MismatchError, UsageError
from datapack.hashing import digest_of
from datapack.image.stand_in import refuse_stand_in
from datapack.oci.blob import UNOBSERVED, Blob
from datapack.oci.spec import CONFIG, MANIFEST
from datapack.progress import size
from datapack.registry import ImageName, RefusedError, RegistryClient, Repository
from datapack.registry.referrers import attach

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from datapack.image.config import Image
    from datapack.oci.blob import Observer
    from datapack.oci.spec import Descriptor
    from datapack.registry.upload import Sent, Way
    from datapack.targets.target import Delivery

_WAYS: dict[Way, str] = {"sent": "sent", "there": "there already", "mounted": "mounted from another repository"}


def open_registry(text: str, delivery: Delivery) -> AbstractContextManager[RegistryTarget]:
    """Open a repository of a registry, and check that we may push there before a byte of the data is read.

    Args:
        text: ``REGISTRY/NAME[:TAG]``; empty for the name that the catalog and the reference give.
        delivery: what is pushed.

    Raises:
        UsageError: ``text`` is not such a name, or the image is for tests only.
        ImageError: the registry can't be reached, or refuses the push.
    """
    name = _name(text, delivery)
    refuse_stand_in(delivery.base.labels, name.registry)
    sources = [path for path in delivery.cache.repositories(name.registry) if path != name.repository]
    client = RegistryClient(name, actions="pull,push", sources=sources, insecure=delivery.insecure)
    target = RegistryTarget(name, Repository(client), delivery)
    target.repository.check_access()
    target.warn_if_public()
    return nullcontext(target)


def _name(text: str, delivery: Delivery) -> ImageName:
    reference = delivery.entry.reference
    if not text:
        if delivery.entry.defaults.registry is None:
            raise UsageError(
                "no registry to push to", where=reference, fix="set defaults.registry, or name one: --to docker://..."
            )
        text = f"{delivery.entry.defaults.registry}/{reference.name}"
    name = ImageName.parse(text)
    if name.digest:
        raise UsageError("a push can't take a digest: it returns one", where=text, expected="REGISTRY/NAME:TAG")
    return replace(name, tag=name.tag or reference.version)


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

    def commit(self, image: Image, statement: bytes) -> str:
        self._check_name_is_free(image)
        self.add(Blob.of(CONFIG, image.config), UNOBSERVED)
        self.repository.put_manifest(image.manifest, MANIFEST, self.name.tag)
        if self.repository.find_manifest(image.digest) != image.manifest:
            raise ImageError("the registry can't find the image by its digest", where=self.name, expected=image.digest)
        attach(self.repository, image.descriptor, statement)
        self._delivery.reporter.note(self._summary())
        self.warn_if_public(image.digest)
        return f"docker://{replace(self.name, digest=image.digest)}"

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

    def warn_if_public(self, digest: str = "") -> None:
        """Warn if a private dataset goes to, or is in, a repository that everybody can read."""
        dataset, reporter = self._delivery.entry.dataset, self._delivery.reporter
        if not dataset.private:
            return
        everybody = Repository(RegistryClient(self.name, insecure=self._delivery.insecure, anonymous=True))
        try:
            answers = everybody.answers() if not digest else everybody.find_manifest(digest) is not None
        except RefusedError:
            answers = False
        if answers:
            reporter.warn(
                f"EVERYBODY CAN {'PULL THIS IMAGE' if digest else 'PULL'} FROM {self.name.path}\n"
                f"and the catalog says that {self._delivery.entry.reference.name} is private ({dataset.licence}).\n"
                f"{'Make the package private NOW, or delete it.' if digest else 'Stop, and make it private first.'}"
            )
