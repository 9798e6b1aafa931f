"""The upload of one blob: streamed, and restarted from its beginning if the network or the registry fails."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from datapack.errors import ImageError
from datapack.oci.blob import UNOBSERVED
from datapack.registry.answer import Answer, RefusedError, UnreachableError
from datapack.registry.retry import TRIES, backoff, eventually, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from datapack.oci.blob import Blob, Observer
    from datapack.oci.spec import Descriptor
    from datapack.registry.client import RegistryClient
    from datapack.registry.destination import Destination

Way = Literal["sent", "there", "mounted"]

UNKNOWN = -1  # the size of a blob that the registry has without saying how large it is
_CREATED, _ACCEPTED = 201, 202
_SEND = 128 << 10  # bytes at once: even a slow line takes them within `UPLOAD_TIMEOUT`
_SERVER_ERROR = 500
_SESSION_LOST = {404, 416}  # the answers in an upload whose session the registry has lost, or whose state differs
_DAMAGED = {"DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID"}


@dataclass(frozen=True)
class Sent:
    """A blob that is in the registry now, and how it got there."""

    descriptor: Descriptor
    way: Way


class _Body:
    """A blob as a request body: it can be sent several times, and knows its digest once it was sent."""

    def __init__(self, blob: Blob, observer: Observer) -> None:
        self._blob, self._observer, self.digest = blob, observer, blob.digest

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
                if attempt == TRIES or not _may_pass(error, attempt, begun=begun):
                    raise
                self.observer.wait(backoff(attempt, getattr(error, "retry_after", "")))
        raise AssertionError("not reached: the last try returns or raises")

    def _is_there(self, digest: str) -> bool:
        """Whether the registry has a blob. If it fails to say, as after a full disk, the blob is sent again."""
        try:
            return self.blob_size(digest) in {self.blob.size, UNKNOWN}
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

    def _send(self, body: _Body, location: Destination) -> Sent:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self.blob.size)}
        answer = self._ask("PATCH", location, headers=headers, body=body)
        if not answer.ok:
            raise self.client.refusal(answer, "the bytes of a layer")
        location = self._location(answer) if "Location" in answer.headers else location
        answer = self._ask("PUT", location, params={"digest": body.digest})
        if not answer.ok:
            raise self.client.refusal(answer, f"the layer {body.digest}")
        self._check(answer, body.digest)
        return Sent(self.blob.descriptor(body.digest), "sent")

    def _ask(self, method: str, location: Destination, **request: Any) -> Answer:
        """Send a request of an upload, once: after a failure the upload starts again from its beginning."""
        with self.client.open(method, location, **request) as response:
            return Answer.read(response, method)

    def _begin(self, digest: str) -> Destination | None:
        """Begin an upload; return where to send the bytes, or None if the registry could mount the blob."""
        for repository in self.mount_from if digest else ():
            query = {"mount": digest, "from": repository}
            answer = self.client.request("POST", "blobs/uploads/", params=query)
            if answer.status == _CREATED and self._is_there(digest):
                return None
            if answer.status == _ACCEPTED:
                return self._location(answer)
        answer = self.client.request("POST", "blobs/uploads/")
        if answer.status != _ACCEPTED:
            raise self.client.refusal(answer, "an upload")
        return self._location(answer)

    def _location(self, answer: Answer) -> Destination:
        """Return where an upload continues."""
        return self.client.lead(answer, answer.headers.get("Location", ""))

    def _check(self, answer: Answer, digest: str) -> None:
        """Raise `ImageError` if the registry stored a different blob from the one that was sent."""
        named = answer.headers.get("Docker-Content-Digest", digest)
        right = {self.blob.size, UNKNOWN}
        size = eventually(lambda: self.blob_size(digest), right.__contains__, self.observer.wait)
        if named != digest or size not in right:
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


def _may_pass(error: RefusedError | UnreachableError, attempt: int, *, begun: bool) -> bool:
    """Whether a retry may succeed. If the upload had started, perhaps only its session was lost."""
    if isinstance(error, UnreachableError):
        return attempt < error.max_tries
    if begun and (error.status in _SESSION_LOST or error.code in _DAMAGED):
        return True
    return may_pass(error.status)
