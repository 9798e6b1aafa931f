"""Build an import container from a real COCO file whose image host can't be reached, with a local server instead.

    python -m benchmarks.real_list PATH/TO/eval.json FOLDER

The server makes each image on the fly, always the same one for the same path, with the width and height in the COCO
file and about as many bytes as the real one. For one image in a hundred the first request fails: with a 500, a 503 with
Retry-After, a cut connection or a web page, in turn. The catalog's ``mirrors`` point to the server.

v1 lacks every hundredth image, v2 has all of them. FOLDER becomes a workspace and keeps what was built.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.images import png
from examples.stand_in_base import build as build_stand_in_base

MORE = 0.35  # bytes per pixel, besides the pixels themselves: 5.4 GB in total, like the real images
CATALOG = """\
defaults: {{base: "oci:base", connections: 5}}
datasets:
  fathom24-eval:
    title: The evaluation images of Fathom24, drawn by a local server
    licence: CC-BY-NC-ND-4.0
    private: true
    versions:
      v1:
        sources:
          - local: v1/eval.json
          - coco: eval.json
            into: images/eval
            mirrors: {{{mirrors}}}
      v2:
        parent: v1
        sources:
          - local: v2/eval.json
          - coco: eval.json
            into: images/eval
            mirrors: {{{mirrors}}}
"""


class ImageServer(ThreadingHTTPServer):
    """Serves the images of a COCO file. The first request for each path in ``failures`` fails."""

    daemon_threads = True

    def __init__(self, sizes: dict[str, tuple[int, int]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sizes = sizes
        self.requests, self.lock = 0, threading.Lock()
        chosen = random.Random(24).sample(sorted(sizes), len(sizes) // 100)
        self.failures = dict(zip(chosen, itertools.cycle(("500", "503", "cut", "page"))))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests += 1
            failure = self.server.failures.pop(self.path, None)
        if self.path not in self.server.sizes:
            self._answer(404, b"not here", "text/plain")
        elif failure in {"500", "503"}:
            self._answer(int(failure), b"", "text/plain")
        elif failure == "page":
            self._answer(200, b"<!doctype html><title>Sorry</title>", "text/html")
        else:
            content = png(*self.server.sizes[self.path], random.Random(self.path).randbytes, more=MORE)
            self._answer(200, content, "image/png", cut=failure == "cut")

    def _answer(self, status: int, content: bytes, media_type: str, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def main(coco: Path, folder: Path) -> None:
    """Make FOLDER a workspace for the COCO file and build both versions."""
    content = json.loads(coco.read_bytes())
    images = content["images"]
    sizes = {urlsplit(row["coco_url"]).path: (row["width"], row["height"]) for row in images}
    hosts = {f"{url.scheme}://{url.netloc}" for url in (urlsplit(row["coco_url"]) for row in images)}
    server = ImageServer(sizes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_port}"
    for version, rows in (("v1", [row for number, row in enumerate(images) if number % 100]), ("v2", images)):
        (folder / version).mkdir(parents=True, exist_ok=True)
        (folder / version / "eval.json").write_text(json.dumps({**content, "images": rows}))
    mirrors = ", ".join(f'"{host}": ["{mirror}"]' for host in sorted(hosts))
    (folder / "datasets.yml").write_text(CATALOG.format(mirrors=mirrors))
    build_stand_in_base(folder / "base")
    for version in ("v1", "v2"):
        started, server.requests = time.monotonic(), 0
        command = [sys.executable, "-m", "datapack", "build", f"fathom24-eval@{version}"]
        subprocess.run(["/usr/bin/time", "--format", "peak %M kB", *command], cwd=folder, check=True)
        print(f"{version}: {time.monotonic() - started:.1f} s, {server.requests} requests", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
