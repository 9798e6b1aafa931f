"""Each torchvision detector: the GPU computes what the CPU computes, and half precision stays finite.

Without a GPU the second device is the CPU again, with fewer steps: that shows only that this program works.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from benchmarks.bags import REEF
from benchmarks.gpu.device import has_gpu
from benchmarks.gpu.rows import NO_GPU, Row, reported
from trainers.config import Config
from trainers.pytorch.model import build_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

NAMES = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn")
BATCH, BATCHES = 2, 4
STEPS, RATE = 10, 2e-4  # slow enough that rounding does not grow much
LEARNING = 120  # steps before detections are compared

FIRST, LATER = 1e-3, 5e-2  # largest relative difference of the loss: at the first step, and after ten steps of rounding
SCORE = 0.3  # of the detections that are compared
AGREEING = 0.9  # share of them that must be found on both devices


class Batch:
    """Images and boxes of the reef."""

    def __init__(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> None:
        self.images, self.targets = images, targets

    def to(self, device: torch.device) -> Batch:
        moved = [{name: value.to(device) for name, value in target.items()} for target in self.targets]
        return Batch([image.to(device) for image in self.images], moved)


def main() -> None:
    """Check the detector that the command line names, or all of them: on a GPU at the same time."""
    if len(sys.argv) > 1:
        _check(sys.argv[1])
        return
    if not has_gpu():
        _check(NAMES[-1])  # the quickest
        return
    threads = max(1, len(os.sched_getaffinity(0)) // len(NAMES))
    with ThreadPoolExecutor(len(NAMES)) as pool:
        for output in pool.map(lambda name: _apart(name, threads), NAMES):
            print(output, flush=True)


def _apart(name: str, threads: int) -> str:
    """Check a detector in a process of its own; return what it printed."""
    program = [sys.executable, "-m", "benchmarks.gpu.detectors", name]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def _check(name: str) -> None:
    gpu = has_gpu()
    device = torch.device("cuda" if gpu else "cpu")
    batches = list(_reef())
    with reported(name):
        _same_losses(name, batches, device, STEPS if gpu else 2)
    with reported(name):
        _half_precision(name, batches, device)
    with reported(name):
        _same_detections(name, batches, device, LEARNING if gpu else 2)


def _reef() -> Iterator[Batch]:
    """Yield batches of images that have boxes."""
    document = json.loads((REEF / "train.json").read_text())
    labels = {row["id"]: number for number, row in enumerate(document["categories"], 1)}
    boxes: dict[int, list[dict[str, Any]]] = {}
    for row in document["annotations"]:
        boxes.setdefault(row["image_id"], []).append(row)
    chosen = [row for row in document["images"] if row["id"] in boxes][: BATCH * BATCHES]
    for first in range(0, len(chosen), BATCH):
        images, targets = [], []
        for row in chosen[first : first + BATCH]:
            with Image.open(REEF / "images" / row["file_name"]) as opened:
                images.append(torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1))
            corners = torch.tensor([one["bbox"] for one in boxes[row["id"]]], dtype=torch.float32)
            corners[:, 2:] += corners[:, :2]
            targets.append(
                {"boxes": corners, "labels": torch.tensor([labels[one["category_id"]] for one in boxes[row["id"]]])}
            )
        yield Batch(images, targets)


def _model(name: str) -> nn.Module:
    """Build a detector with random weights, always the same ones."""
    config = Config.model_validate(
        {"dataset": "reef/v1", "digest": "sha256:" + "0" * 64, "model": {"name": name, "weights": "random"}}
    )
    return build_model(config, 5, pretrained=False)


def _same_losses(name: str, batches: list[Batch], device: torch.device, steps: int) -> None:
    """Compare the losses of some steps in float32, without TF32 and with it."""
    with _tf32(enabled=False):
        expected = _losses(_model(name), batches, torch.device("cpu"), steps)
        found = _losses(_model(name), batches, device, steps)
    differences = _relative(found, expected)
    shown = f"largest relative difference: first step {differences[0]:.1e}, {steps} steps {max(differences):.1e}"
    passed = differences[0] <= FIRST and max(differences) <= LATER
    values = {"expected": expected, "found": found}
    if device.type == "cpu":
        Row(f"{name}: losses in float32 on the GPU and the CPU", NO_GPU, "not measured", values).emit()
        return
    Row.check(f"{name}: losses in float32 on the GPU and the CPU", shown, passed, **values).emit()
    with _tf32(enabled=True):
        differences = _relative(_losses(_model(name), batches, device, steps), expected)
    shown = f"largest relative difference: first step {differences[0]:.1e}, {steps} steps {max(differences):.1e}"
    Row.check(f"{name}: the same with TF32, as in a training", shown, max(differences) <= LATER).emit()


def _losses(model: nn.Module, batches: list[Batch], device: torch.device, steps: int) -> list[float]:
    """Train for some steps of SGD; return the losses."""
    model, moved, found = model.to(device).train(), [batch.to(device) for batch in batches], []
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9)
    with _draws_of_the_cpu():
        for step in range(steps):
            torch.manual_seed(step)
            batch = moved[step % len(moved)]
            loss = sum(model(batch.images, batch.targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
            optimizer.step()
            found.append(loss.detach())
    return torch.stack(found).tolist()


@contextlib.contextmanager
def _draws_of_the_cpu() -> Iterator[None]:
    """Let torchvision draw the proposals that it trains on with the CPU's generator on every device."""
    usual = torch.randperm
    torch.randperm = lambda count, *, device=None: usual(count).to(device)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randperm = usual


