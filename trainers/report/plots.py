"""Plots of a run as PNG: the training and the scores. Names of categories are text, never markup."""

from __future__ import annotations

import io
import textwrap
import warnings
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from trainers.evaluation.scores import Evaluation

    Epochs = Sequence[Mapping[str, Any]]  # the lines of `metrics.jsonl`

MOST = 40  # categories in a plot: those with the most boxes

_INK, _MUTED, _GRID, _DARK, _LIGHT = "#1c2733", "#5d6975", "#e4e8ec", "#0b5c8a", "#a9cbe0"
# the palette of Okabe and Ito, distinguishable with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
_ZOOM = 1.6  # dots per pixel of the page, for dense screens and print
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 100 * _ZOOM,
}
_LINE = (6.0, 3.6)  # inches
_MANY_POINTS = 40
_LONGEST = 32  # characters of a name


def loss(epochs: Epochs) -> bytes:
    """Plot the loss and its parts by epoch."""
    names = dict.fromkeys(name for row in epochs for name in row.get("losses") or {})

    def draw(figure: Figure) -> None:
        axes = _epoch_axes(figure, epochs, "loss")
        _line(axes, [(row["epoch"], row.get("loss")) for row in epochs], "total", color=_INK, linewidth=2.4)
        for name, (colour, dash) in zip(names, cycle(zip(_COLOURS, cycle(_DASHES), strict=False)), strict=False):
            points = [(row["epoch"], (row.get("losses") or {}).get(name)) for row in epochs]
            _line(axes, points, name.removeprefix("loss_").replace("_", " "), color=colour, linestyle=dash)
        axes.set_ylim(bottom=0)
        _legend(figure, axes)

    return render(draw, *_LINE)


