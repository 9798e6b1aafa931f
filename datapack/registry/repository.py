"""One repository of a registry: its manifests and its blobs. What comes is held against its digest."""

from __future__ import annotations

import contextlib
import hashlib
import time
from contextlib import closing
from typing import TYPE_CHECKING

from datapack.errors import ImageError
from datapack.files import atomic_writer
from datapack.hashing import digest_of, is_digest
from datapack.oci.blob import UNOBSERVED
from datapack.oci.spec import DOCKER_EQUIVALENTS, Descriptor, checked
from datapack.registry.client import TRIES, Connection, unreachable
from datapack.registry.upload import Upload, backoff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import requests

    from datapack.oci.blob import Blob, Observer
    from datapack.registry.upload import Sent

_MANIFEST_TYPES = ", ".join(sorted({*DOCKER_EQUIVALENTS, *DOCKER_EQUIVALENTS.values()}))
_OK, _CREATED, _ACCEPTED, _PARTIAL, _NOT_FOUND = 200, 201, 202, 206, 404
_BLOCK = 1 << 20  # bytes


class Repository:
    """A repository, over a connection that says as whom it is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name

    def manifest(self, reference: str) -> bytes:
        """Return the manifest of a digest, checked, or of a tag; raise `ImageError` where there is none."""
        content = self.find_manifest(reference)
        if content is None:
            fix = "check the name; a private one needs a login"
            raise ImageError("the registry has no such manifest", where=self.name, expected=reference, fix=fix)
        return checked(content, reference, where=self.name) if is_digest(reference) else content

    def find_manifest(self, reference: str) -> bytes | None:
        """Return the manifest of a digest or a tag, or None where the registry has none.

        It is checked against the digest that the registry announces; what was asked for by a digest, see `manifest`.
        """
        response = self._connection.request("GET", f"manifests/{reference}", headers={"Accept": _MANIFEST_TYPES})
        if response.status_code == _NOT_FOUND:
            return None
        if response.status_code != _OK:
            raise self._connection.refusal(response, f"the manifest {reference}")
        announced = response.headers.get("Docker-Content-Digest", "")
        return checked(response.content, announced, where=self.name) if is_digest(announced) else response.content

    def blob_size(self, digest: str) -> int | None:
        """Return how many bytes the registry says that a blob has, or None where it has no such blob."""
        response = self._connection.request("HEAD", f"blobs/{digest}")
        if response.status_code == _NOT_FOUND:
            return None
        if response.status_code != _OK:
            raise self._connection.refusal(response, f"the blob {digest}")
        return int(response.headers.get("Content-Length", -1))

    def blob(self, digest: str) -> Iterator[bytes]:
        """Give a blob's bytes as they come, unchecked; where the connection is cut, go on from there."""
        import requests

        have, tries = 0, TRIES
        while True:
            headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
            response = self._connection.request("GET", f"blobs/{digest}", headers=headers, stream=True)
            with closing(response):
                if response.status_code not in {_OK, _PARTIAL}:
                    raise self._connection.refusal(response, f"the blob {digest}")
                skip = have if response.status_code == _OK else 0
                try:
                    for block in response.iter_content(_BLOCK):
                        fresh, skip = block[skip:], max(0, skip - len(block))
                        have += len(fresh)
                        if fresh:
                            yield fresh
                except (requests.RequestException, OSError) as error:
                    tries -= 1
                    if not tries:
                        raise unreachable(error, self.name) from error
                else:
                    return
            time.sleep(backoff(TRIES - tries))

    def save_blob(self, descriptor: Descriptor, path: Path) -> None:
        """Fetch a blob into a file, which gets its name when the digest is right."""
        found = hashlib.sha256()
        with atomic_writer(path) as file:
            for block in self.blob(descriptor.digest):
                found.update(block)
                file.write(block)
            if f"sha256:{found.hexdigest()}" != descriptor.digest:
                raise ImageError(
                    "what the registry sent is damaged",
                    where=self.name,
                    expected=descriptor.digest,
                    found=f"sha256:{found.hexdigest()}",
                    fix="try again",
                )

    def small_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob, checked."""
        return checked(b"".join(self.blob(descriptor.digest)), descriptor.digest, where=self.name)

    def find_referrers(self, digest: str) -> bytes | None:
        """Return the index of what is attached to an image, or None where the registry keeps no such lists."""
        response = self._connection.request("GET", f"referrers/{digest}")
        return response.content if response.status_code == _OK else None

    def answers(self) -> bool:
        """Say whether the registry tells us anything of this repository, even that it is empty."""
        response = self._connection.request("GET", "tags/list")
        return response.status_code in {_OK, _NOT_FOUND}

    def check_access(self) -> None:
        """Begin an upload and give it up: raise `RefusedError` where nothing may be pushed, before anything is read."""
        response = self._connection.request("POST", "blobs/uploads/")
        if response.status_code != _ACCEPTED:
            raise self._connection.refusal(response, "an upload")
        if location := response.headers.get("Location"):
            with contextlib.suppress(ImageError):  # the registry forgets it in any case
                self._connection.request("DELETE", location)

    def upload(self, blob: Blob, observer: Observer = UNOBSERVED, mount_from: Sequence[str] = ()) -> Sent:
        """Bring a part there, unless it is there or in one of these other repositories; see `Upload.run`."""
        return Upload(self._connection, self.blob_size, blob, observer, mount_from).run()

    def put_manifest(self, content: bytes, media_type: str, reference: str) -> requests.Response:
        """Put a manifest under a tag or its own digest, and read it back; return the answer to the first.

        Raises:
            ImageError: the registry takes it, and then has another.
            RefusedError: it does not take it.
        """
        headers = {"Content-Type": media_type}
        response = self._connection.request("PUT", f"manifests/{reference}", headers=headers, data=content)
        if response.status_code != _CREATED:
            raise self._connection.refusal(response, f"the manifest {reference}")
        digest, found = digest_of(content), digest_of(self.manifest(reference))
        if found != digest:
            raise ImageError(
                "the registry has another manifest than it was given",
                where=f"{self.name.path}:{reference}",
                expected=digest,
                found=found,
                fix="does somebody else push to this name?",
            )
        return response
