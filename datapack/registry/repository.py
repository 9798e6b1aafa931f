"""One repository of a registry: its manifests and its blobs."""

from __future__ import annotations

import contextlib
import time
from contextlib import closing
from typing import TYPE_CHECKING

from datapack.errors import ImageError
from datapack.hashing import digest_of, is_digest
from datapack.oci.blob import UNOBSERVED
from datapack.oci.spec import DOCKER_EQUIVALENTS, checked
from datapack.registry.client import TRIES, RegistryClient, unreachable
from datapack.registry.upload import Upload, backoff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import requests

    from datapack.oci.blob import Blob, Observer
    from datapack.registry.upload import Sent

_MANIFEST_TYPES = ", ".join(sorted({*DOCKER_EQUIVALENTS, *DOCKER_EQUIVALENTS.values()}))
_OK, _CREATED, _ACCEPTED, _PARTIAL, _NOT_FOUND = 200, 201, 202, 206, 404
_BLOCK = 1 << 20  # bytes


class Repository:
    """A repository, as its client sees it: with the client's credentials and permissions."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self.name = client.name

    def manifest(self, reference: str) -> bytes:
        """Return the manifest with a tag, or with a digest, which is checked; raise `ImageError` if there is none."""
        content = self.find_manifest(reference)
        if content is None:
            fix = "check the name; a private repository needs a login"
            raise ImageError("the registry has no such manifest", where=self.name, expected=reference, fix=fix)
        return checked(content, reference, where=self.name) if is_digest(reference) else content

    def find_manifest(self, reference: str) -> bytes | None:
        """Return the manifest with a digest or a tag, or None if the registry has none.

        It is checked against the digest that the registry announces; `manifest` checks it against the requested one.
        """
        response = self._client.request("GET", f"manifests/{reference}", headers={"Accept": _MANIFEST_TYPES})
        if response.status_code == _NOT_FOUND:
            return None
        if response.status_code != _OK:
            raise self._client.refusal(response, f"the manifest {reference}")
        announced = response.headers.get("Docker-Content-Digest", "")
        return checked(response.content, announced, where=self.name) if is_digest(announced) else response.content

    def blob_size(self, digest: str) -> int | None:
        """Return the size in bytes that the registry reports for a blob, or None if there is no such blob."""
        response = self._client.request("HEAD", f"blobs/{digest}")
        if response.status_code == _NOT_FOUND:
            return None
        if response.status_code != _OK:
            raise self._client.refusal(response, f"the blob {digest}")
        return int(response.headers.get("Content-Length", -1))

    def blob(self, digest: str) -> Iterator[bytes]:
        """Yield a blob's bytes as they come, unchecked; resume where the connection was cut."""
        import requests

        have, tries = 0, TRIES
        while True:
            headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
            response = self._client.request("GET", f"blobs/{digest}", headers=headers, stream=True)
            with closing(response):
                if response.status_code not in {_OK, _PARTIAL}:
                    raise self._client.refusal(response, f"the blob {digest}")
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

    def find_referrers(self, digest: str) -> bytes | None:
        """Return the index of what is attached to an image, or None if the registry keeps no such lists."""
        response = self._client.request("GET", f"referrers/{digest}")
        return response.content if response.status_code == _OK else None

    def answers(self) -> bool:
        """Whether the registry lets this client read the repository, which may not exist yet."""
        response = self._client.request("GET", "tags/list")
        return response.status_code in {_OK, _NOT_FOUND}

    def check_access(self) -> None:
        """Start an upload and cancel it; raise `RefusedError`, before any data is read, if we may not push."""
        response = self._client.request("POST", "blobs/uploads/")
        if response.status_code != _ACCEPTED:
            raise self._client.refusal(response, "an upload")
        if location := response.headers.get("Location"):
            with contextlib.suppress(ImageError):  # the registry forgets it anyway
                self._client.request("DELETE", location)

    def upload(self, blob: Blob, observer: Observer = UNOBSERVED, mount_from: Sequence[str] = ()) -> Sent:
        """Upload a blob, unless it is there or can be mounted from one of these repositories; see `Upload.run`."""
        return Upload(self._client, self.blob_size, blob, observer, mount_from).run()

    def put_manifest(self, content: bytes, media_type: str, reference: str) -> requests.Response:
        """Put a manifest under a tag or its own digest and read it back; return the answer to the PUT.

        Raises:
            ImageError: the registry accepted it, but returns another one.
            RefusedError: the registry refused it.
        """
        headers = {"Content-Type": media_type}
        response = self._client.request("PUT", f"manifests/{reference}", headers=headers, data=content)
        if response.status_code != _CREATED:
            raise self._client.refusal(response, f"the manifest {reference}")
        digest, found = digest_of(content), digest_of(self.manifest(reference))
        if found != digest:
            raise ImageError(
                "the registry returns a different manifest from the one that was pushed",
                where=f"{self.name.path}:{reference}",
                expected=digest,
                found=found,
                fix="check whether somebody else pushes to this name",
            )
        return response
