"""Which certificate authorities are trusted: those that the environment names, or else the system's."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.web.errors import SettingError
from datapack.web.sockets import PacedTLSSocket

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE_OR_FOLDER = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what DVC, kagglehub and curl read too
# Where systems keep their certificates, in case this Python was built for another one.
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)


@dataclass(frozen=True)
class Authorities:
    """Files and folders of certificates, and the variable that names them, if one does."""

    file: str = ""
    folder: str = ""
    variable: str = ""

    def environment(self) -> dict[str, str]:
        """Return the variables with which another program trusts the same; none for what the system trusts.

        Requests and botocore read the first, and what uses OpenSSL without either reads the others.
        """
        names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
        values = (self.file or self.folder, self.file, self.folder)
        return {name: value for name, value in zip(names, values, strict=True) if value and self.variable}


def find_authorities(environment: Mapping[str, str] = os.environ) -> Authorities:
    """Return what the environment names: REQUESTS_CA_BUNDLE, else CURL_CA_BUNDLE, else SSL_CERT_FILE and SSL_CERT_DIR.

    If it names nothing, return the system's certificates; a system without any gets those of the package certifi.
    """
    for name in _FILE_OR_FOLDER:
        if path := environment.get(name):
            return Authorities(folder=path, variable=name) if Path(path).is_dir() else Authorities(path, variable=name)
    file, folder = environment.get("SSL_CERT_FILE", ""), environment.get("SSL_CERT_DIR", "")
    if file or folder:
        return Authorities(file, folder, "SSL_CERT_FILE" if file else "SSL_CERT_DIR")
    default = ssl.get_default_verify_paths().cafile or ""
    system = next((path for path in (default, *_SYSTEM_FILES) if path and Path(path).is_file()), "")
    if system:
        return Authorities(system)
    import certifi

    return Authorities(certifi.where())


def make_context(*, verify: bool = True) -> ssl.SSLContext:
    """Make the TLS context of all connections.

    Raises:
        SettingError: the certificates that the environment names can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = PacedTLSSocket
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST  # as curl does
    found = find_authorities()
    try:
        context.load_verify_locations(found.file or None, found.folder or None)
    except (OSError, ValueError) as error:
        raise SettingError(
            "the certificates can't be read",
            where=f"{found.variable or 'the system'}: {found.file or found.folder}",
            found=getattr(error, "strerror", None) or str(error),
            fix="name a file of certificates in PEM format, or unset the variable",
        ) from error
    return context
