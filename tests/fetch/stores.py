"""Stores for tests: an S3 on loopback, and servers that answer as a store in trouble does."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

from datapack.catalog.sources import StorageSource
from datapack.fetch import stores
from tests.workplace import Workplace

SECRET = "wJalrXUtnFEMI-this-is-a-secret"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
FILES = {"images/a b.png": b"a" * 3000, "images/deep/ö.png": b"", "train.json": b"{}"}


class S3:
    """An S3 with one bucket, named ``bucket``."""

    def __init__(self, endpoint: str):
        self.endpoint = endpoint
        self.client = boto3.client("s3", endpoint_url=endpoint)
        self.client.create_bucket(Bucket="bucket")

    def put(self, key: str, content: bytes, **options) -> None:
        self.client.put_object(Bucket="bucket", Key=key, Body=content, **options)


@contextlib.contextmanager
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def serving(answer):
    """Serve what ``answer`` returns for a handler: a status, headers and a body. The requests are in the list."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            requests.append(f"{self.command} {self.path}")
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - a name of http.server's

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def s3_error(status: int, code: str):
    """Return an answer of S3 that refuses everything, and that quotes what it should not."""
    body = f"<Error><Code>{code}</Code><Message>The key {SECRET} of AKIDEXAMPLE is bad</Message></Error>".encode()
    headers = {"Content-Type": "application/xml", "x-amz-bucket-region": "eu-west-1"}
    return lambda handler: (status, headers, body)


def source(s3: S3, url: str = "s3://bucket/data/", **keys) -> StorageSource:
    """Return a source with the bucket's objects."""
    return StorageSource(storage=url, endpoint=s3.endpoint, **keys)


def contents(place: Workplace) -> dict[str, bytes]:
    """Return the files of a payload."""
    top = place.bag / "data"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def spy_on_reads(monkeypatch) -> list[str]:
    """Return a list that gets the path of each object that is read."""
    read, found = stores.Store.read, []

    def spy(self, file):
        found.append(file.path)
        return read(self, file)

    monkeypatch.setattr(stores.Store, "read", spy)
    return found