def learning_rate(epochs: Epochs) -> bytes:
    """Plot the learning rate by step, at the end of each epoch."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _line(axes, [(row["step"], row.get("learning_rate")) for row in epochs], "", color=_DARK)
        axes.set(xlabel="step", ylabel="learning rate")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-4, 4))

    return render(draw, *_LINE)


def mean_average_precision(epochs: Epochs) -> bytes | None:
    """Plot mAP, mAP50 and mAP75 by epoch; return None if there was no evaluation."""
    rows = [(row["epoch"], row["evaluation"]) for row in epochs if row.get("evaluation")]
    if not rows:
        return None

    def draw(figure: Figure) -> None:
        axes = _epoch_axes(figure, epochs, "average precision")
        for name, colour, dash in zip(("mAP50", "mAP", "mAP75"), _COLOURS, _DASHES, strict=False):
            _line(axes, [(epoch, scores.get(name)) for epoch, scores in rows], name, color=colour, linestyle=dash)
        axes.set_ylim(bottom=0)
        _legend(figure, axes)

    return render(draw, *_LINE)


def average_precision(evaluation: Evaluation) -> bytes:
    """Plot AP and AP50 of each category as bars, the best first."""
    shown = _largest(evaluation)
    scores = evaluation.at100.categories
    shown.sort(key=lambda index: _value(scores[index].AP))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))
        half = [scores[index].AP50 or 0 for index in shown]
        axes.barh(places, half, 0.72, color=_LIGHT, label="AP50")
        axes.barh(places, [scores[index].AP or 0 for index in shown], 0.36, color=_DARK, label="AP")
        for place, index in enumerate(shown):
            text = "no boxes" if scores[index].AP is None else f"{scores[index].AP:.2f} · {scores[index].AP50:.2f}"
            axes.text(half[place] + 0.01, place, text, va="center", fontsize=8.5, color=_MUTED)
        axes.set_yticks(places, [_short(evaluation.categories[index].name) for index in shown], color=_INK)
        axes.set(xlim=(0, 1.12), xticks=np.linspace(0, 1, 6), xlabel="average precision", ylim=(-0.6, len(shown) - 0.4))
        axes.grid(visible=False, axis="y")
        axes.tick_params(left=False)
        _legend(figure, axes)

    return render(draw, 9, 1.3 + 0.3 * len(shown))


def precision_recall(evaluation: Evaluation) -> bytes | None:
    """Plot precision by recall at IoU 0.5, a panel for each category with boxes; return None without any."""
    curves = [(index, curve) for index in _largest(evaluation) if (curve := evaluation.precision[index])]
    if not curves:
        return None
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for place, ((index, curve), axes) in enumerate(zip(curves, panels, strict=False)):
            axes.fill_between(evaluation.recall, curve, color=_LIGHT, alpha=0.45, linewidth=0)
            axes.plot(evaluation.recall, curve, color=_DARK)
            category = evaluation.categories[index]
            axes.set_title("\n".join(_wrapped(category.name, 24)), fontsize=9.5, loc="left", color=_INK)
            ap50 = _value(evaluation.at100.categories[index].AP50)
            facts = f"AP50 {ap50:.2f}\n{category.boxes:,} box{'es' * (category.boxes != 1)}"
            # where the curve leaves room: a low one in the upper right
            at = (0.96, 0.95, "right", "top") if ap50 < 0.4 else (0.04, 0.07, "left", "bottom")  # noqa: PLR2004
            axes.text(*at[:2], facts, ha=at[2], va=at[3], fontsize=8.5, transform=axes.transAxes, color=_INK)
            axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            axes.tick_params(labelbottom=place + columns >= len(curves))
        for axes in panels:  # unused ones
            axes.set_axis_off()
        figure.supxlabel("recall", fontsize=10, color=_MUTED)
        figure.supylabel("precision", fontsize=10, color=_MUTED)

    return render(draw, max(2.5 * columns, 4), 0.7 + 2.05 * rows)


def confusion_matrix(evaluation: Evaluation) -> bytes:
    """Plot the confusion matrix: counts, shaded by their share of the row."""
    names, matrix = _grouped(evaluation)
    side = 1.2 + 0.4 * len(names)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(np.ma.masked_equal(shares, 0), cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (row, column), share in np.ndenumerate(shares):
            if matrix[row, column]:
                colour = "white" if share > 0.55 else _INK  # noqa: PLR2004 - a darker blue needs light text
                text = _count(int(matrix[row, column]))
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        places = np.arange(len(names))
        axes.set_xticks(
            places, [*names[:-1], "not detected"], rotation=60, ha="right", rotation_mode="anchor", color=_INK
        )
        axes.set_yticks(places, [*names[:-1], "no box there"], color=_INK)
        axes.set(xlabel="detected as", ylabel="truth")
        axes.grid(visible=False)
        axes.set_xticks(places - 0.5, minor=True)
        axes.set_yticks(places - 0.5, minor=True)
        axes.grid(which="minor", linewidth=0.7)
        axes.spines[:].set_visible(False)
        axes.tick_params(which="both", length=0)
        for line in (axes.axhline, axes.axvline):
            line(len(names) - 1.5, color=_MUTED, linewidth=1)

    return render(draw, side + 2.2, side + 1.4)


def _grouped(evaluation: Evaluation) -> tuple[list[str], NDArray[np.int64]]:
    """Return names and counts of the confusion matrix; if there are too many categories, group the smallest."""
    matrix = np.array(evaluation.confusion.matrix)
    shown = _largest(evaluation)
    names = [_short(evaluation.categories[index].name) for index in shown]
    if len(shown) < len(evaluation.categories):
        names.append(f"{len(evaluation.categories) - len(shown)} others")
    places = np.full(len(matrix), len(shown))
    places[shown] = np.arange(len(shown))
    places[-1] = len(names)
    grouped = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    np.add.at(grouped, (places[:, None], places[None, :]), matrix)
    return [*names, "background"], grouped


def _largest(evaluation: Evaluation) -> list[int]:
    """Return the indices of the categories with the most boxes, in ascending order."""
    by_boxes = sorted(range(len(evaluation.categories)), key=lambda index: -evaluation.categories[index].boxes)
    return sorted(by_boxes[:MOST])


def _epoch_axes(figure: Figure, epochs: Epochs, label: str) -> Axes:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    axes.set(xlabel="epoch", ylabel=label)
    numbers = [row["epoch"] for row in epochs] or [1]
    room = max(0.5, (max(numbers) - min(numbers)) * 0.03)
    axes.set_xlim(min(numbers) - room, max(numbers) + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return axes


def _line(axes: Axes, points: Sequence[tuple[float, float | None]], label: str, **style: Any) -> None:
    """Draw a line with gaps where values are missing."""
    values = [np.nan if y is None else y for _, y in points]
    marker = "o" if len(points) <= _MANY_POINTS else ""
    axes.plot([x for x, _ in points], values, label=label, marker=marker, markersize=3.5, **style)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=9, handlelength=2.6)


def _value(score: float | None) -> float:
    return -1.0 if score is None else score


def _short(name: str) -> str:
    """Return a name on one line, shortened if it would leave no room for the plot."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1].rstrip()}…"


def _wrapped(name: str, width: int) -> list[str]:
    lines = textwrap.wrap(name, width, max_lines=2, placeholder="…")
    return lines or [""]


def _count(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"  # noqa: PLR2004 - the longest that fits a cell


def width(png: bytes) -> int:
    """Return the width of a plot on the page, pixels, at which its text has the size of the page's text."""
    return round(int.from_bytes(png[16:20]) / _ZOOM)  # where a PNG stores its width


def render(draw: Callable[[Figure], None], width: float, height: float, form: str = "png") -> bytes:
    """Render a figure of this size, inches, on white, as PNG or JPEG, without pyplot, which looks for a display."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the tables show names that the font lacks
        figure = Figure((width, height), layout="constrained")
        draw(figure)
        metadata = {"Software": None} if form == "png" else None
        figure.savefig(out, format=form, metadata=metadata)
    return out.getvalue()
