"""The HTTP session of a registry client: retries, and credentials that go nowhere else."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_POOL = 64  # connections, more than anybody uploads at once
_BUSY = (429, 500, 502, 503, 504)


class Session(requests.Session):
    """A session that sends only the credentials it is given, and only to the host they are meant for."""

    def __init__(self, tries: int, backoff: float) -> None:
        super().__init__()
        self.auth = _unchanged  # otherwise requests would send what ~/.netrc has for a host
        retries = Retry(total=tries, connect=1, backoff_factor=backoff, status_forcelist=_BUSY, raise_on_status=False)
        for prefix in ("http://", "https://"):
            self.mount(prefix, HTTPAdapter(pool_maxsize=_POOL, max_retries=retries))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Drop the credential from a redirect to another host."""
        url = response.request.url
        if url is None or prepared_request.url is None or self.should_strip_auth(url, prepared_request.url):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
