"""RUN/probes/index.html: what each probe costs (probes.csv, turned.csv), and whether alpha_T is high where the frame
order matters (classes.csv, agreement.csv)."""

import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from analysis.experiments import probe_tables
from analysis.report.colours import PLAIN
from analysis.report.page import PageTable, Section, with_intervals, write_page
from analysis.report.plots import error_bars, horizontal_bars, styled
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import describe_clips_per_class

MOST_TURNED = 12  # pairs of label and prediction that the page lists

HEADING = "Does it use the frame order?"


def write_probe_page(run: Run) -> tuple[Path, dict[str, pd.DataFrame]]:
    """Write the page and the tables beside it; returns both, the tables as probes, classes, agreement and turned."""
    out = run.path / probe_tables.KIND
    meta = json.loads((out / "probes.json").read_text(encoding="utf-8"))
    tables = probe_page_tables(run)
    clips = tables["probes"]["n"].max()
    about = " ".join([f"{run.title}, {clips} clips.", *accuracy_caveats(run.meta, predictions(run))])
    page = write_page(
        out / "index.html", HEADING, probe_sections(tables, clips, meta["shuffles"]),
        title=f"{HEADING} {run.title}", about=about, command=meta["command"],
    )  # fmt: skip
    return page, tables


def probe_page_tables(run: Run) -> dict[str, pd.DataFrame]:
    """The tables of the page, by name."""
    return {
        "probes": probe_tables.probe_table(run),
        "classes": probe_tables.order_dependence(run),
        "agreement": probe_tables.alpha_order_agreement(run),
        "turned": probe_tables.reversed_predictions(run),
    }


def probe_sections(tables: dict[str, pd.DataFrame], clips: int, shuffles: int) -> list[Section]:
    probes, classes, found, turned = tables.values()
    sample = f"n = {clips} clips; bars: 95 % intervals over source videos"
    drop = "drop of the true class's score when frames are shuffled"
    known = classes["alpha_temporal"].notna().any()
    by_class = plot_alpha_and_order(classes, drop) if known else horizontal_bars(classes, "label", "drop", drop)
    probe_intervals = {"accuracy": "accuracy_", "change": "", "score_change": "score_"}
    class_intervals = {"drop": "", "drop_reversed": "reversed_", "alpha_temporal": "alpha_"}
    return [
        Section(lead=probe_tables.probe_summary_sentence(found)),
        Section(
            "Accuracy by probe", figure=horizontal_bars(probes, "probe", "accuracy", "accuracy", "accuracy_"),
            caption=f"{sample}. Shuffled: mean of {shuffles} random orders. In the table, change is the accuracy less "
            "that of plain, on the same clips; p is Holm's; score change is "
            "that of the true class; changed is the share of clips with another prediction than plain.",
            table=with_intervals(probes.drop(columns="p"), probe_intervals), data={"probes": probes},
        ),
        Section(
            "Order by class", figure=by_class,
            caption=f"{sample}; {describe_clips_per_class(classes['n'])}. Drop: how much the true class's score falls "
            "when frames are shuffled. Changed: the share of clips with another prediction when played backward.",
            table=with_intervals(classes, class_intervals), data={"classes": classes},
        ),
        Section(
            "α_T and the need for order",
            caption="Spearman's rank correlation of α_T and the drop under shuffling, with 95 % intervals "
            "over classes (which are taken for a sample of all classes) or over source videos.",
            table=with_intervals(found, {"value": ""}), data={"agreement": found},
        ),
        Section(
            "Predictions for clips played backward", table=PageTable(turned.head(MOST_TURNED)), data={"turned": turned},
            caption=f"Of {clips} clips, those with another prediction than when played forward. Share is of the "
            "label's clips."
            + f" The {MOST_TURNED} most frequent pairs of {len(turned):,}." * (len(turned) > MOST_TURNED),
        ),
    ]  # fmt: skip


def plot_alpha_and_order(table: pd.DataFrame, title: str) -> go.Figure:
    """alpha_T against the drop under shuffling, a point per class; names in turn on either side, to overlap less."""
    sides = table["alpha_temporal"].rank(method="first").mod(2).map({0: "top right", 1: "bottom left"})
    points = go.Scatter(
        x=table["alpha_temporal"], y=table["drop"], text=table["label"], mode="markers+text", textposition=sides,
        error_x=error_bars(table, "alpha_temporal", "alpha_"), error_y=error_bars(table, "drop"),
        marker={"size": 9, "color": PLAIN},
    )  # fmt: skip
    return styled(go.Figure(points), "α_T, mean over layers", title, height=560)
