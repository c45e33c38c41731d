"""`sth probe`'s tables and page: what each probe costs, and whether alpha_T is high where the order of time matters.

RUN/probes/index.html (self-contained), probes.csv, classes.csv, agreement.csv, turned.csv
"""

import html
import json
from pathlib import Path
from typing import Any

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
from analysis.report.plots import COLOURS, styled
from analysis.report.trust_page import filled, section
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_clips_per_class
from sth_core.files import write_atomically


def spread(table: pd.DataFrame, value: str, low: str, high: str) -> dict[str, Any]:
    array, minus = table[high] - table[value], table[value] - table[low]
    return {"type": "data", "array": array, "arrayminus": minus, "thickness": 1}


def bars(table: pd.DataFrame, rows: str, value: str, low: str, high: str, title: str) -> go.Figure:
    """A bar for each row of a table, the first on top, with its interval."""
    error = spread(table, value, low, high)
    bar = go.Bar(x=table[value], y=table[rows], orientation="h", error_x=error, marker_color=COLOURS[0])
    figure = styled(go.Figure(bar), title, "").update_layout(height=120 + 26 * len(table), margin_t=10)
    return figure.update_yaxes(autorange="reversed", automargin=True, type="category")


def scatter(table: pd.DataFrame, title: str) -> go.Figure:
    """alpha_T against the drop under shuffling, a point per class; names by turns on either side, to overlap less."""
    where = table["alpha_temporal"].rank(method="first").mod(2).map({0: "top right", 1: "bottom left"})
    x, y = spread(table, "alpha_temporal", "alpha_low", "alpha_high"), spread(table, "drop", "low", "high")
    figure = go.Figure(
        go.Scatter(
            x=table["alpha_temporal"], y=table["drop"], text=table["label"], mode="markers+text", error_x=x, error_y=y,
            textposition=where, marker={"size": 9, "color": COLOURS[0]},
        )
    )  # fmt: skip
    return styled(figure, "α_T, mean over layers", title).update_layout(height=560)


def shown_table(table: pd.DataFrame) -> str:
    table = table.rename(columns=lambda name: name.replace("_", " "))
    return table.to_html(index=False, border=0, float_format=lambda x: f"{x:.3g}", na_rep="")


def write_probe_page(run: Run) -> tuple[Path, dict[str, pd.DataFrame]]:
    """Write the page and the tables beside it; returns both, the tables as probes, classes, agreement and turned."""
    tables = {"probes": probe_table(run), "classes": order_dependence(run)}
    tables |= {"agreement": alpha_order_agreement(run), "turned": reversed_predictions(run)}
    out, (probes, classes, found, turned) = run.path / KIND, tables.values()
    for name, table in tables.items():
        with write_atomically(out / f"{name}.csv") as file:
            table.to_csv(file, index=False, lineterminator="\n")
    meta, n = json.loads((out / "probes.json").read_text(encoding="utf-8")), int(probes["n"].max())
    over = f"n = {n} clips; bars: 95 % over source videos"
    score, has_alpha = "drop of the true class's score when shuffled", classes["alpha_temporal"].notna().any()
    by_class = scatter(classes, score) if has_alpha else bars(classes, "label", "drop", "low", "high", score)
    body = [
        f"<p class=caption>{html.escape(run.title)}, {n} clips. <code>{html.escape(meta['command'])}</code></p>",
        f"<p>{html.escape(probe_summary_sentence(found))}</p>",
        section(
            "Accuracy by probe", bars(probes, "probe", "accuracy", "accuracy_low", "accuracy_high", "accuracy"),
            f"{over}. Shuffled: mean of {meta['shuffles']} random orders. Below: change is against plain on the same "
            "clips; p is Holm's, and not below McNemar's exact test's; score change is that of the true class; changed "
            "is the share of clips that are taken for another class.",
        ), shown_table(probes.drop(columns="p")),
        section(
            "Order by class", by_class,
            f"{over}; {describe_clips_per_class(classes['n'])}. How much the true class's score "
            "falls when the frames are shuffled. Below: changed is the share taken for another class backward.",
        ), shown_table(classes),
        f"<h2>α_T and the need for order</h2><p class=caption>Spearman's rank correlation of α_T and the drop under "
        f"shuffling; 95 % bootstrap over source videos: what other clips of these classes would say, not what other "
        f"classes would.</p>{shown_table(found)}",
        f"<h2>Played backward, taken for ...</h2><p class=caption>Of {n} clips, those whose prediction is another than "
        f"forward; share is of the label's clips.</p>{shown_table(turned)}",
    ]  # fmt: skip
    with write_atomically(out / "index.html") as file:
        file.write(filled("Does it need the order of time?", run.title, body))
    return out / "index.html", tables
