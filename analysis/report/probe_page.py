"""`sth probe`'s tables and page: what each probe costs, and whether alpha_T is high where the frame order matters.

RUN/probes/index.html (self-contained), probes.csv, classes.csv, agreement.csv, turned.csv
"""

import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.probe_tables import (
    KIND,
    alpha_order_agreement,
    order_dependence,
    probe_summary_sentence,
    probe_table,
    reversed_predictions,
)
from analysis.report.page import PageTable, Section, with_intervals, write_page
from analysis.report.plots import COLOURS, error_bars, horizontal_bars, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_clips_per_class
from sth_core.files import write_csv

PROBE_INTERVALS = {
    "accuracy": ("accuracy_low", "accuracy_high"), "change": ("low", "high"),
    "score_change": ("score_low", "score_high"),
}  # fmt: skip
CLASS_INTERVALS = {
    "drop": ("low", "high"), "drop_reversed": ("reversed_low", "reversed_high"),
    "alpha_temporal": ("alpha_low", "alpha_high"),
}  # fmt: skip


def write_probe_page(run: Run) -> tuple[Path, dict[str, pd.DataFrame]]:
    """Write the page and the tables beside it; returns both, the tables as probes, classes, agreement and turned."""
    out = run.path / KIND
    meta = json.loads((out / "probes.json").read_text(encoding="utf-8"))
    tables = {
        "probes": probe_table(run),
        "classes": order_dependence(run),
        "agreement": alpha_order_agreement(run),
        "turned": reversed_predictions(run),
    }
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    clips = int(tables["probes"]["n"].max())
    page = write_page(
        out / "index.html", "Does it use the frame order?", probe_sections(tables, clips, meta["shuffles"]),
        title=f"Does it use the frame order? {run.title}", about=f"{run.title}, {clips} clips.",
        command=meta["command"],
    )  # fmt: skip
    return page, tables


def probe_sections(tables: dict[str, pd.DataFrame], clips: int, shuffles: int) -> list[Section]:
    probes, classes, found, turned = tables.values()
    sample = f"n = {clips} clips; bars: 95 % intervals over source videos"
    drop = "drop of the true class's score when frames are shuffled"
    if classes["alpha_temporal"].notna().any():
        by_class = plot_alpha_and_order(classes, drop)
    else:
        by_class = horizontal_bars(classes, "label", "drop", drop)
    return [
        Section(lead=probe_summary_sentence(found)),
        Section(
            "Accuracy by probe",
            figure=horizontal_bars(probes, "probe", "accuracy", "accuracy", low="accuracy_low", high="accuracy_high"),
            caption=f"{sample}. Shuffled: mean of {shuffles} random orders. In the table, change is the accuracy less "
            "that of plain, on the same clips; p is Holm's, and not below McNemar's exact test's; score change is "
            "that of the true class; changed is the share of clips with another prediction than plain.",
            table=with_intervals(probes.drop(columns="p"), PROBE_INTERVALS), files=("probes.csv",),
        ),
        Section(
            "Order by class", figure=by_class,
            caption=f"{sample}; {describe_clips_per_class(classes['n'])}. Drop: how much the true class's score falls "
            "when frames are shuffled. Changed: the share of clips with another prediction when played backward.",
            table=with_intervals(classes, CLASS_INTERVALS), files=("classes.csv",),
        ),
        Section(
            "α_T and the need for order",
            caption="Spearman's rank correlation of α_T and the drop under shuffling, with 95 % bootstrap intervals "
            "over source videos. They show how much other clips of these classes would differ, not other classes.",
            table=with_intervals(found, {"value": ("low", "high")}), files=("agreement.csv",),
        ),
        Section(
            "Predictions for clips played backward",
            caption=f"Of {clips} clips, those with another prediction than when played forward; the most frequent "
            "pairs. Share is of the label's clips.",
            table=PageTable(turned), files=("turned.csv",),
        ),
    ]  # fmt: skip


def plot_alpha_and_order(table: pd.DataFrame, title: str) -> go.Figure:
    """alpha_T against the drop under shuffling, a point per class; names in turn on either side, to overlap less."""
    sides = table["alpha_temporal"].rank(method="first").mod(2).map({0: "top right", 1: "bottom left"})
    figure = go.Figure(
        go.Scatter(
            x=table["alpha_temporal"], y=table["drop"], text=table["label"], mode="markers+text", textposition=sides,
            error_x=error_bars(table, "alpha_temporal", "alpha_low", "alpha_high"), error_y=error_bars(table, "drop"),
            marker={"size": 9, "color": COLOURS[0]},
        )
    )  # fmt: skip
    return styled(figure, "α_T, mean over layers", title).update_layout(height=560)
