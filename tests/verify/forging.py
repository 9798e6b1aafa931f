"""Forge images: change a built image as an attacker could, with every digest made right again."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datapack.hashing import digest_of
from datapack.oci.layout import Layout
from datapack.oci.spec import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, canonical_json
from datapack.progress import Silent
from datapack.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.verify import Mode, Verified
    from datapack.workspace.folder import Workspace


def entry(name: str, content: bytes = b"", form: bytes = tarfile.REGTYPE, link: str = "", **values: Any) -> bytes:
    """Return a whole entry of a tar archive, by default as datapack writes it."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname, member.mode = len(content), form, link, 0o444
    if form == tarfile.DIRTYPE:
        member.mode = 0o755
    for key, value in values.items():
        setattr(member, key, value)
    header = member.tobuf(tarfile.PAX_FORMAT if member.pax_headers else tarfile.USTAR_FORMAT)
    return header + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def folder(name: str) -> bytes:
    return entry(f"{name}/", form=tarfile.DIRTYPE)


def parents(path: str) -> bytes:
    """Return the entries of the folders above a path."""
    parts = path.split("/")[:-1]
    return b"".join(folder("/".join(parts[: count + 1])) for count in range(len(parts)))


def archive(*entries: bytes) -> bytes:
    return b"".join(entries) + bytes(2 * tarfile.BLOCKSIZE)


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@dataclass
class Forged:
    """A layout whose image can be changed; `write` makes its digests right."""

    layout: Layout
    manifest: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Forged:
        layout = Layout(root)
        manifest = json.loads(layout.blob(layout.image().digest).read_bytes())
        config = json.loads(layout.blob(manifest["config"]["digest"]).read_bytes())
        return cls(layout, manifest, config)

    @property
    def runtime(self) -> dict[str, Any]:
        return self.config["config"]

    def put(self, media_type: str, content: bytes) -> dict[str, Any]:
        descriptor = Descriptor.of(media_type, content)
        self.layout.blob(descriptor.digest).write_bytes(content)
        return descriptor.to_json()

    def insert(self, place: int, content: bytes, media_type: str = LAYER) -> None:
        """Insert a layer, counted from the lowest one; a negative place counts from above the topmost, -1."""
        place = place if place >= 0 else len(self.manifest["layers"]) + 1 + place
        blob = zipped(content) if media_type.endswith("+gzip") else content
        self.manifest["layers"].insert(place, self.put(media_type, blob))
        self.config["rootfs"]["diff_ids"].insert(place, digest_of(content))
        self.config["history"].insert(place, {"created": "1970-01-01T00:00:00Z", "created_by": "datapack: data"})

    def layer(self, place: int) -> bytes:
        return self.layout.blob(self.manifest["layers"][place]["digest"]).read_bytes()

    def replace(self, place: int, content: bytes) -> None:
        """Replace the bytes of a layer."""
        self.manifest["layers"][place] = self.put(LAYER, content)
        self.config["rootfs"]["diff_ids"][place] = digest_of(content)

    def rename_history(self) -> None:
        """Write the history that datapack would write for so many layers."""
        count = len(self.manifest["layers"]) - 3
        for number in range(count):
            self.config["history"][2 + number]["created_by"] = f"datapack: data {number + 1} of {count}"
        self.config["history"][-1]["created_by"] = "datapack: the bag's tag files"

    def write(self, config: bytes | None = None, manifest: bytes | None = None) -> None:
        """Write the config, the manifest and the index."""
        self.manifest["config"] = self.put(CONFIG, config or canonical_json(self.config))
        image = self.put(MANIFEST, manifest or canonical_json(self.manifest))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}
        self.layout.index.write_bytes(canonical_json(index))

    def verify(self, mode: Mode = "full", workspace: Workspace | None = None) -> Verified:
        return verify(f"oci:{self.layout.root}", self.layout.root.parent, workspace, mode, Silent())


def unpacked(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return opened.getmembers()
