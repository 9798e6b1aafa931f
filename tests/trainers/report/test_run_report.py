"""The report is one page that describes a run, loads nothing, and holds images of the data only on request."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.trainers.results import DIGEST, NAMES, a_record, an_evaluation, epochs
from trainers.config import Config
from trainers.evaluation.scores import Evaluation
from trainers.report.report import OutputFile, make_report
from trainers.report.samples import Sample, draw_sample
from trainers.run.record import RunRecord

pytestmark = pytest.mark.slow  # matplotlib draws every plot, which takes half a second each

EVIL = "<script>alert('x')</script>\" onload=\"y & <img src=http://example.org/z>"


class Page(HTMLParser):
    """A page as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.words, self.texts = [], [], [], {}
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.words.append(data)

    def images(self, form: str) -> list[bytes]:
        head = f"data:image/{form};base64,"
        sources = [value for name, value in self.attributes if name == "src" and value.startswith(head)]
        return [base64.b64decode(source.removeprefix(head)) for source in sources]


def samples(count: int) -> list[Sample]:
    image = np.full((40, 60, 3), 90, np.uint8)
    box, nothing = np.array([[5, 5, 25, 25]]), np.empty(0, np.int64)
    return [Sample(f"{n}.png", image, box, np.array([1]), np.empty((0, 4)), nothing, nothing) for n in range(count)]


def report(**changes) -> Page:
    given = {"record": a_record(), "epochs": epochs(3), "evaluation": None, **changes}
    return Page(make_report(given.pop("record"), given.pop("epochs"), given.pop("evaluation"), **given))


def test_the_page_loads_nothing():
    """No script, link, frame or font; all images are in the page, and the policy forbids loading anything."""
    text = make_report(a_record(), epochs(2), an_evaluation(), files=[OutputFile("model.safetensors", 5, "ab" * 32)])
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "a", "base", "form"} & set(page.tags)
    assert all(value.startswith("data:image/png;base64,") for name, value in page.attributes if name == "src")
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"href", "srcset", "style"}]
    assert not re.search(r"url\(|@import|@font-face|https?:", text)
    policy = next(value for name, value in page.attributes if name == "content")
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert len(page.images("png")) == page.tags.count("img") == 6


def test_names_are_never_markup():
    """Whatever a run, a category, a file or a reason is called is shown as text."""
    record = a_record(samples=True, run=EVIL, reason=EVIL, model=EVIL, weights=EVIL, gpu=EVIL, versions={EVIL: EVIL})
    record = replace(record, dataset=replace(record.dataset, reference=EVIL))
    record.configuration["data"]["train"] = EVIL
    page = report(
        record=record,
        evaluation=an_evaluation((EVIL, "fish", "crab")),
        files=[OutputFile(EVIL, 1, "ab" * 32)],
        samples=[replace(samples(1)[0], name=EVIL)],
    )
    assert "script" not in page.tags
    assert page.tags.count("img") == len(page.images("png")) + len(page.images("jpeg"))
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 10


def test_the_report_can_be_made_again():
    """run.json, metrics.jsonl and coco_eval.json give the same page, byte for byte."""
    record, rows, evaluation = a_record(), epochs(2), an_evaluation()
    again = [json.loads(json.dumps(part, allow_nan=False)) for part in (record.to_json(), rows, evaluation.to_json())]
    made = make_report(RunRecord.from_json(again[0]), again[1], Evaluation.from_json(again[2]))
    assert made == make_report(record, rows, evaluation)


def test_the_page_shows_all_scores():
    """Scores have three digits, categories and sizes their boxes; without boxes there is a dash."""
    evaluation = an_evaluation()
    page = report(evaluation=evaluation)
    for at in (evaluation.at100, evaluation.at300):
        for scores in (at.all, *at.sizes.values(), *at.categories[:-1]):
            assert f"{scores.AP:.3f}" in page.text
            assert f"{scores.AR:.3f}" in page.text
    first, last = evaluation.categories[0], evaluation.categories[-1]
    assert f"{first.name} {first.boxes} {evaluation.at100.categories[0].AP:.3f}" in page.text
    assert f"{last.name} 0 \N{EN DASH} \N{EN DASH}" in page.text
    assert f"small, up to 32² {evaluation.size_boxes['small']} " in page.text


def test_the_page_describes_the_data_and_the_run():
    """It has the data and its check, the model, the device, the versions and the times."""
    page = report(record=a_record(gpu="NVIDIA H100", device="cuda", resumed=4, weights_digest="sha256:" + "ef" * 32))
    for part in (
        f"Digest {DIGEST}",
        "Check verified: every byte",
        "73, 1.23 MB",
        "58 images, 150 boxes",
        "14 images, 41 boxes",
        "sha256:" + "ef" * 32,
        "cuda (NVIDIA H100), 2 processes",
        "python 3.11.2, torch 2.14.1 ",
        "after 4 epochs of earlier jobs",
        "24 November 2026, 08:00:00 UTC",
        "1 h 05 min",
        "12.0 images/s (median of the epochs); 5.0% of the time waiting",
    ):
        assert part in page.text


