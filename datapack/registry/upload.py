"""The upload of one blob: streamed, and restarted from its beginning if the network or the registry fails."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from datapack.errors import ImageError
from datapack.oci.blob import UNOBSERVED
from datapack.registry.client import TRIES, RefusedError, RegistryClient, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import requests

    from datapack.oci.blob import Blob, Observer
    from datapack.oci.spec import Descriptor

Way = Literal["sent", "there", "mounted"]

_CREATED, _ACCEPTED = 201, 202
_SEND = 128 << 10  # bytes at once: even a slow line takes them within `UPLOAD_TIMEOUT`
_LONGEST_PAUSE = 60  # seconds, unless the registry asks for more
_LONGEST_RETRY_AFTER = 600  # seconds
_BUSY = {408, 425, 429}
_SERVER_ERROR = 500
_SESSION_LOST = {404, 416}  # the answers in an upload whose session the registry has lost, or whose state differs
_DAMAGED = {"DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID"}


@dataclass(frozen=True)
class Sent:
    """A blob that is in the registry now, and how it got there."""

    descriptor: Descriptor
    way: Way


class _Body:
    """A blob as a request body: it has a length, can be sent several times, and knows its digest once it was sent."""

    def __init__(self, blob: Blob, observer: Observer) -> None:
        self._blob, self._observer, self.digest = blob, observer, blob.digest

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        with contextlib.closing(self._blob.content.blocks(self._observer)) as blocks:
            while True:
                try:
                    block = next(blocks)
                except StopIteration as end:
                    self.digest = end.value
                    return
                yield from (block[at : at + _SEND] for at in range(0, len(block), _SEND))


@dataclass
class Upload:
    """The upload of one blob."""

    client: RegistryClient
    blob_size: Callable[[str], int | None]  # of a blob in the registry
    blob: Blob
    observer: Observer = UNOBSERVED
    mount_from: Sequence[str] = ()  # other repositories that may have it

    def run(self) -> Sent:
        """Upload the blob; retry what may pass, from its beginning, with exponential backoff.

        Raises:
            DatapackError: the blob can't be read, or the registry did not take it in `TRIES` tries.
        """
        body = _Body(self.blob, self.observer)
        body.digest = self.blob.digest or self._expected()
        for attempt in range(1, TRIES + 1):
            begun = False
            try:
                if body.digest and self._is_there(body.digest):
                    return Sent(self.blob.descriptor(body.digest), "there")
                location = self._begin(body.digest)
                if location is None:
                    return Sent(self.blob.descriptor(body.digest), "mounted")
                begun = True
                return self._send(body, location)
            except (RefusedError, UnreachableError) as error:
                if attempt == TRIES or not _may_pass(error, begun):
                    raise
                self.observer.wait(backoff(attempt, getattr(error, "retry_after", "")))
        raise AssertionError("not reached: the last try returns or raises")

    def _is_there(self, digest: str) -> bool:
        """Whether the registry has a blob. If it fails to say, as after a full disk, the blob is sent again."""
        try:
            return self.blob_size(digest) == self.blob.size
        except RefusedError as error:
            if error.status < _SERVER_ERROR:
                raise
            return False

    def _expected(self) -> str:
        """Return the digest in the lock if the registry has that blob, once our bytes are found to be the same."""
        expected = self.blob.expected
        if not expected or not self._is_there(expected):
            return ""
        return self.blob.write(_Nowhere(), self.observer)

    def _send(self, body: _Body, location: str) -> Sent:
        headers = {"Content-Type": "application/octet-stream"}
        response = self.client.request("PATCH", location, headers=headers, data=body)
        if response.status_code != _ACCEPTED:
            raise self.client.refusal(response, "the bytes of a layer")
        response = self.client.request("PUT", self._location(response), params={"digest": body.digest})
        if response.status_code != _CREATED:
            raise self.client.refusal(response, f"the layer {body.digest}")
        self._check(response, body.digest)
        return Sent(self.blob.descriptor(body.digest), "sent")

    def _begin(self, digest: str) -> str | None:
        """Begin an upload; return where to send the bytes, or None if the registry could mount the blob."""
        for repository in self.mount_from if digest else ():
            query = {"mount": digest, "from": repository}
            response = self.client.request("POST", "blobs/uploads/", params=query)
            if response.status_code == _CREATED and self.blob_size(digest) == self.blob.size:
                return None
            if response.status_code == _ACCEPTED:
                return self._location(response)
        response = self.client.request("POST", "blobs/uploads/")
        if response.status_code != _ACCEPTED:
            raise self.client.refusal(response, "an upload")
        return self._location(response)

    def _location(self, response: requests.Response) -> str:
        """Return where an upload continues. A registry behind a proxy may call itself http; only its host counts."""
        asked, given = urlsplit(response.request.url or ""), urlsplit(response.headers.get("Location", ""))
        if given.hostname == asked.hostname and given.scheme == "http" and asked.scheme == "https":
            given = given._replace(scheme="https")
        return urlunsplit(given)

    def _check(self, response: requests.Response, digest: str) -> None:
        """Raise `ImageError` if the registry stored a different blob from the one that was sent."""
        named = response.headers.get("Docker-Content-Digest", digest)
        size = self.blob_size(digest)
        if named != digest or size != self.blob.size:
            raise ImageError(
                "the registry stored a different layer from the one that was sent",
                where=self.client.name,
                expected=f"{digest}, {self.blob.size} bytes",
                found=f"{named}, {'missing' if size is None else f'{size} bytes'}",
                fix="this registry can't be relied on: ask its operator",
            )


class _Nowhere:
    def write(self, content: bytes | memoryview, /) -> None:
        pass


def _may_pass(error: RefusedError | UnreachableError, begun: bool) -> bool:
    """Whether a retry may succeed. If the upload had started, perhaps only its session was lost."""
    if isinstance(error, UnreachableError):
        return error.may_pass
    if begun and (error.status in _SESSION_LOST or error.code in _DAMAGED):
        return True
    return error.status in _BUSY or error.status >= _SERVER_ERROR


def backoff(attempt: int, retry_after: str = "") -> float:
    """Return the seconds until the next try: what the registry asks for, or exponential backoff with jitter."""
    if retry_after.isdigit():
        return min(int(retry_after), _LONGEST_RETRY_AFTER)
    return min(_LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
