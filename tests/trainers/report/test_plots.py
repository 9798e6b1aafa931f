"""Plots are readable images, whatever they show and whatever the categories are called."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tests.trainers.results import an_evaluation, epochs, evaluate, make_coco, outputs
from trainers.report import plots

pytestmark = pytest.mark.slow  # matplotlib draws every plot, which takes half a second each

LONG = tuple(f"Strongylocentrotus purpuratus {'group ' * (place % 2)}{place}" for place in range(18))
ODD = ("$\\frac{1$", "_hidden", "<b>&amp;</b>", "", "two\nlines", "深海の魚", "x" * 300, "%s{}", "a_b^c", "none")


@pytest.fixture
def figures(monkeypatch):
    """Collect the figures of all plots that are drawn."""
    drawn = []
    kept = plots.render

    def render(draw, width, height, form="png"):
        def keep(figure):
            draw(figure)
            drawn.append(figure)

        return kept(keep, width, height, form)

    monkeypatch.setattr(plots, "render", render)
    return drawn


def pixels(png: bytes) -> np.ndarray:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def lines(figure) -> dict[str, list[float]]:
    return {line.get_label(): line.get_ydata().tolist() for axes in figure.axes for line in axes.get_lines()}


def all_plots(rows, evaluation):
    training = [plots.loss(rows), plots.learning_rate(rows), plots.mean_average_precision(rows)]
    bars, confusion = plots.average_precision(evaluation), plots.confusion_matrix(evaluation)
    return [*training, bars, confusion, plots.precision_recall(evaluation)]


@pytest.mark.parametrize("count", [1, 3, 120])
def test_every_plot_is_an_image(count):
    """Each shows something, after one epoch and after many."""
    for png in all_plots(epochs(count), an_evaluation()):
        assert 0.01 < (pixels(png) < 200).mean() < 0.9


def test_the_same_run_gives_the_same_bytes():
    """A report that is made again has the same digest."""
    assert all_plots(epochs(2), an_evaluation()) == all_plots(epochs(2), an_evaluation())


@pytest.mark.filterwarnings("error")
def test_names_are_never_markup(figures):
    """No name of a category is markup, breaks a plot, causes a warning or gets lost."""
    all_plots(epochs(1), an_evaluation(ODD))
    bars, confusion, _ = figures[3:]
    for figure in (bars, confusion):
        shown = {label.get_text() for label in figure.axes[0].get_yticklabels()}
        assert {"$\\frac{1$", "_hidden", "<b>&amp;</b>", "%s{}", "two lines", f"{'x' * 31}…"} < shown
        assert max(map(len, shown)) <= 32


def test_long_names_do_not_overlap(figures):
    """With eighteen Latin names, no label overlaps another, and none is cut off."""
    evaluation = an_evaluation(LONG)
    plots.average_precision(evaluation)
    plots.confusion_matrix(evaluation)
    plots.precision_recall(evaluation)
    for figure in figures:
        FigureCanvasAgg(figure).draw()
    bars, confusion, curves = figures
    for figure in (bars, confusion):
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert len(boxes) >= 18
        assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
        assert all(box.x0 >= 0 for box in boxes)
    titles = [axes._left_title.get_window_extent() for axes in curves.axes if axes.get_title(loc="left")]
    assert len(titles) == 17
    assert not any(one.overlaps(other) for n, one in enumerate(titles) for other in titles[:n])


def test_the_best_category_is_on_top(figures):
    """Bars are sorted by AP; a category without boxes is at the bottom and labelled."""
    evaluation = an_evaluation()
    plots.average_precision(evaluation)
    axes = figures[0].axes[0]
    scores = {c.name: s.AP for c, s in zip(evaluation.categories, evaluation.at100.categories, strict=True)}
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == sorted(scores, key=lambda name: -1 if scores[name] is None else scores[name])
    assert axes.texts[0].get_text() == "no boxes"


def test_each_category_with_boxes_has_a_panel(figures):
    """Each panel shows the curve of its own category."""
    evaluation = an_evaluation()
    plots.precision_recall(evaluation)
    panels = [axes for axes in figures[0].axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [c.name for c in evaluation.categories if c.boxes]
    assert [axes.lines[0].get_ydata().tolist() for axes in panels] == [list(c) for c in evaluation.precision if c]


def test_no_boxes_give_no_curves():
    """Without boxes there are no precision-recall curves; the other plots are still drawn."""
    evaluation = evaluate(make_coco([[]], [[]]), outputs([[1, 1, 9, 9]], [1], [0.9]))
    assert plots.precision_recall(evaluation) is None
    assert pixels(plots.average_precision(evaluation)).size
    assert pixels(plots.confusion_matrix(evaluation)).size


def test_too_many_categories_are_grouped(figures):
    """Those with the most boxes are shown; the confusion matrix loses no count."""
    names = tuple(f"kind {place}" for place in range(plots.MOST + 9))
    evaluation = an_evaluation(names)
    plots.confusion_matrix(evaluation)
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][-2:] == ["9 others", "no box there"]
    counts = {text.get_position(): int(text.get_text()) for text in axes.texts}
    matrix = np.array(evaluation.confusion.matrix)
    last = plots.MOST + 1
    assert sum(counts.values()) == matrix.sum()
    assert sum(count for (column, _), count in counts.items() if column == last) == matrix[:, -1].sum()
    assert sum(count for (_, row), count in counts.items() if row == last) == matrix[-1].sum()


def test_a_missing_value_is_a_gap(figures):
    """Where a loss or an average is None, the line has a gap instead of a zero."""
    rows = [*epochs(3), {**epochs(4)[3], "losses": None, "loss": None}]
    plots.loss(rows)
    plots.mean_average_precision(rows)
    loss, precision = map(lines, figures)
    assert np.isnan(loss["total"]).tolist() == [False, False, False, True]
    assert np.isnan(loss["box reg"]).tolist() == [False, False, False, True]
    assert np.isnan(precision["mAP75"]).all()
    assert precision["mAP"] == [0.1] * 4


def test_without_an_evaluation_there_is_no_plot():
    """If no epoch was evaluated, there is nothing to plot."""
    assert plots.mean_average_precision(epochs(3, every=9)) is None


def test_epochs_without_an_evaluation_are_skipped(figures):
    """Evaluations every other epoch are plotted at their epochs."""
    plots.mean_average_precision(epochs(5, every=2))
    assert figures[0].axes[0].get_lines()[0].get_xdata().tolist() == [2, 4]


def test_epochs_are_whole_numbers(figures):
    """The axis has no tick at 0.6 epochs."""
    plots.loss(epochs(1))
    low, high = figures[0].axes[0].get_xlim()
    ticks = [tick for tick in figures[0].axes[0].get_xticks() if low <= tick <= high]
    assert ticks == [1]


def test_the_text_of_a_plot_has_the_size_of_the_page():
    """At this width, 100 pixels are an inch of the plot."""
    assert plots.width(plots.loss(epochs(1))) == 600


def test_matplotlib_is_imported_late_and_without_pyplot():
    """Importing the plots imports no matplotlib; drawing imports no pyplot."""
    code = (
        "import sys; from trainers.report import plots, report; assert 'matplotlib' not in sys.modules; "
        "assert 'torch' not in sys.modules; plots.loss([{'epoch': 1, 'loss': 1.0}]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_large_counts_fit_their_cells(figures):
    """A count of six digits is abbreviated."""
    evaluation = an_evaluation()
    confusion = replace(evaluation.confusion, matrix=((123_456, 0), (0, 0)))
    few = replace(evaluation, categories=evaluation.categories[:1], confusion=confusion)
    plots.confusion_matrix(few)
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["123k"]
