"""A model to put into containers, and a small layout that looks like a trainer image."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from datapack.bag.model_facts import ModelFacts
from datapack.hashing import digest_of
from datapack.oci.spec import CONFIG, INDEX, LAYER, MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "opt/trainers/trainers/__main__.py"
SETTINGS = {
    "Env": ["PATH=/usr/bin:/bin", "PYTHONPATH=/opt/trainers", "LD_LIBRARY_PATH=/usr/local/nvidia/lib"],
    "Entrypoint": ["python", "-m", "trainers"],
    "Cmd": ["train"],
    "User": "",
    "WorkingDir": "/opt/trainers",
    "Labels": {
        "org.opencontainers.image.title": "pyt",
        "org.opencontainers.image.description": "Checks an imported dataset and trains an object detector on it",
        "org.opencontainers.image.base.name": "docker.io/pytorch/pytorch:2.8.0",
    },
}
FACTS = ModelFacts(
    architecture="fcos_resnet50_fpn",
    weights="detector.safetensors",
    categories=((1, "crab"), (2, "fish")),
    min_size=64,
    max_size=96,
    licence="CC0-1.0",
)


RANDOM = ModelFacts(
    architecture="fasterrcnn_resnet50_fpn",  # with random weights it has detections, the others have none
    weights="detector.pth",
    categories=((3, "crab"), (8, "fish")),
    min_size=64,
    max_size=96,
)


def random_weights(facts: ModelFacts = RANDOM) -> bytes:
    """Return the weights of a detector of torchvision as `torch.save` writes them, at random."""
    import torch
    from torchvision.models import detection

    torch.manual_seed(0)
    classes = len(facts.categories) + 1
    make = getattr(detection, facts.architecture)
    content = io.BytesIO()
    torch.save(make(weights=None, weights_backbone=None, num_classes=classes).state_dict(), content)
    return content.getvalue()


def safetensors(count: int) -> bytes:
    """Return a safetensors file with one tensor of ``count`` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + b"w" * count


def make_trainer(folder: Path, *names: str, layers: int = 2, **settings: Any) -> str:
    """Make the layout of an image with the trainers' program and empty mount points; return its digest.

    Args:
        folder: the layout.
        names: of further files in the last layer.
        layers: their number; all are compressed, as those that are pulled.
        settings: of its config, instead of `SETTINGS`.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(media_type: str, content: bytes) -> dict[str, object]:
        (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    parts = [_tar(f"usr/share/{number}" for number in range(count)) for count in range(1, layers)]
    parts.append(_tar([PROGRAM, *names], "safe_data", "safe_outputs", "scratch"))
    archives = [put(f"{LAYER}+gzip", gzip.compress(part, mtime=0)) for part in parts]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {**SETTINGS, **settings},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(part) for part in parts]},
        "history": [{"created_by": "a test"} for _ in parts],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(CONFIG, json.dumps(config).encode()),
        "layers": archives,
    }
    image = put(MANIFEST, json.dumps(manifest).encode())
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}))
    return str(image["digest"])


def _tar(files: Any, *folders: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for name in files:
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"pass"))
    return out.getvalue()
