"""`report.html`: a run on one page, for the data manager who checks what leaves and the researcher who reads it.

It is made of the contents of `run.json`, `metrics.jsonl` and `coco_eval.json`, so that it can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from datapack.progress import size
from trainers import __version__
from trainers.report import plots
from trainers.report.html import Html, facts, figure, page, section, table, tag
from trainers.report.samples import draw_sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.evaluation.scores import Evaluation, Scores
    from trainers.report.samples import Sample
    from trainers.run.record import RunRecord

    Epochs = Sequence[Mapping[str, Any]]

MOST_SAMPLES = 6

_NOTHING = "\N{EN DASH}"

_OUTCOMES = {"ok": "Finished", "failed": "Failed", "stopped": "Stopped before its end", "running": "Not finished"}
_VERIFIED = {
    "full": "verified: every byte was held against this digest",
    "quick": "names and the total size are right; no byte was checked (verify: quick)",
}
_SIZES = {"small": "small, up to 32²", "medium": "medium, up to 96²", "large": "large, from 96² on"}


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
        epochs: the lines of `metrics.jsonl`; of several for one epoch, as a killed run leaves, the last counts.
        evaluation: the content of `coco_eval.json`; None if the run came to none.
        files: what leaves with the report.
        samples: images of the data; shown only if `report.samples` of the configuration is true, six at most.
    """
    rows = [row for _, row in sorted({row["epoch"]: row for row in epochs}.items())]
    shown = samples[:MOST_SAMPLES] if record.configuration["report"]["samples"] and evaluation else ()
    parts = [
        _heading(record, rows),
        _headline(evaluation),
        _leaves(record, shown),
        section("Data", _data(record)),
        section("Run", _run(record, rows)),
        section("Results", *_results(evaluation)),
        section("Training", *_training(rows)),
    ]
    if shown and evaluation:
        parts.append(section("Samples", *_samples(shown, evaluation)))
    parts.append(section("Configuration", tag("pre", _yaml(record.configuration))))
    if files:
        parts.append(section("Files", *_files(files)))
    made = f"Made by trainers {__version__} of run.json, metrics.jsonl and coco_eval.json."
    return page(record.run, *parts, tag("footer", f"{made} This page loads nothing and runs no script."))


def _heading(record: RunRecord, epochs: Epochs) -> Html:
    done = f"{epochs[-1]['epoch']} of {_count(record.configuration['training']['epochs'], 'epoch')}" if epochs else None
    about = (f"{record.model} on {record.dataset.reference}", done, _duration(record.seconds))
    outcome = _OUTCOMES[record.outcome] + (f": {record.reason}" if record.reason else "")
    return tag(
        "header",
        tag("p", " · ".join(filter(None, about)), class_="kicker"),
        tag("h1", record.run),
        tag("p", outcome, class_=f"outcome {record.outcome}"),
    )


def _headline(evaluation: Evaluation | None) -> Html:
    if evaluation is None:
        return Html("")
    pairs = zip(("mAP", "mAP50", "mAP75", "AR"), _scores(evaluation.at100.all), strict=True)
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="headline")


def _leaves(record: RunRecord, samples: Sequence[Sample]) -> Html:
    if samples:
        first = f"This report holds {_count(len(samples), 'image')} of the data with names: report.samples is true."
    else:
        first = "This report holds no images of the data."
    rest = "It shows the configuration, names of categories, counts, and averages over the validation images."
    if record.reason:
        rest += " It says why the run ended, which may name files of the data."
    kind = "leaves images" if samples else "leaves"
    return tag("div", tag("p", tag("strong", first)), tag("p", rest, class_="muted"), class_=kind)


def _data(record: RunRecord) -> Html:
    data = record.dataset
    return facts(
        ("Dataset", data.reference),
        ("Digest", tag("code", data.digest)),
        ("Check", _VERIFIED[data.verify]),
        ("Files", f"{data.files:,}, {size(data.bytes)}"),
        ("To train on", f"{_count(data.train_images, 'image')}, {_boxes(data.train_boxes)}"),
        ("For validation", f"{_count(data.validation_images, 'image')}, {_boxes(data.validation_boxes)}"),
        ("Categories", f"{data.categories:,}"),
        ("Sequences", _sequences(record)),
    )


def _sequences(record: RunRecord) -> str:
    data = record.dataset
    if data.sequences == data.train_images + data.validation_images:
        return "none known: each image stands alone"
    return f"{data.sequences:,}, each on one side only"


def _run(record: RunRecord, epochs: Epochs) -> Html:
    where = f"{record.device} ({record.gpu})" if record.gpu else record.device
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items() if version)
    return facts(
        ("Command", record.command),
        ("Model", record.model),
        ("Weights at the start", record.weights),
        ("Digest of the weights", tag("code", record.weights_digest) if record.weights_digest else None),
        ("Device", f"{where}, {_count(record.world_size, 'process', 'processes')}"),
        ("Versions", versions),
        ("Seed", str(record.seed)),
        ("Began", _time(record.started)),
        ("Went on", f"after {_count(record.resumed, 'epoch')} of earlier jobs" if record.resumed else None),
        ("Ended", _time(record.ended) if record.ended else None),
        ("Duration", _duration(record.seconds)),
        ("Speed", _speed(epochs)),
    )


