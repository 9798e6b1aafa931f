"""A container registry for tests: Debian's docker-registry, a real one, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
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


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve an empty registry that keeps its blobs in ``folder/registry``; yield its host and port."""
    if not (shutil.which("docker-registry") and shutil.which("skopeo")):
        pytest.skip("docker-registry and skopeo are not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def push(layout: Path, registry: str, name: str) -> str:
    """Put a layout's image into the registry as it is; return its reference by digest."""
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
