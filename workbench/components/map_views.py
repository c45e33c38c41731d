"""The map of clips on the Predictions page: a point for each clip, and the clips of a region as a gallery."""

import streamlit as st

from analysis.report.clip_columns import ANSWER, MEASURES, NAMES, varying_measures
from analysis.report.clip_maps import EXPLAINED, draw_map
from analysis.report.clip_plots import MOST_POINTS
from analysis.runs.features import MAPS, MOST_TSNE, NO_FEATURES, has_features, map_of_clips
from sth_core.datasets.media import counted
from workbench.components.cached import cached_features, cached_result
from workbench.components.chart import show_chart
from workbench.components.clip_filters import FilteredClips
from workbench.components.context import choose_one, errors_shown, linked_selectbox
from workbench.components.gallery import show_gallery
from workbench.components.plot_regions import region_rows
from workbench.components.plot_views import EVERY, HOW_TO_CHOOSE


def show_map(filtered: FilteredClips) -> None:
    """The clips that match, as points."""
    run, table = filtered.run, filtered.table
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
        found = draw_map(table, filtered.matches, features, places, colour, names[colour])
        found.figure.update_layout(dragmode="lasso")
        event = show_chart(found.figure, key="map_of_clips", alt="a point for each clip", lasso=True)
        chosen = region_rows(event, *(found.points[name].to_numpy() for name in ("row", "x", "y")))
        note = found.note + EVERY * (len(found.points) > MOST_POINTS)
        count = filtered.describe(len(found.points), "without features")
        st.caption(f"{count}.{note} {EXPLAINED[kind]} {HOW_TO_CHOOSE['points']}")
        if len(chosen):
            st.markdown(f"**{counted(len(chosen), 'clip')}** in the region")
            show_gallery(run, table, chosen, "map", origin=filtered.origin("a region of the map"), opened=True)
