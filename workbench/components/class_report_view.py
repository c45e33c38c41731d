"""Precision, recall and F1 of each class on the Predictions page."""

import math
from typing import Any

import pandas as pd
import streamlit as st

from analysis.runs.caveats import known_scores
from analysis.runs.correctness import counted_clips
from analysis.runs.run_directory import predictions
from analysis.statistics.accuracy import class_mean_interval, group_numbers, units_of_clips
from analysis.statistics.class_report import averages, class_report, two_class_auc
from analysis.statistics.clusters import describe_interval
from sth_core.datasets.media import counted
from sth_core.files import csv_text
from workbench.components.clip_filters import UNCOUNTED, FilteredClips
from workbench.components.context import escape_markdown

SHARES = ("precision", "recall", "f1")
TITLES = {"precision": "precision", "recall": "recall", "f1": "F1"}
HELP = {
    "precision": "Of the clips with this prediction, the share that are of the class.",
    "recall": "Of the clips of the class, the share with this prediction.",
    "f1": "The harmonic mean of precision and recall.",
}


def show_class_report(filtered: FilteredClips) -> None:
    """The table of `class_report`, its averages and its file; a chosen row opens the class's misclassified clips."""
    run, clips = filtered.run, filtered.clips
    classes = run.meta["classes"]
    report = filtered.cached("class_report", lambda: class_report(clips, classes))
    n = int(report["support"].sum())
    count = filtered.describe(n, UNCOUNTED)
    if not n:
        st.info(f"{count}: there is nothing to report.")
        return
    st.caption(
        f"{count}. Intervals: 95 %, over {units_of_clips(clips)}. **How to read this:** a class with a low precision "
        "is predicted too often, one with a low recall too rarely; the lowest F1 comes first. Tick a row to open its "
        "misclassified clips."
    )
    ordered = report.sort_values("f1", kind="stable", ignore_index=True)
    selected = st.dataframe(
        shown_report(ordered), hide_index=True, placeholder="-", key="class_report", on_select="rerun",
        selection_mode="single-row", column_config=columns(), alt="Precision, recall and F1 of each class",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button("CSV", csv_text(report), f"{run.name}_classes.csv", "text/csv", key="report_csv")
        rows = selected["selection"]["rows"]
        if rows and rows[0] < len(ordered):
            show_mistakes_of(ordered.iloc[rows[0]])
    same_classes = not ((report["support"] == 0) & (report["predicted"] > 0)).any()
    for mean in averages(report).itertuples():
        macro = mean.average == "macro"
        over = "each class counts alike" if macro else "each class counts by its clips"
        interval = recall_interval(filtered) if macro and same_classes else ""
        st.markdown(
            f"**{str(mean.average).capitalize()}** ({over}): precision {mean.precision:.1%}, recall "
            f"{mean.recall:.1%}{interval}, F1 {mean.f1:.1%}"
        )
    show_auc(filtered)


def shown_report(report: pd.DataFrame) -> pd.DataFrame:
    shown = report[["label", "support", "predicted"]].copy()
    for name in SHARES:
        shown[name] = (100 * report[name]).round(1)
        ends = zip(100 * report[f"{name}_low"], 100 * report[f"{name}_high"], strict=True)
        shown[f"{name} interval"] = [f"{low:.0f} to {high:.0f}" if low == low else "-" for low, high in ends]
    for name, number in (("missed_as", "missed"), ("taken_from", "taken")):
        said = zip(report[name], report[number], strict=True)
        shown[name] = [f"{label} ({count})" if count else "" for label, count in said]
    return shown


def columns() -> dict[str, Any]:
    column = st.column_config
    config: dict[str, Any] = {
        "label": "class",
        "support": column.NumberColumn("clips", help="Of this class: its support."),
        "predicted": column.NumberColumn("predicted", help="Clips with this prediction."),
        "missed_as": column.TextColumn("most often missed as", help="The most frequent wrong prediction of its clips."),
        "taken_from": column.TextColumn("most often said of", help="The most frequent label of such mistakes."),
    }
    for name in SHARES:
        config[name] = column.NumberColumn(f"{TITLES[name]}, %", format="%.1f", help=HELP[name])
        config[f"{name} interval"] = column.TextColumn(f"{TITLES[name]}, 95 %")
    return config


def show_mistakes_of(row: pd.Series) -> None:
    """Buttons that show the clips which a class loses, and those that are taken for it."""
    label, shown = str(row["label"]), escape_markdown(str(row["label"]))
    lost, gained = int(row["support"] - row["correct"]), int(row["predicted"] - row["correct"])
    for key, count, words in (("label", lost, f"of {shown}, missed"), ("said", gained, f"wrongly predicted {shown}")):
        if count:
            st.button(
                f"{counted(count, 'clip')} {words}", key=f"report {key}", icon=":material/search:",
                on_click=show_misclassified_of, args=(key, label),
            )  # fmt: skip


def show_misclassified_of(key: str, label: str) -> None:
    """Open the view of misclassified clips with this class as the filter `key` of the page; the others stay."""
    st.session_state.update({key: label, "view": "Misclassified"})


def recall_interval(filtered: FilteredClips) -> str:
    """The interval of the mean class accuracy, which the macro recall is where all classes have clips."""
    clips, classes = filtered.clips, filtered.run.meta["classes"]

    def compute() -> tuple[float, float, float]:
        counting = counted_clips(clips)
        numbers = counting["label"].astype(str).map({name: i for i, name in enumerate(classes)}).to_numpy(int)
        return class_mean_interval(counting["correct"].to_numpy(bool), numbers, group_numbers(counting))

    _, low, high = filtered.cached("class_mean_interval", compute)
    return f" (95 %: {describe_interval(low, high, '.1%')})"


def show_auc(filtered: FilteredClips) -> None:
    run, classes = filtered.run, filtered.run.meta["classes"]
    if len(classes) != 2:
        return
    if known_scores(run.meta) < 2:
        st.caption("No AUC: it needs the scores of both classes, and the imported predictions do not have them.")
        return
    names = set(filtered.clips["clip_id"])

    def compute() -> float:
        table = predictions(run)
        return two_class_auc(table[table["clip_id"].isin(names)], classes) if "scores" in table else math.nan

    auc = filtered.cached("auc", compute)
    said = "not known: only one of the two classes has clips with scores" if math.isnan(auc) else f"{auc:.3f}"
    st.markdown(
        f"**AUC** of {escape_markdown(classes[1])} against {escape_markdown(classes[0])}: {said} (without an interval)."
    )
