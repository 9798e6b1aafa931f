"""`predict` in a ready-to-run model: verify the model, find the images, run the detector on them, write what it found.

The model is verified before any framework is imported. The images need no COCO file, no `train.yml` and no bag.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datapack.text import counted, duration, size
from trainers.config import Config, EvaluationSection, ImageSection, ModelSection
from trainers.config.prediction import DEFAULT, TRAINING, find_prediction, load_prediction
from trainers.dataset.folder import FolderPixels, ImageFolder, Measured, display_name, find_images, measure
from trainers.dataset.model_bag import VerifiedModel, in_model_image, verify_model
from trainers.dataset.prepare import PreparedData
from trainers.dataset.split import Split
from trainers.errors import DatapackError, StoppedError, TrainingError
from trainers.process import cores
from trainers.run.folder import RECORD, REPORT
from trainers.run.record import in_words, now, seconds
from trainers.training.verified_model import model_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trainers.config.prediction import Prediction
    from trainers.context import RunContext
    from trainers.evaluation.coco import Evaluator
    from trainers.log import Log
    from trainers.report.predictions import Found
    from trainers.run.folder import Run
    from trainers.run.record import Device
    from trainers.training.model_file import ModelInfo

_NAMED = 20  # broken images in the log


@dataclass(frozen=True)
class FolderJob:
    """A verified model, the images that it is to run on, and how."""

    settings: Prediction
    model: VerifiedModel
    info: ModelInfo
    images: ImageFolder

    @property
    def run_name(self) -> str:
        """The folder of the run: as set, or the same for the same model, settings and images."""
        kept = self.settings.model_dump_json(exclude={"run", "workers", "batch_size", "device"})
        key = hashlib.sha256("\n".join((self.model.digest, kept, self.images.key)).encode()).hexdigest()
        return self.settings.run or f"{self.model.reference.replace('@', '-')}-{key[:8]}"

    @property
    def config(self) -> Config:
        """The configuration with which a framework runs the model."""
        settings, info = self.settings, self.info
        return Config(
            dataset=".",
            digest=self.model.digest,
            run=self.run_name,
            device=settings.device,
            workers=settings.workers,
            image=ImageSection(min_size=info.min_size, max_size=info.max_size, cache="off"),
            model=ModelSection.model_validate(
                {"name": info.name, "weights": "random", "detections": settings.detections}
            ),
            evaluation=EvaluationSection(batch_size=settings.batch_size),
        )


def detects_in_folder(option: Path | None) -> bool:
    """Whether `predict` is about a folder of images: in a ready-to-run model, unless there is only a `train.yml`."""
    return in_model_image() and (find_prediction(option) is not None or not TRAINING.exists())


def plan(option: Path | None, changes: Sequence[str], log: Log) -> FolderJob:
    """Verify the model in this image, then find the images.

    Args:
        option: the file of settings that the command line names.
        changes: of these settings.
        log: where both are noted.

    Raises:
        ConfigError: a setting is wrong, there are no images, or the trainers do not know the model.
        MismatchError: the model is not the one that the image names, or a bag of images differs from its manifest.
    """
    path = find_prediction(option)
    settings = load_prediction(path, changes)
    workers = settings.workers or cores()
    model = verify_model(workers)
    amount = f"{counted(len(model.bag.listing.files), 'file')}, {size(model.bag.listing.size)}"
    log.note(f"model {model.reference}: verified, every byte: {amount}, {model.digest}")
    info = model_info(model)
    folder = (path or DEFAULT).resolve().parent / settings.images
    images = find_images(folder, log.note)
    log.note(f"{counted(len(images.names), 'image')}, {size(sum(images.sizes))}, in {folder}")
    if images.others:
        others = ", ".join(f"{count:,} {ending}" for ending, count in images.others.items())
        log.note(f"other files there are ignored: {others}")
    return FolderJob(settings, model, info, images)


def run_job(job: FolderJob, context: RunContext, run: Run, jobs: Any) -> str:
    """Run the detector of ``jobs``, a framework's, on the images; return the run's name and what was found.

    Raises:
        StoppedError: the job was told to stop; the error says how far it came.
        TrainingError: no image can be used.
    """
    from trainers.report.predictions import Found, write_files

    with _recorded(job, run) as record:
        measured = _measure(job, context.log)
        _check_usable(measured)
        pixels = FolderPixels(measured, job.info.min_size, job.info.max_size)
        coco = measured.coco(job.info.categories)
        data = PreparedData(job.model.bag, coco, pixels, Split(np.empty(0, np.int64), np.arange(len(coco)), len(coco)))
        evaluator, device = _detect(job, context, data, jobs)
        found = Found.of(measured, coco, evaluator.state(), job.settings.score)
        _check_usable(measured)
        about = {"model": job.model.reference, "digest": job.model.digest, "score": job.settings.score}
        write_files(run, found, about)
        _finish(job, run, found, pixels, record | _outcome(found, device))
        return _last_line(run, found, context.log)


def _measure(job: FolderJob, log: Log) -> Measured:
    with log.progress("reading the sizes of the images", len(job.images.names), "images") as advance:
        return measure(job.images, job.settings.workers or cores(), advance)


def _detect(job: FolderJob, context: RunContext, data: PreparedData, jobs: Any) -> tuple[Evaluator, Device]:
    """Run the detector; an error of a signal says how many images were done."""
    done = 0

    def between(seen: int) -> None:
        nonlocal done
        done = seen

    try:
        evaluator, device = jobs.detect(job.config, context, data, job.model, job.info, job.settings.score, between)
    except StoppedError as error:
        raise StoppedError(
            f"{error.what} after {done:,} of {len(data.coco):,} images",
            fix="run the same job again: it starts from the first image",
        ) from error
    return evaluator, device


def _check_usable(measured: Measured) -> None:
    """Raise `TrainingError` if every image is broken, as far as is known by now; ``details`` names each."""
    broken = measured.broken
    if len(broken) == len(measured.folder.names):
        raise TrainingError(
            f"none of the {counted(len(broken), 'image')} can be used",
            where=measured.folder.folder,
            details=tuple(f"{display_name(name)}: {why}" for name, why in sorted(broken.items())),
        )


@contextlib.contextmanager
def _recorded(job: FolderJob, run: Run) -> Iterator[dict[str, Any]]:
    """Write `run.json` before and after the body, which adds to it what it yields; a failure is recorded too.

    What an earlier job of this name found is removed: under the record of this one it would be wrong.
    """
    from trainers.report.predictions import FILES

    record: dict[str, Any] = {
        "run": run.folder.name,
        "command": "predict",
        "outcome": "running",
        "reason": None,
        "started": now(),
        "ended": None,
        "model": {
            "reference": job.model.reference,
            "digest": job.model.digest,
            "architecture": job.info.name,
            "weights": job.model.facts.weights,
            "weights_sha256": job.model.sha256,
            "min_size": job.info.min_size,
            "max_size": job.info.max_size,
            "categories": len(job.info.categories),
        },
        "images": {"folder": str(job.images.folder), "files": len(job.images.names), "bytes": sum(job.images.sizes)},
        "settings": job.settings.model_dump(mode="json"),
    }
    for name in (REPORT, *FILES):
        run.remove(name)
    run.write_json(RECORD, record)
    try:
        yield record
    except BaseException as error:
        record["outcome"] = "stopped" if isinstance(error, StoppedError | KeyboardInterrupt) else "failed"
        record |= {"reason": str(error) or type(error).__name__, "ended": now()}
        with contextlib.suppress(DatapackError):  # the error itself matters more than a failure to record it
            run.write_json(RECORD, record)
        raise


def _outcome(found: Found, device: Device) -> dict[str, Any]:
    """Return what `run.json` says of a job that is done."""
    from trainers.run.record import versions

    return {
        "outcome": "ok",
        "ended": now(),
        "detections": len(found),
        "images_with_detections": int(np.count_nonzero(found.by_image)),
        "images_used": found.images,
        "images_left_out": len(found.measured.broken),
        "bags": [bag.reference for bag in found.measured.folder.bags],
        "device": device.name,
        "gpu": device.gpu,
        "versions": versions(device.versions),
    }


def _finish(job: FolderJob, run: Run, found: Found, pixels: FolderPixels, record: dict[str, Any]) -> None:
    """Write `run.json` and the page."""
    from trainers.report.prediction_page import PageFacts, choose_samples, image_facts, make_page
    from trainers.report.write import output_files

    run.write_json(RECORD, record)
    where = f"{record['device']} ({record['gpu']})" if record["gpu"] else record["device"]
    facts = PageFacts(
        title=run.folder.name,
        reference=job.model.reference,
        model=_model_facts(job),
        images=image_facts(found, str(job.images.folder)),
        run=[
            ("Device", where),
            ("Versions", ", ".join(f"{name} {number}" for name, number in record["versions"].items() if number)),
            ("Started", in_words(record["started"])),
            ("Duration", duration(seconds(record["started"], record["ended"]))),
            ("Settings", json.dumps(record["settings"])),
        ],
        score=job.settings.score,
    )
    samples = choose_samples(found, pixels) if job.settings.samples else []
    with run.write(REPORT) as file:
        file.write(make_page(facts, found, output_files(run), samples).encode())


def _model_facts(job: FolderJob) -> list[tuple[str, Any]]:
    facts = job.model.facts
    trained_on = facts.trained_on
    dataset = trained_on and (trained_on.text or f"{trained_on.reference} {trained_on.digest}")
    metrics = ", ".join(f"{name} {value:g}" for name, value in facts.metrics.items())
    return [
        ("Model", job.model.reference),
        ("Digest", job.model.digest),
        ("Check", "verified: every byte matches this digest"),
        ("Weights", f"{facts.weights}, sha256:{job.model.sha256}"),
        ("Architecture", job.info.name),
        ("Size of the images", f"shorter side {job.info.min_size}, at most {job.info.max_size} pixels"),
        ("Trained on", dataset),
        ("Metrics", metrics or None),
        ("Licence", facts.licence),
    ]


def _last_line(run: Run, found: Found, log: Log) -> str:
    """Log the images that were left out; return the run's name and what was found."""
    broken = sorted(found.measured.broken.items())
    for name, why in broken[:_NAMED]:
        log.note(f"left out: {display_name(name)}: {why}")
    if len(broken) > _NAMED:
        log.note(f"left out: {len(broken) - _NAMED:,} more, all in images.csv")
    left_out = f"; {counted(len(broken), 'broken image')} left out, see images.csv" if broken else ""
    detections, images = counted(len(found), "detection"), counted(found.images, "image")
    return f"{run.folder.name} {detections} in {images}{left_out}"
