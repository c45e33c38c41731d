"""The map of clips on the Predictions page: a point for each clip, and the clips of a region as a gallery."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import streamlit as st

from analysis.report.plots import styled
from analysis.runs.correctness import NO_LABEL
from analysis.runs.features import MAPS, MOST_TSNE, PCA, has_features, map_of_clips
from sth_core.datasets.media import counted
from workbench.components.cached import cached_features, cached_result
from workbench.components.chart import show_chart
from workbench.components.clip_columns import ANSWER, MEASURES, NAMES, clip_names, varying_measures
from workbench.components.clip_filters import FilteredClips
from workbench.components.context import choose_one, errors_shown, linked_selectbox
from workbench.components.gallery import show_gallery
from workbench.components.plot_regions import drawn_note, region_rows, sample_of
from workbench.components.plot_views import ANSWER_COLOURS

NO_FEATURES = (
    "This run has no features. To see its clips as a map, record it with `--features`: "
    "`sth record NETWORK --data DIR -o RUN --features`."
)
MOST_COLOURS = 24  # classes that a legend can tell apart
EXPLAINED = {
    PCA: "The two directions in which the features before the classifier differ most (PCA). Clips that lie far apart "
    "here differ; clips that lie together may still differ in other directions.",
    MAPS[1]: "Each clip lies near the clips with the nearest features (t-SNE). Distances between groups, and the sizes "
    "of groups, mean nothing.",
}


def show_map(filtered: FilteredClips) -> None:
    """The clips that match, as points."""
    run, table, matches = filtered.run, filtered.table, filtered.matches
    if not has_features(run):
        st.info(NO_FEATURES)
        return
    a, b = st.columns([1, 2], vertical_alignment="bottom")
    with a:
        kind = choose_one("Map", MAPS, "map", help=f"t-SNE is made of up to {MOST_TSNE:,} clips.")
    names = {ANSWER: NAMES[ANSWER], **NAMES, **{name: MEASURES[name][0] for name in varying_measures(table)}}
    title = names.__getitem__
    colour = linked_selectbox("Colour", [*names], "colour", place=b, format_func=title, default_in_url=False)
    with errors_shown():
        features = cached_features(run)
        places = cached_result("map of clips", [run], lambda: map_of_clips(features, kind), kind)
        points = table.assign(row=np.arange(len(table)))[matches]
        where = pd.DataFrame(places, features.clips["clip_id"], ["x", "y"])
        points = points.merge(where, left_on="clip_id", right_index=True)
        drawn = points.iloc[sample_of(len(points))]
        event = show_points(drawn, colour, names[colour])
        chosen = region_rows(event, *(points[name].to_numpy() for name in ("row", "x", "y")))
        count = filtered.describe(len(points), "without features") + f".{drawn_note(len(drawn), len(points))}"
        st.caption(f"{count} {EXPLAINED[kind]} **Draw around points** to see their clips.")
        if len(chosen):
            st.markdown(f"**{counted(len(chosen), 'clip')}** in the region")
            show_gallery(run, table, chosen, "map", origin=filtered.origin("a region of the map"), opened=True)


def show_points(points: pd.DataFrame, colour: str, title: str) -> Any:
    figure = plot_points(points, colour, title)
    return show_chart(figure, key="map_of_clips", alt="a point for each clip", lasso=True)


def plot_points(points: pd.DataFrame, colour: str, title: str) -> go.Figure:
    """`points` has x, y, row and the clip's columns."""
    shown = points.assign(**{name: clip_names(points, name, NO_LABEL) for name in NAMES})
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
    return figure.update_layout(dragmode="lasso")
