"""Replaced attention of a run on the Experiments page: what it changes by place and by class, and in which clips."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.experiments.changed_clips import replaced_clips
from analysis.experiments.found_results import INTERVENE, FoundResults, reading_results
from analysis.experiments.interventions import effects_in
from analysis.explain.alpha_replacement import EVERY_LAYER
from analysis.report.intervention_page import (
    attention_finding,
    clips_without_effects,
    intervention_tables,
    plot_replacement_effects,
    summarize_interventions,
)
from analysis.report.plots import horizontal_bars, with_subscripts
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import describe_clips_per_class, units_of_clips
from analysis.statistics.clusters import describe_interval, describe_p
from sth_core.datasets.media import counted
from workbench.components.chart import show_chart, with_clickable_cells
from workbench.components.context import linked_selectbox
from workbench.components.experiment_views import (
    cached_experiment,
    chosen_point,
    interval_texts,
    show_changed_clips,
    show_class_link,
    show_experiment_table,
    with_commands,
)

HOW = "Change of accuracy in points, on the same clips; *: p < 0.05 after Holm's correction"


def cached_interventions(run: Run, results: FoundResults) -> dict[str, Any]:
    """The tables by place and by class, and what their intervals are over. Raises UserError: they are damaged."""

    def compute() -> dict[str, Any]:
        with reading_results(results.folder, INTERVENE):
            places, classes = intervention_tables(run)
            return {"places": places, "classes": classes, "units": units_of_clips(predictions(run))}

    found: dict[str, Any] = cached_experiment("interventions", run, results.folder, compute)
    return found


def intervention_verdict(run: Run, results: FoundResults) -> str:
    places = cached_interventions(run, results)["places"]
    everywhere = places[places["place"] == EVERY_LAYER].set_index("kind")
    if not everywhere["n"].max():
        return summarize_interventions(places)
    largest = everywhere.loc[everywhere["value"].abs().idxmax()]
    interval = describe_interval(100 * largest["low"], 100 * largest["high"], "+.1f")
    return (
        f"{attention_finding(everywhere)} The largest change of accuracy, when α becomes {largest.name} everywhere: "
        f"{100 * largest['value']:+.1f} points (95 %: {interval})."
    )


def show_interventions(run: Run, results: FoundResults) -> None:
    tables = cached_interventions(run, results)
    places, classes, units = tables["places"], tables["classes"], tables["units"]
    if left_out := clips_without_effects(run):
        st.warning(with_commands(left_out))
    n = int(places["n"].max())
    everywhere = places[places["place"] == EVERY_LAYER].reset_index(drop=True)
    left, right = st.columns([5, 4], gap="medium")
    with left:
        st.header("α replaced everywhere")
        show_everywhere(everywhere, units)
        st.header("By layer, stage and everywhere")
        figure = clickable(plot_replacement_effects(places, "place"), places, "place")
        names = [with_subscripts(kind) for kind in places["kind"].unique()]
        figure.update_xaxes(tickangle=-40, ticktext=names)  # the clips beside it leave little room
        figure.update_traces(showscale=False, selector={"type": "heatmap"})
        alt = "Change of accuracy by place and kind of replacement"
        show_chart(figure, key="places", alt=alt, on_select=open_place, selection_mode="points")
        st.caption(
            f"{HOW}. n = {counted(n, 'clip')}. Point at a square for its interval over {units}; click it for its clips."
        )
    with right:
        show_replaced_clips(run, results, places)
    show_experiment_table(places, shown_effects(places, "place"), "interventions_by_place")
    if len(classes):
        st.header("By class, everywhere")
        figure = clickable(plot_replacement_effects(classes, "label"), classes, "label")
        show_chart(figure, key="replaced_by_class", alt="The same by class", on_select="rerun", selection_mode="points")
        st.caption(f"{HOW}. {describe_clips_per_class(classes['n'])}. Click a square to open its class.")
        point = chosen_point("replaced_by_class")
        if point is not None and point < len(classes):
            show_class_link(run, str(classes["label"].iloc[point]))
        show_experiment_table(classes, shown_effects(classes, "label"), "interventions_by_class")


def show_everywhere(everywhere: pd.DataFrame, units: str) -> None:
    """The change of accuracy of each kind of replacement, with its interval."""
    figure = horizontal_bars(everywhere, "kind", "value", "change of accuracy").update_xaxes(tickformat="+.0%")
    figure.update_traces(hovertemplate="%{y}: %{x:+.1%}<extra></extra>")
    alt = "Change of accuracy when α is replaced everywhere, with 95 % intervals"
    show_chart(figure, key="everywhere", alt=alt, on_select=open_kind, selection_mode="points")
    st.caption(
        f"n = {counted(int(everywhere['n'].max()), 'clip')} (whiskers: 95 % intervals over {units}). Click a bar for "
        "its clips."
    )


def clickable(figure: go.Figure, table: pd.DataFrame, rows: str) -> go.Figure:
    """The heat map with cells that can be clicked, in the order of the table."""
    said = [
        f"{100 * v:+.1f} points ({describe_interval(100 * low, 100 * high, '+.1f')}, p {describe_p(p)}, n = {n})"
        for v, low, high, p, n in table[["value", "low", "high", "p_holm", "n"]].itertuples(index=False)
    ]
    return with_clickable_cells(figure, table["kind"], table[rows], said, "%{y}, %{x}: %{customdata}")


def open_place() -> None:
    """A click on a square chooses its place and kind."""
    point, places = chosen_point("places"), st.session_state.get("places and kinds", [])
    if point is not None and point < len(places):
        st.session_state["place"], st.session_state["kind"] = places[point]


def open_kind() -> None:
    """A click on a bar chooses its kind, everywhere."""
    kinds = [kind for place, kind in st.session_state.get("places and kinds", []) if place == EVERY_LAYER]
    point = chosen_point("everywhere")
    if point is not None and point < len(kinds):
        st.session_state["place"], st.session_state["kind"] = EVERY_LAYER, kinds[point]


def show_replaced_clips(run: Run, results: FoundResults, places: pd.DataFrame) -> None:
    st.header("Clips")
    st.session_state["places and kinds"] = list(zip(places["place"], places["kind"], strict=True))
    names, kinds = list(places["place"].unique()), list(places["kind"].unique())
    with st.container(horizontal=True):
        place = linked_selectbox("Place", names, "place", default=EVERY_LAYER, default_in_url=False, width=240)
        kind = linked_selectbox("α becomes", kinds, "kind", default_in_url=False, width=280)

    def compute() -> pd.DataFrame:
        with reading_results(results.folder, INTERVENE):
            return replaced_clips(effects_in(run.path).read("effects"), place, kind)

    clips = cached_experiment("replaced_clips", run, results.folder, compute, place, kind)
    show_changed_clips(run, clips, f"{place}: {kind}", "clips_replaced")


def shown_effects(table: pd.DataFrame, rows: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            rows: table[rows].astype(str), "α becomes": table["kind"], "n": table["n"],
            "change, points": (100 * table["value"]).round(1), "95 % interval": interval_texts(table, "", 100, "+.1f"),
            "p (Holm)": table["p_holm"].map(describe_p), "verdict": table["verdict"],
            "change of the score": table["score_label"].round(3),
            "95 % interval of the score": interval_texts(table, "score_label_", 1, "+.3f"),
            "other predictions": table["n_changed"],
        }
    )  # fmt: skip
