"""`report.html`: a run on one page, for the data manager who checks what leaves and the researcher who reads it.

It is made from `run.json`, `metrics.jsonl` and `coco_eval.json`, so it can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from datapack.page import Figure, render
from datapack.progress import size
from trainers import __version__
from trainers.report import plots
from trainers.report.samples import draw_sample
from trainers.run.record import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.evaluation.scores import Evaluation, Scores
    from trainers.report.samples import Sample
    from trainers.run.record import RunRecord

    Epochs = Sequence[Mapping[str, Any]]

MOST_SAMPLES = 6

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_NONE = "\N{EN DASH}"  # for a score that does not exist

_OUTCOMES = {"ok": "Finished", "failed": "Failed", "stopped": "Stopped before the end", "running": "Not finished"}
_CHECKS = {
    "full": "verified: every byte matches this digest",
    "quick": "names and the total size match; no byte was checked (verify: quick)",
}
_SIZES = {"small": "small, up to 32²", "medium": "medium, up to 96²", "large": "large, from 96²"}


@dataclass(frozen=True)
class OutputFile:
    """A file that the run leaves."""

    name: str
    bytes: int
    sha256: str


def make_report(
    record: RunRecord,
    epochs: Epochs,
    evaluation: Evaluation | None,
    *,
    files: Sequence[OutputFile] = (),
    samples: Sequence[Sample] = (),
) -> str:
    """Return the report as HTML.

    Args:
        record: the content of `run.json`.
        epochs: the lines of `metrics.jsonl`. A killed run leaves several lines for one epoch; the last one counts.
        evaluation: the content of `coco_eval.json`; None if there was no evaluation.
        files: the files that leave with the report.
        samples: images of the data; up to six are shown, and only if `report.samples` of the configuration is true.
    """
    rows = [row for _, row in sorted({row["epoch"]: row for row in epochs}.items())]
    shown = samples[:MOST_SAMPLES] if record.configuration["report"]["samples"] and evaluation else ()
    return render(
        _TEMPLATE,
        record=record,
        evaluation=evaluation,
        files=files,
        version=__version__,
        no_score=_NONE,
        count=_count,
        scores=_scores,
        size=size,
        training_figures=_training_figures(rows),
        samples=_sample_figures(shown, evaluation) if evaluation else (),
        **_run_values(record, rows),
        **(_result_values(evaluation) if evaluation else {}),
    )


def _run_values(record: RunRecord, epochs: Epochs) -> dict[str, Any]:
    """Return what the page says of the run itself."""
    total = _count(record.configuration["training"]["epochs"], "epoch")
    done = f"{epochs[-1]['epoch']} of {total}" if epochs else None
    duration = _duration(record.seconds)
    where = f"{record.device} ({record.gpu})" if record.gpu else record.device
    return {
        "about": [*filter(None, (f"{record.model} on {record.dataset.reference}", done, duration))],
        "outcome": _OUTCOMES[record.outcome],
        "check": _CHECKS[record.dataset.verify],
        "sequences": _sequences(record),
        "device": f"{where}, {_count(record.world_size, 'process', 'processes')}",
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items() if version),
        "started": in_words(record.started),
        "ended": in_words(record.ended) if record.ended else None,
        "duration": duration,
        "speed": _speed(epochs),
        "configuration": _yaml(record.configuration),
    }


def _sequences(record: RunRecord) -> str:
    data = record.dataset
    if data.sequences == data.train_images + data.validation_images:
        return "none known: images were split one by one"
    return f"{data.sequences:,}, each on one side of the split"


def _speed(epochs: Epochs) -> str | None:
    rates = [row["images_per_second"] for row in epochs if row.get("images_per_second") is not None]
    seconds = sum(row.get("seconds") or 0 for row in epochs)
    if not rates or not seconds:
        return None
    waited = sum(row.get("input_wait_s") or 0 for row in epochs) / seconds
    return f"{median(rates):,.1f} images/s (median of the epochs); {waited:.1%} of the time waiting for input"


def _result_values(evaluation: Evaluation) -> dict[str, Any]:
    """Return the rows of the tables of results, and the plots."""
    at100, at300 = evaluation.at100, evaluation.at300
    sizes = [
        (_SIZES[name], f"{boxes:,}", *_scores(at100.sizes[name]), *_ends(at300.sizes[name]))
        for name, boxes in evaluation.size_boxes.items()
    ]
    categories = [
        (category.name, f"{category.boxes:,}", *_scores(at100.categories[place]), *_ends(at300.categories[place]))
        for place, category in enumerate(evaluation.categories)
    ]
    return {
        "overall": [("best 100", *_scores(at100.all)), ("best 300", *_scores(at300.all))],
        "sizes": sizes,
        "categories": categories,
        "result_figures": _result_figures(evaluation),
    }


def _result_figures(evaluation: Evaluation) -> list[Figure]:
    confusion = evaluation.confusion
    some = f" Only the {plots.MOST} with the most boxes." if len(evaluation.categories) > plots.MOST else ""
    matrix = (
        f"What the boxes were detected as, at IoU {confusion.iou}, by detections with a score of at least "
        f"{confusion.score}. The shades are shares of a row. Last row: detections where there is no box. "
        "Last column: boxes that were not detected."
    )
    drawn = (
        (plots.average_precision(evaluation), f"AP and AP50 by category, for 100 detections.{some}"),
        (
            plots.precision_recall(evaluation),
            f"Precision by recall of each category with boxes, at IoU {confusion.iou}, for 100 detections.{some}",
        ),
        (plots.confusion_matrix(evaluation), matrix),
    )
    return [Figure(png, caption, width=plots.width(png)) for png, caption in drawn if png]


def _training_figures(epochs: Epochs) -> list[Figure]:
    if not epochs:
        return []
    drawn = (
        (plots.loss(epochs), "Training loss and its parts, averaged over each epoch."),
        (plots.mean_average_precision(epochs), "mAP on the validation images, for 100 detections."),
        (plots.learning_rate(epochs), "Learning rate at the end of each epoch."),
    )
    return [Figure(png, caption) for png, caption in drawn if png]


def _sample_figures(samples: Sequence[Sample], evaluation: Evaluation) -> list[Figure]:
    names, score = [category.name for category in evaluation.categories], evaluation.confusion.score
    return [Figure(draw_sample(sample, names, score), sample.name, form="jpeg") for sample in samples]


def _scores(scores: Scores) -> tuple[str, str, str, str]:
    return _score(scores.AP), _score(scores.AP50), _score(scores.AP75), _score(scores.AR)


def _ends(scores: Scores) -> tuple[str, str]:
    return _score(scores.AP), _score(scores.AR)


def _score(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _count(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _yaml(configuration: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True, width=100)
