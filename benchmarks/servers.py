"""What the benchmarks run against: nginx, Docker's daemon and podman, each with a storage of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    types {{ image/png png; application/json json; }}
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""

# This kernel, as many in a sandbox, may lack CAP_SYS_RESOURCE: podman must not raise limits there.
CONTAINERS_CONF = """\
[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
"""


@contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine; yield the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        Path(folder, "nginx.conf").write_text(NGINX.format(folder=folder, port=port, root=root))
        Path(folder).chmod(0o755)
        user = ["-g", "user root;"] if os.getuid() == 0 else []
        process = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", *user])
        try:
            _wait(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def docker() -> Iterator[dict[str, str]]:
    """Run Docker's daemon; yield the environment in which its client finds it."""
    folder = Path(tempfile.mkdtemp(prefix="docker-"))
    command = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]
    command += [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    env = {"DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_BUILDKIT": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-H", env["DOCKER_HOST"]], stdout=log, stderr=log)
    try:
        client = {**os.environ, **env}
        _wait(lambda: subprocess.run(["/usr/bin/docker", "info"], env=client, capture_output=True, check=True))
        yield env
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def podman() -> Iterator[dict[str, str]]:
    """Give podman a storage of its own; yield the environment in which it uses that."""
    folder = Path(tempfile.mkdtemp(prefix="podman-"))
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    storage = f'[storage]\ndriver="overlay"\ngraphroot="{folder}/root"\nrunroot="{folder}/run"\n'
    (folder / "storage.conf").write_text(storage)
    env = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }
    try:
        yield env
    finally:
        subprocess.run(["podman", "system", "reset", "-f"], env={**os.environ, **env}, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(answers: object) -> None:
    for _ in range(100):
        try:
            answers()  # type: ignore[operator]
        except (OSError, subprocess.CalledProcessError):
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not start")
