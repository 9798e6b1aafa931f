"""Images to scan, and a database of vulnerabilities that knows one of Alpine's, for tests of scans."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGE, VERSION, FIXED, CVE = "zlib", "1.2.12-r0", "1.2.12-r2", "CVE-2022-37434"
ALPINE = {
    "etc/alpine-release": b"3.22.2\n",
    "etc/os-release": b"ID=alpine\nVERSION_ID=3.22.2\n",
    "lib/apk/db/installed": f"C:Q1mk0X4rrQHn9yQ9iHgoTBWXyF9tE=\nP:{PACKAGE}\nV:{VERSION}\nA:x86_64\nL:Zlib\n"
    f"o:{PACKAGE}\nT:A compression library\n\n"
    "C:Q1Ax1EFpCZ9PjCdbI9IOVTx8RtXGY=\nP:musl\nV:1.2.5-r10\nA:x86_64\nL:MIT\no:musl\n\n".encode(),
}
DEBIAN = {
    "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
    "etc/debian_version": b"12.5\n",
    "var/lib/dpkg/status": b"Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2.13-1\n"
    b"Description: a library\n of compression\n\n"
    b"Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1.0\n\n",
    "opt/trainers/site-packages/Blake_3-1.0.dist-info/METADATA": b"Metadata-Version: 2.4\nName: Blake_3\nVersion: 1.0\n"
    b"License-Expression: MIT\n\nName: not this\n",
}
SECRET = b"aws_access_key_id = AKIA" + b"QYLPMN5HFIQR7XYA\n"
_PAGE = 4096  # bytes


def write_layout(folder: Path, *files: Mapping[str, bytes], **settings: object) -> Path:
    """Write an image as an OCI layout, an uncompressed layer of each of these files; the settings are its config."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layers = [add(_tar(each), "layer.v1.tar") for each in files]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "created": "1970-01-01T00:00:00Z",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    parts = {"config": add(json.dumps(config).encode(), "config.v1+json"), "layers": layers}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = add(json.dumps({"schemaVersion": 2, "mediaType": media_type, **parts}).encode(), "manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_database(cache: Path) -> None:
    """Write a cache of Trivy with a database of its version 2 that knows `CVE`, severity critical, in Alpine 3.22."""
    alpine = "alpine 3.22"
    source = {"ID": "alpine", "Name": "Alpine Secdb", "URL": "https://secdb.alpinelinux.org/"}
    content = {
        alpine: {PACKAGE: {CVE: json.dumps({"FixedVersion": FIXED}).encode()}},
        "data-source": {alpine: json.dumps(source).encode()},
        "vulnerability": {CVE: json.dumps({"Title": "a heap overflow", "Severity": "CRITICAL"}).encode()},
    }
    (cache / "db").mkdir(parents=True)
    (cache / "db" / "trivy.db").write_bytes(_bolt(content))
    day = "2026-11-27T06:00:00Z"
    facts = {"Version": 2, "NextUpdate": "2099-01-01T00:00:00Z", "UpdatedAt": day, "DownloadedAt": day}
    (cache / "db" / "metadata.json").write_text(json.dumps(facts))


def _bolt(content: Mapping[str, object]) -> bytes:
    """Return a database in the format of bbolt whose buckets are all inside its one page of data."""
    root = _leaf(content, page=3)
    free = struct.pack("<QHHI", 2, 0x10, 0, 0).ljust(_PAGE, b"\0")
    assert len(root) <= _PAGE
    return b"".join([_meta(0), _meta(1), free, root.ljust(_PAGE, b"\0")])


def _meta(page: int) -> bytes:
    fields = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, _PAGE, 0, 3, 0, 2, 4, page)
    return (struct.pack("<QHHI", page, 0x04, 0, 0) + fields + struct.pack("<Q", _fnv(fields))).ljust(_PAGE, b"\0")


def _leaf(content: Mapping[str, object], page: int = 0) -> bytes:
    items = []
    for key, value in sorted(content.items()):
        is_bucket = isinstance(value, dict)
        items.append((is_bucket, key.encode(), struct.pack("<QQ", 0, 0) + _leaf(value) if is_bucket else value))
    heads, bodies, offset = [], [], 16 * len(items)
    for number, (is_bucket, key, value) in enumerate(items):
        heads.append(struct.pack("<IIII", is_bucket, offset - 16 * number, len(key), len(value)))
        bodies.append(key + value)
        offset += len(bodies[-1])
    return b"".join([struct.pack("<QHHI", page, 0x02, len(items), 0), *heads, *bodies])


def _fnv(content: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value
