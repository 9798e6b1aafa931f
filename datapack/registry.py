"""A container registry (OCI distribution-spec 1.1). Names, tokens and Docker's credentials are the work of oras."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.files import atomic_writer
from datapack.oci import DOCKER_EQUIVALENTS, Descriptor, checked, is_digest

if TYPE_CHECKING:
    from pathlib import Path

    import requests

TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
TRIES = 5

_MANIFEST_TYPES = ", ".join(sorted({*DOCKER_EQUIVALENTS, *DOCKER_EQUIVALENTS.values()}))
_OK, _ASK_FOR_A_TOKEN = 200, {401, 403}
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_LOOPBACK = {"localhost", "127.0.0.1"}


class Repository:
    """One repository of a registry, named as ``registry/namespace/name[:tag][@digest]``."""

    def __init__(self, name: str) -> None:
        from oras.container import Container
        from oras.provider import Registry

        self.name = name
        container = Container(name)
        insecure = container.registry.partition(":")[0] in _LOOPBACK
        self._client = Registry(insecure=insecure)
        self._client.auth.load_configs(container)
        for prefix in ("http://", "https://"):
            self._client.session.mount(prefix, _patient_adapter())
        host = _DOCKER_HUB.get(container.registry, container.registry)
        self._url = f"{self._client.prefix}://{host}/v2/{container.api_prefix}"

    def manifest(self, digest: str) -> bytes:
        """Return the manifest of this digest, checked."""
        with self._get(f"manifests/{digest}", {"Accept": _MANIFEST_TYPES}) as response:
            return checked(response.content, digest, where=self.name)

    def tagged_manifest(self, tag: str) -> bytes:
        """Return the manifest that a tag names now; the digest of these bytes is the image's."""
        with self._get(f"manifests/{tag}", {"Accept": _MANIFEST_TYPES}) as response:
            announced = response.headers.get("Docker-Content-Digest", "")
            return checked(response.content, announced, self.name) if is_digest(announced) else response.content

    def save_blob(self, descriptor: Descriptor, path: Path) -> None:
        """Fetch a blob into a file, which gets its name when the digest is right."""
        found = hashlib.sha256()
        with self._get(f"blobs/{descriptor.digest}", {}) as response, atomic_writer(path) as file:
            for block in response.iter_content(1 << 20):
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

    def _get(self, path: str, headers: dict[str, str]) -> AbstractContextManager[requests.Response]:
        import requests

        try:
            response = self._ask(f"{self._url}/{path}", headers)
        except (requests.RequestException, OSError) as error:
            raise ImageError(
                "the registry can't be reached",
                where=self.name,
                found=_reason(error),
                fix="check the network; --base oci:DIR takes a base that is on disk already",
            ) from error
        if response.status_code != _OK:
            raise ImageError(
                "the registry refuses",
                where=self.name,
                found=f"HTTP {response.status_code} {response.reason}",
                fix="check the name and the digest; a private one needs 'docker login' or 'podman login'",
            )
        return closing(response)

    def _ask(self, url: str, headers: dict[str, str]) -> requests.Response:
        session: requests.Session = self._client.session
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        if response.status_code in _ASK_FOR_A_TOKEN:
            headers, changed = self._client.auth.authenticate_request(response, dict(headers))
            if changed:
                response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        return response


def _patient_adapter() -> Any:
    """Try again, with backoff and as ``Retry-After`` says, where a registry is busy or out of order for a moment."""
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    return HTTPAdapter(
        max_retries=Retry(
            total=TRIES,
            connect=1,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
        )
    )


def _reason(error: BaseException) -> str:
    """Say in a few words why no answer came, without the address and its tokens."""
    innermost = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    return f"{type(innermost).__name__}: {innermost}" if isinstance(innermost, OSError) else type(innermost).__name__
