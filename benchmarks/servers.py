"""The web server that the benchmarks fetch from: nginx with its defaults, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine; yield its URL."""
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


def _wait(answers: Callable[[], object]) -> None:
    for _ in range(100):
        try:
            answers()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not start")