def _speed(epochs: Epochs) -> str | None:
    rates = [row["images_per_second"] for row in epochs if row.get("images_per_second") is not None]
    seconds = sum(row.get("seconds") or 0 for row in epochs)
    if not rates or not seconds:
        return None
    waited = sum(row.get("input_wait_s") or 0 for row in epochs) / seconds
    return f"{median(rates):,.1f} images a second (median of the epochs); {waited:.1%} of the time waiting for input"


def _results(evaluation: Evaluation | None) -> list[Html]:
    if evaluation is None:
        return [tag("p", "The run did not come to an evaluation.")]
    at100, at300 = evaluation.at100, evaluation.at300
    looked = f"{_count(evaluation.images, 'image')}, {_boxes(evaluation.boxes)}"
    overall = [("the 100 best", *_scores(at100.all)), ("the 300 best", *_scores(at300.all))]
    sizes = [
        (_SIZES[name], f"{boxes:,}", *_scores(at100.sizes[name]), *_ends(at300.sizes[name]))
        for name, boxes in evaluation.size_boxes.items()
    ]
    categories = [
        (category.name, f"{category.boxes:,}", *_scores(at100.categories[place]), *_ends(at300.categories[place]))
        for place, category in enumerate(evaluation.categories)
    ]
    return [
        tag(
            "p",
            f"{_count(evaluation.detections, 'detection')} on {looked}, by COCO's measures: averages over IoU 0.50 to "
            "0.95, of the 100 or 300 best detections of a category in an image. Where there is no box to find there "
            f"is no average ({_NOTHING}), and it is in no mean.",
        ),
        tag("h3", "All categories"),
        table(("Detections", "mAP", "mAP50", "mAP75", "AR"), overall),
        tag("h3", "By size of the boxes, square pixels"),
        table(("Size", "Boxes", "mAP", "mAP50", "mAP75", "AR", "mAP, 300", "AR, 300"), sizes),
        tag("h3", "By category"),
        table(("Category", "Boxes", "AP", "AP50", "AP75", "AR", "AP, 300", "AR, 300"), categories),
        *_result_plots(evaluation),
    ]


def _result_plots(evaluation: Evaluation) -> list[Html]:
    confusion = evaluation.confusion
    some = f" Only the {plots.MOST} with the most boxes." if len(evaluation.categories) > plots.MOST else ""
    curves = plots.precision_recall(evaluation)
    taken = (
        f"What the boxes were taken for, at IoU {confusion.iou}, by detections of a score from {confusion.score} on; "
        "shades are shares of a row. Last row: detections where there is no box. Last column: boxes not detected."
    )
    drawn = (
        (plots.average_precision(evaluation), f"AP and AP50 by category, at 100 detections.{some}"),
        (curves, f"Precision by recall of the categories with boxes, at IoU {confusion.iou}, 100 detections.{some}"),
        (plots.confusion_matrix(evaluation), taken),
    )
    return [figure(png, caption, width=plots.width(png)) for png, caption in drawn if png]


def _training(epochs: Epochs) -> list[Html]:
    if not epochs:
        return [tag("p", "No epoch was finished.")]
    drawn = [
        (plots.loss(epochs), "Loss in training and its parts, mean of each epoch."),
        (plots.mean_average_precision(epochs), "mAP on the validation images, at 100 detections."),
        (plots.learning_rate(epochs), "Learning rate, at the end of each epoch."),
    ]
    return [tag("div", *(figure(png, caption) for png, caption in drawn if png), class_="pair")]


def _samples(samples: Sequence[Sample], evaluation: Evaluation) -> list[Html]:
    names, score = [category.name for category in evaluation.categories], evaluation.confusion.score
    text = f"Validation images. Dashed white: boxes of the file. Orange: detections of a score from {score} on."
    drawn = (figure(draw_sample(sample, names, score), sample.name, form="jpeg") for sample in samples)
    return [tag("p", text), tag("div", *drawn, class_="pair")]


def _files(files: Sequence[OutputFile]) -> list[Html]:
    rows = [(tag("code", file.name), size(file.bytes), tag("code", file.sha256)) for file in files]
    text = "What leaves besides this report. manifest-sha256.txt has all of it, for sha256sum -c."
    return [tag("p", text), table(("File", "Size", "sha256"), rows, numbers=False)]


def _scores(scores: Scores) -> tuple[str, str, str, str]:
    return _score(scores.AP), _score(scores.AP50), _score(scores.AP75), _score(scores.AR)


def _ends(scores: Scores) -> tuple[str, str]:
    return _score(scores.AP), _score(scores.AR)


def _score(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def _boxes(count: int) -> str:
    return _count(count, "box", "boxes")


def _count(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%d %B %Y, %H:%M:%S} UTC"


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
