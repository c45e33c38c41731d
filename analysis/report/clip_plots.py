"""Plots of any columns of a run's clips: a histogram, a scatter plot, or boxes by class."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.report.clip_columns import ANSWER, ANSWERS, NAMES, clip_names
from analysis.report.colours import CORRECT, MISCLASSIFIED, PLAIN, REFERENCE
from analysis.report.plots import styled
from analysis.report.scales import scale_of

CLIPS = "clips"  # on the vertical axis: a histogram
BINS = 40
MOST_CLASSES = 40
SPREAD = 0.2  # of the points of a class, to both sides
ANSWER_COLOURS = {"correct": CORRECT, "misclassified": MISCLASSIFIED, "unknown label": REFERENCE}
# WebGL would draw more, but Plotly's needs `eval`, which the app's content security policy forbids.
MOST_POINTS = 5000
Rows = NDArray[np.intp]
Numbers = Callable[[str], NDArray[np.float64]]  # of a column of `number_columns`, for all clips


@dataclass(frozen=True)
class ClipPlot:
    """A plot of clips: their `rows`, and the place (x, y) of each. In a histogram x is the number of its bar, and y is
    empty. `why` says why other clips are not in it, `note` what else is to be said."""

    figure: go.Figure
    rows: Rows
    x: NDArray[Any]
    y: NDArray[np.float64]
    why: str
    alt: str
    note: str = ""


def plot_clips(
    table: pd.DataFrame, rows: Rows, x: str, y: str, titles: Mapping[str, str], numbers: Numbers
) -> ClipPlot:  # fmt: skip
    """These rows of an overview, by the columns x (of `number_columns` or `NAMES`) and y (of `number_columns`, or
    CLIPS), which `titles` names."""
    if y == CLIPS:
        return plot_histogram(table, rows, x, titles, numbers)
    return (plot_boxes if x in NAMES else plot_scatter)(table, rows, x, y, titles, numbers)


def sample_of(count: int) -> Rows:
    """Which of so many clips are drawn: all, or a sample that is always the same."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))


def drawn_note(drawn: int, count: int) -> str:
    return f" {drawn:,} of them are drawn, by chance." if drawn < count else ""


def add_points(
    figure: go.Figure, table: pd.DataFrame, rows: Rows, x: NDArray[np.float64], y: NDArray[np.float64], numbers: str,
    names: NDArray[Any] | None = None,
) -> str:  # fmt: skip
    """Draw these rows of the clips, or a sample of them, as points in the colours of correct and misclassified ones;
    returns what is to be said of the sample. Custom data: the row, the clip's name, then its `names`; `numbers` is what
    stands below the name under the pointer."""
    drawn, count = sample_of(len(rows)), len(rows)
    rows, x, y = rows[drawn], x[drawn], y[drawn]
    data = np.column_stack([rows.astype(object), table["clip_id"].iloc[rows]])
    if names is not None:
        data = np.column_stack([data, names[drawn]])
    answers = clip_names(table.iloc[rows], ANSWER).to_numpy()
    for answer in ANSWERS.values():
        some = answers == answer
        if some.any():
            figure.add_scatter(
                x=x[some], y=y[some], mode="markers", name=answer,
                marker={"color": ANSWER_COLOURS[answer], "size": 7, "opacity": 0.7}, customdata=data[some],
                hovertemplate=f"%{{customdata[1]}}<br>{numbers}<extra></extra>",
            )  # fmt: skip
    return drawn_note(len(drawn), count)


