"""Training beside torchvision's reference recipe: images per second, and the result.

Both train the same detector from random weights on the same images, with the same batches, optimizer, learning rates
and epochs, and are evaluated on the same validation images with COCO's metrics. The reference uses float32, decodes in
every epoch in the worker processes of a DataLoader, only flips images, and checks nothing. Its random weights are
torchvision's; ours differ (see `trainers.pytorch.model`). Each contender has its own process. Without a GPU both run on
the CPU, on the reef and its small images, and the row for the GPU says "not measured".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.bags import REEF, photo_bag, reef_bag
from benchmarks.workplace import PROJECT
from datapack.bag.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 2


@dataclass(frozen=True)
class Scene:
    """The dataset and the settings of both."""

    title: str
    bag: Path
    settings: dict[str, Any]  # of train.yml


def bench(count: int, _repeats: int) -> None:
    """Compare a complete training run on the reef, and on a GPU the speed with 1080p images: one run each."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        settings = yaml.safe_load((REEF / "train.yml").read_text()) | {"device": device, "workers": WORKERS}
        title = f"Training for {settings['training']['epochs']} epochs on the reef, {device}"
        _compare(Scene(title, reef_bag(Path(folder) / "reef"), settings))
    print("\nTraining on 1080p images on a GPU")
    if device == "cpu":
        print("  not measured: there is no GPU here   target: at least 1.5 x, GPU busy at least 95 % of the time")
        return
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        settings = {
            "data": {"train": "list.json", "images": "images", "eval": None, "sequences": "none"},
            "model": {"name": "fasterrcnn_resnet50_fpn", "weights": "random"},
            "training": {"epochs": 3, "batch_size": 8},
            "device": device,
            "workers": WORKERS,
        }
        bag = photo_bag(Path(folder) / "photos", min(count, 160))
        _compare(Scene("target: at least 1.5 x, GPU busy at least 95 % of the time", bag, settings))


