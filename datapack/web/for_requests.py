"""The same deadlines and certificates for a package that sends its requests itself, with the package requests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from requests import sessions
from requests.adapters import HTTPAdapter

from datapack.web.certificates import make_context
from datapack.web.client import CONNECT_TIMEOUT
from datapack.web.connections import Guard, make_pools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import PreparedRequest, Response

_GUARD = Guard(CONNECT_TIMEOUT, notes_content=False)
_PATIENCE = 30.0  # seconds, where a request sets none


@contextlib.contextmanager
def guarded_requests() -> Iterator[None]:
    """Let requests use our connections; not to be used while another thread makes a session of its own.

    What `datapack.web.sockets` raises comes through as it is. Proxies are those that requests finds.

    Raises:
        SettingError: the certificates that the environment names can't be read.
    """
    make_context()
    usual = sessions.HTTPAdapter
    sessions.HTTPAdapter = _Adapter  # each new session takes what has this name
    try:
        yield
    finally:
        sessions.HTTPAdapter = usual


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=make_context(), **options)
        self.poolmanager.pool_classes_by_scheme = make_pools(_GUARD)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=make_context(), **options)
        manager.pool_classes_by_scheme = make_pools(_GUARD)
        return manager

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        host, _ = super().build_connection_pool_key_attributes(*args, **options)
        return host, {}  # without the certificates that requests would add to ours

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave the certificates as they are."""

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        options["timeout"] = options.get("timeout") or _PATIENCE
        return super().send(request, *args, **options)