def plot_histogram(table: pd.DataFrame, rows: Rows, x: str, titles: Mapping[str, str], numbers: Numbers) -> ClipPlot:
    """Bars of clips by a number, or by a name. Custom data of a bar: its number, the answer, its range in words."""
    axis: NDArray[Any]
    note = ""
    if x in NAMES:
        of_row = clip_names(table.iloc[rows], x)
        names = of_row.value_counts().index
        kept = names[:MOST_CLASSES]
        number, axis = kept.get_indexer(of_row), np.array([str(name) for name in kept], object)
        said, why = list(axis), "of other names"
        note = f" The {MOST_CLASSES} most frequent, of {len(names):,}." if len(names) > len(kept) else ""
    else:
        values = numbers(x)
        scale = scale_of(values)  # of all clips, so that bars stay where they are when filters change
        finite = np.isfinite(values[rows])
        only = values[np.isfinite(values)][:1]  # without a scale all finite values are this one
        edges = np.linspace(scale.low, scale.high, BINS + 1) if scale else np.array([*(only - 0.5), *(only + 0.5)])
        axis = (edges[:-1] + edges[1:]) / 2
        number = np.where(finite, np.clip(np.searchsorted(edges, values[rows], "right") - 1, 0, len(axis) - 1), -1)
        said, why = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)], "without this number"
    rows, number = rows[number >= 0], number[number >= 0]
    figure, answers = go.Figure(), clip_names(table.iloc[rows], ANSWER).to_numpy()
    for answer in ANSWERS.values():
        counts = np.bincount(number[answers == answer], minlength=len(axis))
        if counts.any():
            figure.add_bar(
                x=axis, y=counts, name=answer, marker_color=ANSWER_COLOURS[answer],
                customdata=[[i, answer, words] for i, words in enumerate(said)],
                hovertemplate="%{customdata[2]}: %{y} %{customdata[1]}<extra></extra>",
            )  # fmt: skip
    styled(figure, titles[x], "clips", height=400).update_layout(barmode="stack", bargap=0.05)
    if x in NAMES:
        figure.update_xaxes(type="category")
    return ClipPlot(figure, rows, number, np.empty(0), why, f"Number of clips by {titles[x]}", note)


def plot_scatter(
    table: pd.DataFrame, rows: Rows, x: str, y: str, titles: Mapping[str, str], numbers: Numbers
) -> ClipPlot:  # fmt: skip
    """A point for each clip, by two numbers."""
    across, up = (numbers(column)[rows] for column in (x, y))
    finite = np.isfinite(across) & np.isfinite(up)
    rows, across, up = rows[finite], across[finite], up[finite]
    figure = go.Figure()
    note = add_points(figure, table, rows, across, up, "%{x:.3f}, %{y:.3f}")
    r = np.corrcoef(across, up)[0, 1] if len(rows) > 2 and np.ptp(across) and np.ptp(up) else np.nan
    note += f" Pearson's r = {r:+.2f}." if np.isfinite(r) else ""
    styled(figure, titles[x], titles[y], height=440)
    alt = f"{titles[y]} by {titles[x]} of each clip"
    return ClipPlot(figure, rows, across, up, "without one of the numbers", alt, note)


def plot_boxes(
    table: pd.DataFrame, rows: Rows, x: str, y: str, titles: Mapping[str, str], numbers: Numbers
) -> ClipPlot:  # fmt: skip
    """A box and its points for each class, highest median first."""
    up, name = numbers(y)[rows], clip_names(table.iloc[rows], x).to_numpy()
    finite = np.isfinite(up)
    medians = pd.Series(up[finite]).groupby(name[finite]).median().sort_values(ascending=False, kind="stable")
    kept = medians.index[:MOST_CLASSES]
    some = finite & np.isin(name, kept)
    rows, up, name = rows[some], up[some], name[some]
    place = kept.get_indexer(name) + np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(rows))
    figure = go.Figure()
    quartiles = pd.Series(up).groupby(name).quantile([0.25, 0.5, 0.75]).unstack().loc[kept]
    figure.add_box(
        x=np.arange(len(kept)), q1=quartiles[0.25], median=quartiles[0.5], q3=quartiles[0.75], marker_color=PLAIN,
        width=0.6, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    drawn = add_points(figure, table, rows, place, up, "%{customdata[2]}: %{y:.3f}", name)
    shown = [html.escape(str(k)) for k in kept]
    styled(figure, titles[x], titles[y], height=440)
    figure.update_xaxes(
        tickvals=np.arange(len(kept)), ticktext=shown, range=[-0.6, len(kept) - 0.4], automargin=True,
        ticklabeloverflow="allow",  # else the last name is left out
    )  # fmt: skip
    note = f" The {MOST_CLASSES} with the highest medians, of {len(medians):,}." if len(medians) > len(kept) else ""
    note += f"{drawn} Boxes: median and quartiles; points of a class lie side by side at random."
    why, alt = "without the number, or of other names", f"{titles[y]} of each {titles[x]}"
    return ClipPlot(figure, rows, place, up, why, alt, note)
