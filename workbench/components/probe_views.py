"""The probes of a run on the Experiments page: what each costs, which classes need the frame order, which clips."""

from typing import Any

import pandas as pd
import streamlit as st

from analysis.experiments import probe_tables
from analysis.experiments.changed_clips import probed_clips
from analysis.experiments.found_results import PROBE, FoundResults, reading_results
from analysis.experiments.verdicts import frame_order_sentence
from analysis.report.plots import horizontal_bars
from analysis.report.probe_page import plot_alpha_and_order
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import describe_clips_per_class, units_of_clips
from analysis.statistics.clusters import describe_p
from sth_core.datasets.media import counted
from sth_core.video.reorder import SHUFFLED
from workbench.components.chart import show_chart
from workbench.components.context import escape_markdown, linked_selectbox
from workbench.components.experiment_views import (
    MOST_ROWS,
    cached_experiment,
    chosen_point,
    interval_texts,
    show_changed_clips,
    show_class_link,
    show_experiment_table,
)

ALTERED = probe_tables.PROBES[1:]
MOST_NAMED = 60  # classes whose names stand beside their points
DROP = "drop of the true class's score when frames are shuffled"


def cached_probes(run: Run, results: FoundResults) -> dict[str, pd.DataFrame]:
    """The tables of `probe_page`. Raises UserError: they are damaged, or no clip has a label that is known."""

    def compute() -> dict[str, Any]:
        with reading_results(results.folder, PROBE):
            return {
                "probes": probe_tables.probe_table(run),
                "classes": probe_tables.order_dependence(run),
                "agreement": probe_tables.alpha_order_agreement(run),
                "turned": probe_tables.reversed_predictions(run),
                "units": units_of_clips(predictions(run)),
            }

    found: dict[str, pd.DataFrame] = cached_experiment("probe_tables", run, results.folder, compute)
    return found


def probe_verdict(run: Run, results: FoundResults) -> str:
    return frame_order_sentence(cached_probes(run, results)["probes"])


def show_probes(run: Run, results: FoundResults) -> None:
    tables = cached_probes(run, results)
    probes, units = tables["probes"], str(tables["units"])
    n = int(probes["n"].max())
    left, right = st.columns([5, 4], gap="medium")
    with left:
        st.header("Accuracy by probe")
        figure = horizontal_bars(probes, "probe", "accuracy", "accuracy", "accuracy_")
        figure.update_xaxes(range=[0, 1.02], tickformat=".0%").update_layout(height=420)
        alt = "Accuracy of each probe with 95 % intervals"
        show_chart(figure, key="probe_bars", alt=alt, on_select=open_probe, selection_mode="points")
        orders = f"Shuffled: mean of {results.meta.get('shuffles', '?')} random orders."
        st.caption(
            f"{counted(n, 'clip')} (whiskers: 95 % intervals over {units}). {orders} Click a bar to see its clips "
            "beside it."
        )
    with right:
        show_probed_clips(run, results)
    percent = {"accuracy": "accuracy, %"}
    show_experiment_table(probes, shown_probes_table(probes), "probes", percent)
    st.caption(
        "Change: the accuracy minus that of plain on the same clips; p: Holm's. Changed: the share of clips with "
        "another prediction than plain."
    )
    show_classes(run, tables["classes"], n, units)
    show_agreement(tables)


def shown_probes_table(probes: pd.DataFrame) -> pd.DataFrame:
    altered = probes["probe"] != probe_tables.PLAIN
    return pd.DataFrame(
        {
            "probe": probes["probe"], "n": probes["n"], "accuracy": (100 * probes["accuracy"]).round(1),
            "95 % interval": interval_texts(probes, "accuracy_", 100),
            "change, points": (100 * probes["change"]).round(1).where(altered),
            "95 % interval of the change": pd.Series(interval_texts(probes, "", 100, "+.1f")).where(altered, "-"),
            "p (Holm)": probes["p_holm"].map(describe_p),
            "fall of the score": (-probes["score_change"]).round(3).where(altered),
            "changed, %": (100 * probes["changed"]).round(1).where(altered),
        }
    )  # fmt: skip


