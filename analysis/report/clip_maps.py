"""A map of a run's clips by the features before the classifier: a point for each clip."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from analysis.report.clip_columns import ANSWER, NAMES, clip_names
from analysis.report.clip_plots import ANSWER_COLOURS, drawn_note, sample_of
from analysis.report.plots import styled
from analysis.runs.features import PCA, TSNE, Features

MOST_COLOURS = 24  # classes that a legend can tell apart
EXPLAINED = {
    PCA: "The two directions in which the features before the classifier differ most (PCA). Clips that lie far apart "
    "here differ; clips that lie together may still differ in other directions.",
    TSNE: "Each clip lies near the clips with the nearest features (t-SNE). Distances between groups, and the sizes "
    "of groups, mean nothing.",
}


@dataclass(frozen=True)
class ClipMap:
    """`points`: the clips that have features, with x, y and row; `note` says of a map of many that it has a sample."""

    figure: go.Figure
    points: pd.DataFrame
    note: str


def draw_map(
    table: pd.DataFrame, chosen: np.ndarray, features: Features, places: np.ndarray, colour: str, title: str
) -> ClipMap:  # fmt: skip
    """The chosen clips (a mask) of an overview at the `map_of_clips` of its features, coloured by a column."""
    points = table.assign(row=np.arange(len(table)))[chosen]
    where = pd.DataFrame(places, features.clips["clip_id"], ["x", "y"])
    points = points.merge(where, left_on="clip_id", right_index=True)
    drawn = points.iloc[sample_of(len(points))]
    return ClipMap(plot_points(drawn, colour, title), points, drawn_note(len(drawn), len(points)))


def plot_points(points: pd.DataFrame, colour: str, title: str) -> go.Figure:
    """`points` has x, y, row and the clip's columns."""
    shown = points.assign(**{name: clip_names(points, name) for name in NAMES})
    few = shown[colour].nunique() <= MOST_COLOURS if colour in NAMES else True
    if not few:  # of hundreds of classes colours tell nothing: one colour, the name under the pointer
        title = ""
    figure = px.scatter(
        shown, x="x", y="y", color=colour if few else None, custom_data=["row", "clip_id", "label", "prediction"],
        color_discrete_map=ANSWER_COLOURS if colour == ANSWER else None, labels={colour: title},
        color_discrete_sequence=px.colors.qualitative.Dark24, color_continuous_scale="Viridis",
        render_mode="svg",
    )  # fmt: skip
    hover = "%{customdata[1]}<br>label: %{customdata[2]}<br>predicted: %{customdata[3]}<extra></extra>"
    figure.update_traces(hovertemplate=hover, marker={"size": 8, "opacity": 0.75})
    styled(figure, "", "", height=520)
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False}  # the axes have no unit
    figure.update_xaxes(bare).update_yaxes(bare)
    return figure