@contextlib.contextmanager
def _tf32(*, enabled: bool) -> Iterator[None]:
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = enabled
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def _relative(found: list[float], expected: list[float]) -> list[float]:
    return [abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True)]


def _half_precision(name: str, batches: list[Batch], device: torch.device) -> None:
    """Take steps in bfloat16 and float16: losses and gradients must be finite."""
    for dtype in (torch.bfloat16, torch.float16):
        what = f"{name}: losses and gradients in {str(dtype).removeprefix('torch.')}"
        if device.type == "cpu":
            Row(what, NO_GPU, "not measured").emit()
            continue
        skipped, finite, loss = _scaled_steps(_model(name).to(device).train(), batches, device, dtype)
        shown = f"loss {loss:.3g}; {'finite' if finite else 'not finite'} in {STEPS} steps"
        shown += f", after {skipped} steps that the scaler skipped" if dtype is torch.float16 else ""
        Row.check(what, shown, finite, skipped=skipped).emit()


def _scaled_steps(
    model: nn.Module, batches: list[Batch], device: torch.device, dtype: torch.dtype
) -> tuple[int, bool, float]:
    """Take `STEPS` steps as a training does, and those that the scaler skips, which are at most as many.

    Return the number of skipped steps, whether the losses and the gradients of all others are finite, the last loss.
    """
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    taken = skipped = 0
    finite, last = True, 0.0
    while taken < STEPS and skipped <= STEPS:
        batch = batches[(taken + skipped) % len(batches)].to(device)
        with torch.autocast(device.type, dtype):
            loss = sum(model(batch.images, batch.targets).values())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        scaler.step(optimizer)
        scaler.update()
        last = float(loss.detach())
        if scaler.is_enabled() and not norm.isfinite():
            skipped += 1
            finite &= bool(loss.isfinite())
        else:
            taken += 1
            finite &= bool(loss.isfinite() and norm.isfinite())
    return skipped, finite and taken == STEPS, last


def _same_detections(name: str, batches: list[Batch], device: torch.device, steps: int) -> None:
    """Overfit a few images on the GPU; compare its detections there with those on the CPU."""
    model = _model(name).to(device).train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 2e-4)
    moved = [batch.to(device) for batch in batches]
    for step in range(steps):
        batch = moved[step % len(moved)]
        optimizer.zero_grad()
        sum(model(batch.images, batch.targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
    expected = _detections(copy.deepcopy(model).cpu(), batches, torch.device("cpu"), torch.float32)
    for dtype, overlap, apart in ((torch.float32, 0.95, 0.02), (torch.bfloat16, 0.8, 0.15)):
        what = f"{name}: detections in {str(dtype).removeprefix('torch.')} on the GPU and in float32 on the CPU"
        if device.type == "cpu":
            Row(what, NO_GPU, "not measured").emit()
            continue
        found = _detections(model, moved, device, dtype)
        count, same = _agreeing(expected, found, overlap, apart)
        shown = f"{same} of {count} agree: same category, IoU at least {overlap}, scores at most {apart} apart"
        Row.check(what, shown, count > 0 and same >= AGREEING * count, count=count, same=same).emit()


@torch.inference_mode()
def _detections(
    model: nn.Module, batches: list[Batch], device: torch.device, dtype: torch.dtype
) -> list[dict[str, Tensor]]:
    """Detect what is in the images; the results are on the CPU."""
    model.eval()
    found: list[dict[str, Tensor]] = []
    with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
        for batch in batches:
            found += [{name: one.float().cpu() for name, one in row.items()} for row in model(batch.images)]
    return found


def _agreeing(
    expected: list[dict[str, Tensor]], found: list[dict[str, Tensor]], overlap: float, apart: float
) -> tuple[int, int]:
    """Count the expected detections of at least `SCORE`, and those among them that were found."""
    count = same = 0
    for wanted, there in zip(expected, found, strict=True):
        sure = wanted["scores"] >= SCORE
        boxes, labels, scores = (wanted[name][sure] for name in ("boxes", "labels", "scores"))
        matches = box_iou(boxes, there["boxes"]) >= overlap
        matches &= labels[:, None] == there["labels"]
        matches &= (scores[:, None] - there["scores"]).abs() <= apart
        count, same = count + len(boxes), same + int(matches.any(1).sum())
    return count, same


if __name__ == "__main__":
    main()