def _compare(scene: Scene) -> None:
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        settings = scene.settings | {
            "dataset": str(scene.bag),
            "digest": Manifest.read(scene.bag).digest,
            "run": "run",
            "resume": "never",
        }
        (root / "train.yml").write_text(yaml.safe_dump(settings))
        print(f"\n{scene.title}")
        ours, busy = _run(root, _ours)
        reference, their_busy = _run(root, _reference)
        _print("trainers", ours, busy)
        _print("torchvision's reference recipe", reference, their_busy)
        print(f"  ratio of images per second, from the second epoch on: {ours['rate'] / reference['rate']:.2f}")
        print(f"  load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def _print(name: str, row: dict[str, Any], busy: float | None) -> None:
    scores = f"mAP {row['mAP']:.3f}, mAP50 {row['mAP50']:.3f}"
    shown = "" if busy is None else f", GPU busy {busy:.0f} %"
    print(
        f"  {name:32} {row['rate']:7.2f} images/s, {row['wait']:5.1f} % of the time waiting for input, {scores}{shown}"
    )


def _run(root: Path, contender: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Any], float | None]:
    """Run a contender; return its result and the GPU's utilisation in per cent."""
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not done.wait(0.5):
            samples.append(float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]))

    settings = yaml.safe_load((root / "train.yml").read_text())
    watcher = threading.Thread(target=sample)
    if settings["device"] == "cuda":
        watcher.start()
    try:
        row = contender(root)
    finally:
        done.set()
        if watcher.is_alive():
            watcher.join()
    working = samples[len(samples) // 2 :]  # the second half, when loading and checking are done
    return row, sum(working) / len(working) if working else None


def _ours(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "trainers", "train", "--config", str(root / "train.yml")]
    (root / "outputs").mkdir()
    (root / "scratch").mkdir()
    folders = ["--outputs", str(root / "outputs"), "--scratch", str(root / "scratch")]
    subprocess.run([*command, *folders], env={**os.environ, **PROJECT}, stdout=subprocess.DEVNULL, check=True)
    rows = [json.loads(line) for line in (root / "outputs/run/metrics.jsonl").read_text().splitlines()]
    later, last = rows[1:], rows[-1]["evaluation"]
    seconds, waited = (sum(row[key] for row in later) for key in ("seconds", "input_wait_s"))
    rate = sum(row["images_per_second"] * row["seconds"] for row in later) / seconds
    return {"rate": rate, "wait": 100 * waited / seconds, "mAP": last["mAP"] or 0, "mAP50": last["mAP50"] or 0}


def _reference(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training", str(root)]
    done = subprocess.run(command, env={**os.environ, **PROJECT}, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def reference(root: Path) -> dict[str, Any]:
    """Train as torchvision's reference does: its input, its transform, float32."""
    import torch
    from torchvision.models import detection

    from benchmarks.reference_recipe import loader
    from trainers import config
    from trainers.pytorch import optim
    from trainers.training.schedule import highest_rate

    wanted = config.load(root / "train.yml")
    training, validation, categories = _parts(wanted, root)
    images = Path(wanted.dataset) / "data" / wanted.data.images
    device = torch.device(wanted.device)
    torch.manual_seed(wanted.seed)
    options = {"min_size": wanted.image.min_size, "max_size": wanted.image.max_size}
    builder = getattr(detection, wanted.model.name)
    model = builder(weights=None, weights_backbone=None, num_classes=categories + 1, **options).to(device)
    batches = loader(images, training, batch_size=wanted.training.batch_size, workers=WORKERS)
    optimizer = optim.make_optimizer(model, wanted.training, highest_rate(wanted.training, replicas=1))
    schedule = optim.make_schedule(optimizer, wanted.training, len(batches) * wanted.training.epochs)
    seconds = waited = count = 0.0
    for epoch in range(wanted.training.epochs):
        model.train()
        began = time.perf_counter()
        for images_, targets, wait in _timed(iter(batches)):
            count += len(images_) * (epoch > 0)
            waited += wait * (epoch > 0)
            moved = [{key: value.to(device) for key, value in target.items()} for target in targets]
            loss = sum(model([image.to(device) for image in images_], moved).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), wanted.training.clip_norm)
            optimizer.step()
            schedule.step()
            loss.item()  # the reference does this to log the loss and to stop if it is not finite
        seconds += (time.perf_counter() - began) * (epoch > 0)
    return {"rate": count / seconds, "wait": 100 * waited / seconds, **_evaluate(model, images, validation, device)}


def _timed(batches: Iterator[Any]) -> Iterator[tuple[Any, Any, float]]:
    """Yield each batch with the seconds that it was waited for."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield *batch, time.perf_counter() - began


def _parts(wanted: Any, root: Path) -> tuple[Path, Path, int]:
    """Write the COCO files of the two parts of our split."""
    from trainers.dataset.coco_file import parse_coco
    from trainers.dataset.split import split

    content = (Path(wanted.dataset) / "data" / wanted.data.train).read_bytes()
    coco = parse_coco(content, wanted.data.train)
    parts = split(coco, wanted.data.validation, wanted.seed, by_sequence=wanted.data.sequences == "url")
    whole, paths = json.loads(content), []
    for name, places in (("training", parts.train), ("validation", parts.validation)):
        ids = set(coco.ids[places].tolist())
        kept = {"images": [row for row in whole["images"] if row["id"] in ids]}
        kept["annotations"] = [row for row in whole["annotations"] if row["image_id"] in ids]
        paths.append(root / f"{name}.json")
        paths[-1].write_text(json.dumps(whole | kept))
    return *paths, len(coco.categories)


def _evaluate(model: Any, images: Path, annotations: Path, device: Any) -> dict[str, float]:
    """Evaluate torchvision's model with COCO's metrics."""
    import contextlib
    import io

    import torch
    from PIL import Image
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from torchvision.transforms import functional as F  # noqa: N812 - its name in torchvision's own documentation

    model.eval()
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = COCO(str(annotations)), []
        for row in truth.dataset["images"]:
            with Image.open(images / row["file_name"]) as opened:
                tensor = F.convert_image_dtype(F.pil_to_tensor(opened.convert("RGB")), torch.float32)
            with torch.inference_mode():
                found = {key: value.tolist() for key, value in model([tensor.to(device)])[0].items()}
            for (x1, y1, x2, y2), label, score in zip(
                *(found[key] for key in ("boxes", "labels", "scores")), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                results.append({"image_id": row["id"], "category_id": label, "bbox": box, "score": score})
        if not results:
            return {"mAP": 0.0, "mAP50": 0.0}
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP": float(evaluation.stats[0]), "mAP50": float(evaluation.stats[1])}


if __name__ == "__main__":
    print(json.dumps(reference(Path(sys.argv[1]))))
