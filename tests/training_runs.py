"""The folder of a finished training, with the files that the trainers write, but without training."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from datapack.bag.manifest import MANIFEST, Manifest
from datapack.hashing import hash_file

DIGEST = f"sha256:{'d' * 64}"
DATASET = {"reference": "reef@v1", "digest": DIGEST}
TENSORS = {
    "backbone.body.conv1.weight": np.zeros((4, 3, 7, 7), np.float32),
    "backbone.body.bn1.bias": np.zeros(4, np.float32),
    "head.cls_logits.weight": np.ones((2, 4), np.float16),
}


def write_run(folder: Path, *, record: dict | None = None, model: dict | None = None) -> Path:
    """Write a run of `fasterrcnn_resnet50_fpn` on ``reef@v1``, changed by ``record`` and ``model``."""
    folder.mkdir(parents=True)
    facts = {
        "form": 1,
        "framework": "pytorch",
        "name": "fasterrcnn_resnet50_fpn",
        "categories": [[2, "crab"], [5, "fish"]],
        "min_size": 64,
        "max_size": 96,
        "dataset": DATASET,
        "split": {"seed": 0},
        **(model or {}),
    }
    save_file(TENSORS, folder / "model.safetensors", metadata={"trainers": json.dumps(facts)})
    run = {
        "run": folder.name,
        "command": "train",
        "outcome": "ok",
        "reason": None,
        "started": "2026-11-28T01:00:00+00:00",
        "ended": "2026-11-28T01:10:00+00:00",
        "dataset": {**DATASET, "verify": "full", "files": 12},
        "model": "fasterrcnn_resnet50_fpn",
        "weights": "random",
        **(record or {}),
    }
    (folder / "run.json").write_text(json.dumps(run))
    scores = {"AP": 0.4125, "AP50": 0.703, "AP75": 0.4, "AR": 0.5}
    evaluation = {"images": 3, "at100": {"all": scores, "sizes": {}, "categories": []}}
    (folder / "coco_eval.json").write_text(json.dumps(evaluation))
    for name in ("checkpoint.pt", "log.txt", "report.html"):
        (folder / name).write_text(f"{name}, which must not leave")
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Write the manifest of a run anew."""
    names = [path.name for path in folder.iterdir() if path.name != MANIFEST]
    manifest = Manifest.of({name: hash_file(folder / name) for name in names})
    (folder / MANIFEST).write_bytes(manifest.content)
