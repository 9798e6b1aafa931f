"""Write `run.json` when a training starts and ends, and `report.html` from the files of the run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from datapack.hashing import hash_file
from trainers.errors import DatapackError, StoppedError
from trainers.evaluation.scores import Evaluation
from trainers.report.report import OutputFile, make_report
from trainers.run.folder import EVALUATION, LOG, METRICS, RECORD, REPORT
from trainers.run.record import DatasetRecord, RunRecord, now, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainers.config import Config
    from trainers.dataset.prepare import PreparedData
    from trainers.report.samples import Sample
    from trainers.run.folder import Run
    from trainers.run.record import Device, Outcome


def begin(config: Config, data: PreparedData, run: Run, weights_digest: str | None, device: Device) -> RunRecord:
    """Return the record of a training that starts."""
    return RunRecord(
        run=run.folder.name,
        command="train",
        outcome="running",
        reason=None,
        started=now(),
        ended=None,
        resumed=None,
        dataset=_dataset(config, data),
        model=config.model.name,
        weights=config.model.weights,
        weights_digest=weights_digest,
        seed=config.seed,
        device=device.name,
        gpu=device.gpu,
        world_size=device.processes,
        versions=versions(device.versions),
        configuration=config.model_dump(mode="json"),
    )


@contextlib.contextmanager
def recorded(run: Run, record: RunRecord, *, first: bool) -> Iterator[None]:
    """Write `run.json` in the first process; if the body fails, write it again with the reason."""
    if not first:
        yield
        return
    run.write_json(RECORD, record.to_json())
    run.remove(REPORT)  # it is about an earlier job
    try:
        yield
    except BaseException as error:
        outcome: Outcome = "stopped" if isinstance(error, StoppedError | KeyboardInterrupt) else "failed"
        reason = str(error) or type(error).__name__
        with contextlib.suppress(DatapackError):  # the error itself matters more than a failure to record it
            run.write_json(RECORD, replace(record, outcome=outcome, reason=reason, ended=now()).to_json())
        raise


def finish(run: Run, record: RunRecord, resumed: int, samples: Sequence[Sample] = ()) -> None:
    """Record that the run has succeeded, and write its report.

    Args:
        run: its folder has all other files by now.
        record: from `begin`.
        resumed: epochs that earlier jobs had finished.
        samples: images of the data for the report, if it may hold any.
    """
    record = replace(record, outcome="ok", ended=now(), resumed=resumed)
    run.write_json(RECORD, record.to_json())
    epochs = [json.loads(line) for line in run.path(METRICS).read_text(encoding="utf-8").splitlines()]
    evaluation = Evaluation.from_json(json.loads(run.path(EVALUATION).read_bytes()))
    text = make_report(record, epochs, evaluation, files=output_files(run), samples=samples)
    with run.write(REPORT) as file:
        file.write(text.encode())


def _dataset(config: Config, data: PreparedData) -> DatasetRecord:
    to_learn, to_find = data.coco.targets().counts, data.coco.counts
    return DatasetRecord(
        reference=data.dataset.reference,
        digest=data.dataset.manifest.digest,
        verify=config.verify,
        files=len(data.dataset.listing.files),
        bytes=data.dataset.listing.size,
        train_images=len(data.split.train),
        train_boxes=int(to_learn[data.split.train].sum()),
        validation_images=len(data.split.validation),
        validation_boxes=int(to_find[data.split.validation].sum()),
        categories=len(data.coco.categories),
        sequences=data.split.sequences,
    )


def output_files(run: Run) -> list[OutputFile]:
    """List the files that leave with the report. The log is still being written; it is in the manifest only."""
    paths = sorted(path for path in run.folder.iterdir() if path.is_file() and path.name not in {REPORT, LOG})
    return [OutputFile(path.name, path.stat().st_size, hash_file(path)) for path in paths]
