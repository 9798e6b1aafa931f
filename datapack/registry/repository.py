"""One repository of a registry: its manifests and its blobs."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.hashing import digest_of, is_digest
from datapack.oci.blob import UNOBSERVED
from datapack.oci.spec import DOCKER_EQUIVALENTS, INDEX, checked
from datapack.progress import size as shown
from datapack.registry.answer import Answer, RefusedError, UnreachableError
from datapack.registry.retry import TRIES, backoff, eventually, may_pass
from datapack.registry.upload import UNKNOWN, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datapack.oci.blob import Blob, Observer
    from datapack.oci.spec import Descriptor
    from datapack.registry.client import RegistryClient
    from datapack.registry.upload import Sent
    from datapack.web import Response


_MANIFEST_TYPES = ", ".join(sorted({*DOCKER_EQUIVALENTS, *DOCKER_EQUIVALENTS.values()}))
_OK, _ACCEPTED, _PARTIAL, _NOT_FOUND = 200, 202, 206, 404
_NOT_ALLOWED = {401, 403, 404}
_PROGRESS = 1 << 20  # bytes after which a download counts its tries anew
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_NEXT = re.compile(r"""\s*rel\s*=\s*(?:next|"next"|'next')\s*""", re.IGNORECASE)
_PAGES = 100  # of a list


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
        answer = self._client.request("GET", f"manifests/{reference}", headers={"Accept": _MANIFEST_TYPES})
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise self._client.refusal(answer, f"the manifest {reference}")
        announced = answer.headers.get("Docker-Content-Digest", "")
        return checked(answer.content, announced, where=self.name) if is_digest(announced) else answer.content

    def blob_size(self, digest: str) -> int | None:
        """Return the size of a blob in bytes, None if there is no such blob, `UNKNOWN` if the registry does not say."""
        answer = self._client.request("HEAD", f"blobs/{digest}")
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise self._client.refusal(answer, f"the blob {digest}")
        return self._size_of_download(digest) if answer.length is None else answer.length

    def _size_of_download(self, digest: str) -> int:
        """Return the size that a download of a blob announces, or `UNKNOWN`."""
        with self._client.open("GET", f"blobs/{digest}", headers={"Range": "bytes=0-0"}) as response:
            if response.status == _PARTIAL:
                found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
                return int(found[2]) if found and found[2] != "*" else UNKNOWN
            length = response.length if response.status == _OK else None
            return UNKNOWN if length is None else length

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield a blob's bytes as they come, unchecked but for their number; resume where the connection was cut."""
        have, counted, tries = 0, 0, 0
        while True:
            try:
                for block in self._blob_from(descriptor, have):
                    have += len(block)
                    yield block
                if have >= descriptor.size:
                    return
                raise _CutError("the blob ended early", where=self.name, expected=descriptor.size, found=have)
            except (UnreachableError, RefusedError) as error:
                tries, counted = (1, have) if have - counted >= _PROGRESS else (tries + 1, counted)
                final = not may_pass(error.status) if isinstance(error, RefusedError) else tries >= error.max_tries
                if final or tries >= TRIES:
                    raise
            time.sleep(backoff(tries))

    def _blob_from(self, descriptor: Descriptor, start: int) -> Iterator[bytes]:
        """Yield a blob's bytes from a position, at most as many as it has."""
        doing, headers = f"the blob {descriptor.digest}", {"Range": f"bytes={start}-"} if start else {}
        with self._client.open("GET", f"blobs/{descriptor.digest}", headers=headers) as response:
            if response.status not in {_OK, _PARTIAL}:
                raise self._client.refusal(Answer.read(response, "GET"), doing)
            position = _start_of(response) if response.status == _PARTIAL else 0
            if position is None or position > start:
                raise _CutError("the registry sends another part of a blob than it was asked for", where=self.name)
            for block in response.blocks():
                fresh = block[max(0, start - position) :]
                position += len(block)
                if position > descriptor.size:
                    raise ImageError(
                        "the registry sends more than this blob has",
                        where=f"{self.name.path}@{descriptor.digest}",
                        expected=shown(descriptor.size),
                    )
                if fresh:
                    yield fresh

    def find_referrers(self, digest: str) -> list[Any] | None:
        """Return the entries of what is attached to an image, or None if the registry keeps no such lists.

        Raises:
            ImageError: the list is endless, or continues elsewhere.
        """
        answer = self._client.request("GET", f"referrers/{digest}", headers={"Accept": INDEX})
        entries = self._page(answer)
        for _ in range(_PAGES):
            following = _next_page(answer.headers.get("Link", ""))
            if entries is None or following is None:
                return entries
            page = self._client.lead(answer, following)
            if not page.own:
                raise self._odd_list("it continues at another host")
            answer = self._client.request("GET", page, headers={"Accept": INDEX})
            more = self._page(answer)
            if more is None:
                raise self._odd_list("its next page is no list")
            entries += more
        raise self._odd_list(f"over {_PAGES} pages")

    def _page(self, answer: Answer) -> list[Any] | None:
        """Return the entries on a page. Some registries answer any path with a web page: that is no list."""
        if may_pass(answer.status):
            raise self._client.refusal(answer, "the image's list of attachments")
        document = answer.json() if answer.status == _OK else None
        if not isinstance(document, dict) or "manifests" not in document:
            return None
        entries = document["manifests"]
        return entries if isinstance(entries, list) else []

    def _odd_list(self, found: str) -> ImageError:
        return ImageError("the image's list of attachments can't be read", where=self.name, found=found)

    def lets_read(self, digest: str) -> bool:
        """Whether the registry lets this client read the repository, in which a blob with this digest is.

        Raises:
            RefusedError: it does not say.
        """
        if self._client.request("GET", "tags/list", params={"n": "1"}).status == _OK:
            return True
        answer = self._client.request("HEAD", f"blobs/{digest}")
        if not (answer.ok or answer.status in _NOT_ALLOWED):
            raise self._client.refusal(answer, "to say who can read the repository")
        return answer.ok

    def check_access(self) -> None:
        """Start an upload and cancel it; raise `RefusedError`, before any data is read, if we may not push."""
        answer = self._client.request("POST", "blobs/uploads/")
        if answer.status != _ACCEPTED:
            raise self._client.refusal(answer, "an upload")
        upload = self._client.lead(answer, answer.headers.get("Location", ""))
        if upload.own:
            with contextlib.suppress(ImageError):  # the registry forgets it anyway
                self._client.request("DELETE", upload)

    def upload(self, blob: Blob, observer: Observer = UNOBSERVED, mount_from: Sequence[str] = ()) -> Sent:
        """Upload a blob, unless it is there or can be mounted from one of these repositories; see `Upload.run`."""
        return Upload(self._client, self.blob_size, blob, observer, mount_from).run()

    def put_manifest(self, content: bytes, media_type: str, reference: str) -> Answer:
        """Put a manifest under a tag or its own digest and read it back; return the answer to the PUT.

        Raises:
            ImageError: the registry accepted it, but returns another one.
            RefusedError: the registry refused it.
        """
        answer = self.send_manifest(content, media_type, reference)
        found = eventually(lambda: self.find_manifest(reference), lambda found: found == content)
        if found != content:
            raise ImageError(
                "the registry returns a different manifest from the one that was pushed",
                where=f"{self.name.path}:{reference}",
                expected=digest_of(content),
                found="none" if found is None else digest_of(found),
                fix="check whether somebody else pushes to this name",
            )
        return answer

    def send_manifest(self, content: bytes, media_type: str, reference: str) -> Answer:
        """Put a manifest under a tag or its own digest; return the answer. Raise `RefusedError` if it is refused."""
        answer = self._client.request(
            "PUT", f"manifests/{reference}", headers={"Content-Type": media_type}, body=content
        )
        if not answer.ok:
            raise self._client.refusal(answer, f"the manifest {reference}")
        return answer


class _CutError(UnreachableError):
    """An answer that is shorter than it should be, although it seemed whole."""


def _start_of(response: Response) -> int | None:
    """Return the position at which the bytes of a partial answer start, if it says so."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _next_page(links: str) -> str | None:
    """Return the target of the link to the next page in a ``Link`` header (RFC 8288), if there is one."""
    for link in re.split(r",\s*(?=<)", links):
        target, _, parameters = link.strip().removeprefix("<").partition(">")
        if any(_NEXT.fullmatch(parameter) for parameter in parameters.split(";")):
            return target
    return None