def open_probe() -> None:
    """A click on a bar chooses its probe."""
    if point := chosen_point("probe_bars"):  # the first is plain, which changes nothing
        st.session_state["probe"] = probe_tables.PROBES[point]


def show_probed_clips(run: Run, results: FoundResults) -> None:
    st.header("Clips")
    probe = linked_selectbox("Probe", list(ALTERED), "probe", default=SHUFFLED, default_in_url=False, width=240)

    def compute() -> pd.DataFrame:
        with reading_results(results.folder, PROBE):
            return probed_clips(run, probe)

    clips = cached_experiment("probed_clips", run, results.folder, compute, probe)
    show_changed_clips(run, clips, probe[0].upper() + probe[1:], f"clips_{probe}")


def show_classes(run: Run, classes: pd.DataFrame, n: int, units: str) -> None:
    st.header("Order by class")
    known = classes["alpha_temporal"].notna().any()
    few = len(classes) <= MOST_NAMED
    figure = (
        plot_alpha_and_order(classes, DROP) if known else horizontal_bars(classes[:MOST_NAMED], "label", "drop", DROP)
    )
    if known and not few:
        figure.update_traces(mode="markers", hovertemplate="%{text}<extra></extra>")
    show_chart(figure, key="order_by_class", alt=f"{DROP}, by class", on_select=remember_class, selection_mode="points")
    labels = [str(label) for label in classes["label"]]
    chosen = st.session_state.get("order class")
    some = "" if known or few else f" The first {MOST_NAMED} of {len(classes)} classes."
    st.caption(
        f"{counted(n, 'clip')}, {describe_clips_per_class(classes['n'])} (whiskers: 95 % intervals over {units})."
        f"{some} Drop: how much the true class's score falls when frames are shuffled. Click a point to open its class."
    )
    if isinstance(chosen, int) and chosen < len(labels):
        show_class_link(run, labels[chosen])
    shown = pd.DataFrame(
        {
            "class": labels, "n": classes["n"], "accuracy, %": (100 * classes["accuracy"]).round(1),
            "drop": classes["drop"].round(3), "95 % interval": interval_texts(classes, "", 1, "+.3f"),
            "drop backward": classes["drop_reversed"].round(3),
            "95 % interval, backward": interval_texts(classes, "reversed_", 1, "+.3f"),
            "changed backward, %": (100 * classes["changed"]).round(1),
            "alpha_temporal": classes["alpha_temporal"].round(3),
            "95 % interval of α_T": interval_texts(classes, "alpha_", 1, ".3f"),
        }
    )  # fmt: skip
    show_experiment_table(
        classes, shown if known else shown.drop(columns=["alpha_temporal", "95 % interval of α_T"]), "classes"
    )


def remember_class() -> None:
    st.session_state["order class"] = chosen_point("order_by_class")


def show_agreement(tables: dict[str, pd.DataFrame]) -> None:
    found, turned = tables["agreement"], tables["turned"]
    if found["value"].notna().any():
        st.header("α_T and the need for order")
        st.markdown(escape_markdown(probe_tables.probe_summary_sentence(found)))
        shown = found[["layer", "over", "n"]].assign(
            correlation=found["value"].round(2), interval=interval_texts(found, "", 1, "+.2f")
        )
        show_experiment_table(found, shown.rename(columns={"interval": "95 % interval"}), "agreement", {"n": "n"})
        st.caption("Spearman's rank correlation of α_T with the drop under shuffling, over classes or over clips.")
    st.header("Predictions for clips played backward")
    if turned.empty:
        st.caption("No clip gets another prediction when it is played backward.")
        return
    shown = turned.assign(share=(100 * turned["share"]).round(1)).rename(columns={"share": "share of the label, %"})
    show_experiment_table(turned, shown.head(MOST_ROWS).astype({"label": str, "prediction": str}), "turned")
    if len(turned) > MOST_ROWS:
        st.caption(f"The table shows {MOST_ROWS:,} of {len(turned):,} pairs; the file has all.")
