"""The training loop of torchvision's reference on photo-like images, and the same steps without any input.

python -m benchmarks.gpu.reference reference|fixed FOLDER OPTIONS, which print one line of JSON. The reference is what
`benchmarks.reference_recipe` rebuilds, with the loop of torchvision's `train_one_epoch`. `fixed` is our model on one
batch that is already on the GPU: the most that any input could reach.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import DeviceType
from torchvision.models import detection

from benchmarks.reference_recipe import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    Step = Callable[[nn.Module, torch.optim.SGD, Any, "Options"], None]

_PROFILED = 3  # steps
_SHOWN = 12  # kernels


@dataclass(frozen=True)
class Options:
    """What both contenders share, and how the reference is started."""

    model: str
    min_size: int
    max_size: int
    batch_size: int
    steps: int  # of an epoch
    epochs: int  # the first one is to warm up
    learning_rate: float
    device: str
    half: bool = True  # bfloat16
    workers: int = 4  # the default of torchvision's reference


@dataclass(frozen=True)
class Figures:
    """What was measured, without the first epoch."""

    rates: list[float]  # images per second, for each epoch
    waiting: float  # share of the time that the loop waited for input
    peak: int  # bytes that torch allocated on the GPU
    spans: list[tuple[float, float]]  # when, on time.monotonic's clock
    profile: dict[str, Any] = field(default_factory=dict)  # of a step on a GPU


def main() -> None:
    """Run a contender."""
    run = {"reference": reference, "fixed": fixed}[sys.argv[1]]
    print(json.dumps(asdict(run(Path(sys.argv[2]), Options(**json.loads(sys.argv[3]))))))


def reference(data: Path, options: Options) -> Figures:
    """Train as torchvision's reference does."""
    builder = getattr(detection, options.model)
    sizes = {"min_size": options.min_size, "max_size": options.max_size}
    model = builder(weights=None, weights_backbone=None, num_classes=2, **sizes).to(options.device)
    count = options.steps * options.batch_size
    batches = loader(
        data / "images",
        _some(data, count),
        batch_size=options.batch_size,
        workers=options.workers,
        times=options.epochs,
    )
    return _measure(model, iter(batches), options, _reference_step)


def fixed(data: Path, options: Options) -> Figures:
    """Train our model on the first images again and again."""
    import numpy as np
    from PIL import Image

    from trainers.config import Config
    from trainers.pytorch.model import build_model

    config = Config.model_validate(
        {"dataset": "a", "digest": "sha256:" + "0" * 64, "model": {"name": options.model, "weights": "random"}}
    )
    model = build_model(config, 2, pretrained=False).to(options.device, memory_format=torch.channels_last)
    images = []
    for path in sorted((data / "images").iterdir())[: options.batch_size]:
        with Image.open(path) as opened:
            scale = min(options.min_size / min(opened.size), options.max_size / max(opened.size))
            small = opened.convert("RGB").resize([round(side * scale) for side in opened.size])
        images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).to(options.device))
    box = torch.tensor([[0.1, 0.1, 0.3, 0.4]], device=options.device) * options.min_size
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64, device=options.device)}
    batch = (images, [target] * len(images))
    figures = _measure(model, itertools.repeat(batch), options, _our_step)
    if options.device != "cuda":
        return figures
    return replace(figures, profile=_profile(model, batch, options))


def _measure(model: nn.Module, batches: Iterator[Any], options: Options, step: Step) -> Figures:
    """Train for all epochs; measure all but the first."""
    device = torch.device(options.device)
    optimizer = _optimizer(model, options)
    model.train()
    rates, spans, waited = [], [], 0.0
    for epoch in range(options.epochs):
        began, waits = time.monotonic(), 0.0
        for _ in range(options.steps):
            asked = time.monotonic()
            batch = next(batches)
            waits += time.monotonic() - asked
            step(model, optimizer, batch, options)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if epoch:
            spans.append((began, time.monotonic()))
            rates.append(options.steps * options.batch_size / (spans[-1][1] - began))
            waited += waits
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return Figures(rates, waited / sum(last - first for first, last in spans), peak, spans)


def _profile(model: nn.Module, batch: Any, options: Options) -> dict[str, Any]:
    """Return for one step: how many kernels it starts, their time in ms, and how often the CPU waits for them."""
    optimizer = _optimizer(model, options)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    _our_step(model, optimizer, batch, options)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(_PROFILED):
            _our_step(model, optimizer, batch, options)
        torch.cuda.synchronize()
    events = profiler.events()
    kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    waits = [event for event in events if event.name in {"cudaStreamSynchronize", "cudaEventSynchronize"}]
    times: Counter[str] = Counter()
    for event in kernels:
        times[event.name] += event.time_range.elapsed_us() / 1000 / _PROFILED
    return {
        "kernels": len(kernels) / _PROFILED,
        "kernel_ms": times.total(),
        "waits": len(waits) / _PROFILED,
        "longest_ms": dict(times.most_common(_SHOWN)),
    }


def _optimizer(model: nn.Module, options: Options) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), options.learning_rate, 0.9, weight_decay=1e-4)


def _reference_step(model: nn.Module, optimizer: torch.optim.SGD, batch: Any, options: Options) -> None:
    device = torch.device(options.device)
    images = [image.to(device) for image in batch[0]]
    targets = [{name: value.to(device) for name, value in target.items()} for target in batch[1]]
    with torch.autocast(device.type, torch.bfloat16, enabled=options.half):
        loss = sum(model(images, targets).values())
    loss.item()  # the reference does this to log the loss and to stop if it is not finite
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _our_step(model: nn.Module, optimizer: torch.optim.SGD, batch: Any, options: Options) -> None:
    with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=options.half):
        loss = sum(model(*batch).values())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
    optimizer.step()


def _some(data: Path, count: int) -> Path:
    """Write a COCO file of the first images."""
    whole = json.loads((data / "list.json").read_text())
    images = whole["images"][:count]
    ids = {row["id"] for row in images}
    annotations = [row for row in whole["annotations"] if row["image_id"] in ids]
    path = data.parent / "some.json"
    path.write_text(json.dumps(whole | {"images": images, "annotations": annotations}))
    return path


if __name__ == "__main__":
    main()