def test_quick_is_never_called_verified():
    """If only names and sizes were compared, the report says that no byte was checked."""
    page = report(record=a_record(verify="quick"))
    assert "no byte was checked" in page.text
    assert "verified" not in page.text


def test_the_configuration_is_complete():
    """It is in the report as YAML that gives the same configuration again."""
    record = a_record()
    page = report(record=record)
    text = next(words for words in page.words if words.startswith("dataset: reef"))
    assert Config.model_validate(yaml.safe_load(text)).model_dump(mode="json") == record.configuration


@pytest.mark.parametrize("count", [0, 2, 9])
def test_images_of_the_data_need_permission(count):
    """Without report.samples none is shown, even if some are passed, and a line says so."""
    page = report(evaluation=an_evaluation(), samples=samples(count))
    assert page.images("jpeg") == []
    assert "This report holds no images of the data." in page.text
    assert ".png" not in page.text


@pytest.mark.parametrize(("count", "shown", "words"), [(1, 1, "1 image"), (9, 6, "6 images")])
def test_images_of_the_data_are_announced(count, shown, words):
    """With report.samples up to six are shown, and a line at the top says how many."""
    page = report(record=a_record(samples=True), evaluation=an_evaluation(), samples=samples(count))
    assert len(page.images("jpeg")) == shown
    assert f"This report holds {words} of the data with names: report.samples is true." in page.text
    assert page.text.index("This report holds") < page.text.index("Results")


def test_a_sample_shows_boxes_and_detections():
    """Boxes of the dataset are white, strong detections orange; weak ones are left out."""

    def colours(found):
        scores = np.array([found])
        sample = Sample("", np.zeros((80, 120, 3), np.uint8), box, label, box + 30, label, scores)
        image = np.asarray(Image.open(io.BytesIO(draw_sample(sample, NAMES, 0.5)))).astype(int)
        red, _, blue = np.moveaxis(image, -1, 0)
        return ((red > 200) & (blue > 200)).sum(), ((red > 200) & (blue < 90)).sum()

    box, label = np.array([[10, 10, 40, 40]]), np.array([1])
    white, orange = colours(0.9)
    assert white > 300
    assert orange > 300
    assert colours(0.4)[1] == 0


def test_a_crowded_sample_has_no_names():
    """Where names would cover the image, only boxes are drawn, also over the edge."""
    boxes = np.tile([[10, 10, 40, 40]], (200, 1)) + np.arange(200)[:, None]
    labels = np.ones(200, np.int64)
    sample = Sample("", np.zeros((80, 120, 3), np.uint8), boxes, labels, boxes, labels, np.ones(200))
    assert Image.open(io.BytesIO(draw_sample(sample, (), 0.5))).size == (960, 640)


def test_the_last_line_of_an_epoch_counts():
    """A killed and resumed run has an epoch twice; the report has it once, in order."""
    first, second = epochs(2)
    page = report(epochs=[first, {**second, "images_per_second": 1.0}, {**second, "images_per_second": 13.0}])
    assert "2 of 26 epochs" in page.text
    assert "12.0 images/s" in page.text


def test_a_run_without_results_has_a_report():
    """Without an epoch or an evaluation the report shows what is known, and the reason first."""
    page = report(record=a_record(outcome="failed", reason="no memory", ended=None), epochs=[], evaluation=None)
    assert "Failed: no memory" in page.text
    assert "There was no evaluation." in page.text
    assert "No epoch was finished." in page.text
    assert page.tags.count("img") == 0
    assert "which may name files of the data" in page.text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("ok", "Finished"), ("stopped", "Stopped before the end"), ("running", "Not finished"), ("failed", "Failed")],
)
def test_the_outcome_is_shown(outcome, words):
    """The outcome is below the run's name."""
    assert f"reef-1 {words}" in report(record=a_record(outcome=outcome)).text


def test_the_files_of_the_run_are_listed():
    """Each file has its size and sha256."""
    page = report(files=[OutputFile("model.safetensors", 172_553_101, "ab" * 32)])
    assert f"model.safetensors 173 MB {'ab' * 32}" in page.text


def test_single_images_are_no_sequences():
    """If each image is its own sequence, the report says that none is known."""
    record = a_record()
    assert "none known: images were split one by one" in report(record=record).text
    dives = replace(record, dataset=replace(record.dataset, sequences=12))
    assert "12, each on one side of the split" in report(record=dives).text
