"""A whole training on the reef, as a job: its accuracy, its evaluation and predictions, a stop and a resumption."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.bags import REEF, reef_bag
from benchmarks.gpu.device import has_gpu
from benchmarks.gpu.rows import NO_GPU, Row, reported
from benchmarks.gpu.running import Desk
from datapack.bag.manifest import Manifest
from datapack.hashing import hash_file

if TYPE_CHECKING:
    from benchmarks.gpu.running import Ended

BEST = 0.6  # mAP50 that a training must reach; on a CPU it reaches 0.95
APART = (
    0.15  # largest difference of mAP50 between two trainings that differ by rounding alone: mAP50 of 14 images jumps
)
TIED = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # cuBLAS is deterministic only with this


def main() -> None:
    """Run the jobs: first one alone, then the others at the same time."""
    gpu = has_gpu()
    with TemporaryDirectory(prefix="datapack-gpu-") as folder:
        desk, settings = Desk(Path(folder)), _settings(Path(folder), gpu=gpu)
        with reported("training on the reef"):
            plain = desk.run("train", settings | {"run": "plain"}).demand()
            _show_training(plain, gpu=gpu)
            with ThreadPoolExecutor() as pool:
                chains = [
                    pool.submit(_evaluate_and_predict, desk, settings, plain),
                    pool.submit(_resume, desk, settings, plain, gpu=gpu),
                ]
                if gpu:
                    chains += [
                        pool.submit(_resume_exactly, desk, settings),
                        pool.submit(_waits, desk, settings),
                    ]
            for chain in chains:
                with contextlib.suppress(Exception):  # it has reported its own failure
                    chain.result()
        if not gpu:
            Row("stopped and resumed with deterministic algorithms", NO_GPU, "not measured").emit()
            Row("how often the CPU waits for the GPU", NO_GPU, "not measured").emit()


def _settings(folder: Path, *, gpu: bool) -> dict[str, Any]:
    """Return train.yml of the example, for this device; without a GPU for two short epochs."""
    settings: dict[str, Any] = yaml.safe_load((REEF / "train.yml").read_text())
    bag = reef_bag(folder / "reef" / "v1")
    settings |= {"dataset": str(bag), "digest": Manifest.read(bag).digest, "device": "cuda" if gpu else "cpu"}
    settings["data"] |= {"eval": "train.json", "eval_images": "images"}
    if not gpu:
        settings["image"] = {"min_size": 64, "max_size": 120}
        settings["training"] |= {"epochs": 2}
        settings["evaluation"] = {"every": 1}
    return settings


def _best(job: Ended) -> dict[str, Any]:
    """Return the best evaluation of a training."""
    return max((row["evaluation"] for row in job.rows if row["evaluation"]), key=lambda found: found["mAP"] or 0)


def _show_training(job: Ended, *, gpu: bool) -> None:
    best, inside = _best(job), sum(row["seconds"] for row in job.rows)
    shown = f"mAP {best['mAP']:.3f}, mAP50 {best['mAP50']:.3f} after {len(job.rows)} epochs"
    values = {"rows": job.rows, "seconds": job.seconds, "report": job.report}
    what = "training on the reef from random weights: fcos_resnet50_fpn, 128 x 240"
    if gpu:
        Row.check(what, shown, best["mAP50"] >= BEST, **values).emit()
    else:
        Row(what, NO_GPU, "not measured", values).emit()
    Row("the whole job, from its start to its last line", f"{job.seconds:.1f} s, {inside:.1f} s of it in steps").emit()


def _evaluate_and_predict(desk: Desk, settings: dict[str, Any], plain: Ended) -> None:
    """Run both commands from the model file alone; the evaluation must be the one that the training printed."""
    model = _model_file(plain.folder)
    again = settings | {"run": "again", "evaluation": settings["evaluation"] | {"model": str(model)}}
    with reported("evaluate"):
        job = desk.run("evaluate", again).demand()
        scores, expected = job.last.rpartition("mAP=")[2], f"{_best(plain)['mAP']:.3f}"
        same = abs(float(scores) - float(expected)) <= 0.005
        shown = f"mAP {scores}, {expected} in the training, {job.seconds:.1f} s"
        Row.check(f"evaluate, from {model.name}", shown, same).emit()
    with reported("predict"):
        job = desk.run("predict", again).demand()
        found = json.loads((job.folder / "predictions.json").read_text())
        images, sure = len({row["image_id"] for row in found}), sum(row["score"] >= 0.5 for row in found)
        shown = f"{len(found)} detections in {images} images, {sure} with a score of at least 0.5, {job.seconds:.1f} s"
        Row.check(f"predict, from {model.name}", shown, bool(found)).emit()


def _model_file(folder: Path) -> Path:
    from trainers.run.folder import MODEL

    return folder / MODEL


def _stopped_and_resumed(desk: Desk, settings: dict[str, Any], **options: Any) -> tuple[Ended, Ended]:
    """Stop a training by SIGTERM after its first epoch, and run the same job again."""
    stopped = desk.run("train", settings, stop_after=1, **options).demand(75)
    return stopped, desk.run("train", settings, **options).demand()


def _resume(desk: Desk, settings: dict[str, Any], plain: Ended, *, gpu: bool) -> None:
    """Check that a training that was stopped and resumed ends like the one that was not, but for rounding."""
    what = "stopped by SIGTERM and resumed, against never stopped"
    with reported(what):
        stopped, job = _stopped_and_resumed(desk, settings | {"run": "resumed"})
        ours, theirs = _best(job), _best(plain)
        differ = _loss_difference(job, plain)
        shown = (
            f"{stopped.last.partition(': ')[2].partition(';')[0]}; mAP50 {ours['mAP50']:.3f} and "
            f"{theirs['mAP50']:.3f}, "
            f"losses of an epoch at most {differ:.1%} apart, {_bits(job, plain)}"
        )
        passed = abs(ours["mAP50"] - theirs["mAP50"]) <= APART if gpu else _bits(job, plain) == "bit for bit equal"
        Row.check(what, shown, passed, rows=job.rows).emit()


def _resume_exactly(desk: Desk, settings: dict[str, Any]) -> None:
    """Check that with deterministic algorithms the numbers and the weights are the same to the last bit."""
    what = "the same with torch's deterministic algorithms"
    with reported(what):
        options: dict[str, Any] = {"watch": ["--deterministic"], "env": TIED}
        with ThreadPoolExecutor() as pool:
            whole = pool.submit(desk.run, "train", settings | {"run": "whole"}, **options)
            _, job = _stopped_and_resumed(desk, settings | {"run": "parts"}, **options)
            straight = whole.result().demand()
        differ = _loss_difference(job, straight)
        shown = f"{_bits(job, straight)}, losses of an epoch at most {differ:.1%} apart"
        Row.check(what, shown, _bits(job, straight) == "bit for bit equal", rows=job.rows).emit()


def _loss_difference(one: Ended, other: Ended) -> float:
    """Return the largest relative difference of the losses of an epoch."""
    pairs = zip(one.rows, other.rows, strict=True)
    return max(abs(ours["loss"] - theirs["loss"]) / theirs["loss"] for ours, theirs in pairs)


def _bits(one: Ended, other: Ended) -> str:
    """Say whether two trainings have the same losses, evaluations and weights, bit for bit."""
    kept = ("loss", "losses", "evaluation")
    rows = [[{name: row[name] for name in kept} for row in job.rows] for job in (one, other)]
    models = [hash_file(_model_file(job.folder)) for job in (one, other)]
    return "bit for bit equal" if rows[0] == rows[1] and models[0] == models[1] else "not bit for bit equal"


def _waits(desk: Desk, settings: dict[str, Any]) -> None:
    """Count the places where the CPU waits for the GPU."""
    what = "how often the CPU waits for the GPU"
    with reported(what):
        settings = settings | {"run": "syncs", "training": settings["training"] | {"epochs": 1}}
        job = desk.run("train", settings, watch=["--syncs"]).demand()
        syncs, steps = Counter(job.report["syncs"]), job.rows[-1]["step"]
        ours = Counter({line: count for line, count in syncs.items() if "trainers/" in line})
        shown = (
            f"{syncs.total()} times in {steps} steps and one evaluation, {ours.total()} in the trainers' own lines; "
            f"most often in {', '.join(f'{line} ({count})' for line, count in syncs.most_common(4))}"
        )
        Row(what, shown, values={"syncs": dict(syncs)}).emit()


if __name__ == "__main__":
    main()
