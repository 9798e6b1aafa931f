"""Proxies and certificates that the environment names, if any."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from datapack.doctor.result import Result, ok
from datapack.web.certificates import find_authorities, make_context
from datapack.web.proxies import ProxyRules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.doctor.place import Place

_PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")


def settings(_: Place) -> Iterator[Result]:
    """Check that the proxies and certificates that the environment names can be used. No password is shown."""
    rules = ProxyRules.of()
    names = [name for name in os.environ if name.lower() in _PROXIES]
    if names:
        used = ", ".join(f"{scheme} through {proxy.url}" for scheme, proxy in sorted(rules.proxies.items()))
        yield ok("web", f"{' and '.join(sorted(names))}: {used or 'no proxy is used'}")
    make_context()
    found = find_authorities()
    if found.variable:
        yield ok("web", f"{found.variable}: certificates of {found.file or found.folder}")
