"""Requests to web servers, for downloads and registries: one rule for certificates, proxies, addresses and deadlines.

`Web` sends requests and returns a `Response`. `sockets` keeps every request to a deadline and a minimum rate,
`connections` checks an address before it connects to it, `certificates` and `proxies` read the environment.
"""

from datapack.web.client import Response, Web
from datapack.web.errors import (
    InvalidAnswerError,
    NoConnectionError,
    PrivateAddressError,
    SettingError,
    TransferError,
    UntrustedError,
    WebError,
)

__all__ = [
    "InvalidAnswerError",
    "NoConnectionError",
    "PrivateAddressError",
    "Response",
    "SettingError",
    "TransferError",
    "UntrustedError",
    "Web",
    "WebError",
]
