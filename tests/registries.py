"""A real container registry for tests: Debian's docker-registry, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT = 30  # seconds
USER, PASSWORD = "somebody", "a-password-that-nobody-may-see"
_PASSWORD_HASH = "$2b$05$.yscjPAZsckC2yAsIoEDIOTbpNYYqbxOmEFBEcq4NmYDJov4kbK3S"  # bcrypt of PASSWORD


@contextlib.contextmanager
def serve(folder: Path, *, login: bool = False, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve an empty registry that keeps its blobs in ``folder/registry``; yield its host and port.

    With ``login`` it accepts only `USER`; with a ``certificate`` and its key it speaks TLS.
    """
    if not (shutil.which("docker-registry") and shutil.which("skopeo")):
        unavailable("docker-registry and skopeo are not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": f"{folder}/registry"}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        (folder / "users").write_text(f"{USER}:{_PASSWORD_HASH}\n")
        settings["auth"] = {"htpasswd": {"realm": "tests", "path": f"{folder}/users"}}
    if certificate:
        settings["http"]["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    config = folder / "registry.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def unavailable(reason: str) -> None:
    """Skip the test, or fail it in CI, where everything must be available."""
    if os.environ.get("DATAPACK_REQUIRE_ENGINES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def self_signed(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make an untrusted certificate for an address; return it and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-addext", f"subjectAltName=IP:{name}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def push(layout: Path, registry: str, name: str) -> str:
    """Push a layout's image unchanged; return its name with its digest."""
    target = f"docker://{registry}/{name}"
    subprocess.run(
        ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}", target],
        check=True,
    )
    digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    return f"{registry}/{name}@{digest}"


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the registry listens."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"docker-registry does not listen: exit status {process.poll()}") from None
            time.sleep(0.05)
        else:
            return
