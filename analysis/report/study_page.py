"""A study as one page: accuracy over seeds, training curves, confusion matrices; its numbers beside it as CSV.

OUT/index.html, OUT/results.csv (a row per run), OUT/curves.csv (a row per cell and epoch), and, where there is a
    Chromium, each figure as PNG
"""

import html
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from analysis.report.image_export import write_pictures
from analysis.report.plots import COLOURS, on_paper
from analysis.runs.run_directory import find_runs, open_run, predictions
from analysis.statistics.results import METRICS, run_results
from sth_core.files import temporary_beside, write_atomically
from sth_core.study import slug

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem }}
table {{ border-collapse: collapse; font-size: 14px }}
td, th {{ text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid #ddd }}
.paper {{ color: #777; padding-left: 30px; border-left: 2px solid #999 }}
p.how {{ color: #555; font-size: 13px }}
</style><h1>{title}</h1>{body}</html>"""


def write_study_page(out: Path) -> Path:
    """Write OUT/index.html and its numbers from what `sth study` left in `out`."""
    study = json.loads((out / "study.json").read_text(encoding="utf-8"))
    results = run_results(find_runs(out / "runs"))
    cells = pd.DataFrame([{"run": cell["name"], "seed": cell["seed"], **cell["values"]} for cell in study["cells"]])
    axes = [column for column in cells.columns if column not in ("run", "seed")]
    results = cells.merge(results.drop(columns="seed"), on="run", suffixes=("", " of the run"))
    curves = cells.merge(read_curves(out, list(cells["run"])), on="run", suffixes=("", " of the run"))
    for name, table in (("results", results), ("curves", curves)):
        with write_atomically(out / f"{name}.csv") as file:
            table.to_csv(file, index=False, lineterminator="\n")
    parts: list[str] = []
    figures: dict[str, go.Figure] = {}
    for question, some in results.groupby(axes[0], sort=False):
        drawn = {
            f"{slug(str(question))}-curves": curves_figure(curves[curves[axes[0]] == question], axes[1:]),
            f"{slug(str(question))}-confusion": confusion_figure(out, some, axes[1:]),
        }
        parts += [f"<h2>{html.escape(str(question))}</h2>", accuracy_table(some, axes[1:], study.get("paper", {}))]
        drawn = {name: on_paper(figure) for name, figure in drawn.items()}
        parts += [f.to_html(full_html=False, include_plotlyjs=False, div_id=name) for name, f in drawn.items()]
        figures |= drawn
    parts.append(
        f'<p class="how">Recipe: {html.escape(Path(study["recipe"]).name)}. Numbers: results.csv, curves.csv.</p>'
    )
    page = out / "index.html"
    script = f"<script>{get_plotlyjs()}</script>"
    with temporary_beside(page) as temporary:
        temporary.write_text(PAGE.format(title="Study", body=script + "".join(parts)), encoding="utf-8")
    write_pictures(figures, out, ("png",))
    return page


def read_curves(out: Path, names: list[str]) -> pd.DataFrame:
    """The metrics.csv of each cell: run, epoch, loss, accuracy, val_accuracy, ..."""
    tables = [pd.read_csv(out / "networks" / name / "metrics.csv").assign(run=name) for name in names]
    return pd.concat(tables, ignore_index=True)


def named(table: pd.DataFrame, axes: list[str]) -> dict[str, pd.DataFrame]:
    """The rows of each combination of the other axes, by its name."""
    if not axes:
        return {"": table}
    values = product(*(table[axis].unique() for axis in axes))
    chosen = {" / ".join(v): table[(table[axes] == list(v)).all(axis=1)] for v in values}
    return {name: rows for name, rows in chosen.items() if len(rows)}


def accuracy_table(results: pd.DataFrame, axes: list[str], paper: dict[str, Any]) -> str:
    """Mean, standard deviation and range over the seeds, in percent; in a last column what the paper reports."""
    known = {name: title for name, title in METRICS.items() if name != "top5" and results[name].notna().any()}
    head = "".join(f"<th>{title}, %</th>" for title in known.values())
    rows = []
    for name, runs in named(results, axes).items():
        values = "".join(
            f"<td>{runs[m].mean():.1f} ± {runs[m].std(ddof=1) if len(runs) > 1 else 0:.1f} "
            f"({runs[m].min():.1f} to {runs[m].max():.1f})</td>"
            for m in known
        )
        ours = f"<td>{html.escape(name)}</td>{values}<td>{len(runs)}</td><td>{runs['n'].min()}</td>"
        theirs = paper.get("top1", {}).get(name.split(" / ")[-1], "")
        rows.append(f"<tr>{ours}{f'<td class=paper>{theirs}</td>' if paper else ''}</tr>")
    theirs = f"<th class=paper>{html.escape(paper['of'])}</th>" if paper else ""
    return f"<table><tr><th></th>{head}<th>seeds</th><th>held-out clips</th>{theirs}</tr>{''.join(rows)}</table>"


def curves_figure(curves: pd.DataFrame, axes: list[str]) -> go.Figure:
    """Loss, and accuracy on the held-out clips, by epoch: the mean over seeds, a band from the least to the most."""
    figure = make_subplots(1, 2, subplot_titles=("training loss", "accuracy on held-out clips"))
    for (name, rows), colour in zip(named(curves, axes).items(), COLOURS, strict=False):
        for column, metric in enumerate(("loss", "val_accuracy"), start=1):
            of_epoch = rows.dropna(subset=[metric]).groupby("epoch")[metric].agg(["mean", "min", "max"])
            x = list(of_epoch.index)
            figure.add_scatter(
                x=[*x, *x[::-1]], y=[*of_epoch["max"], *of_epoch["min"][::-1]], fill="toself", mode="lines",
                line_width=0, fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False, row=1, col=column,
            )  # fmt: skip
            figure.add_scatter(
                x=x, y=of_epoch["mean"], name=name, line_color=colour, mode="lines", legendgroup=name,
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", row=1, col=2)
    return figure.update_layout(height=360, margin={"t": 50, "b": 50}, legend_title="mean over seeds")


def confusion_figure(out: Path, results: pd.DataFrame, axes: list[str]) -> go.Figure:
    """Label against prediction, the clips of all seeds together."""
    groups = named(results, axes)
    tables = {
        name: pd.concat([predictions(open_run(out / "runs" / run)) for run in rows["run"]])
        for name, rows in groups.items()
    }
    classes = sorted(set().union(*(set(table["label"]) for table in tables.values())))
    figure = make_subplots(1, len(tables), subplot_titles=list(tables), shared_yaxes=True, horizontal_spacing=0.02)
    for column, table in enumerate(tables.values(), start=1):
        counts = pd.crosstab(table["label"], table["prediction"]).reindex(index=classes, columns=classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1), axis=0).to_numpy()
        figure.add_heatmap(
            x=classes, y=classes, z=shares, zmin=0, zmax=1, colorscale="Blues", showscale=False,
            text=np.where(counts > 0, counts, ""), texttemplate="%{text}", row=1, col=column,
            hovertemplate="%{y} said to be %{x}: %{z:.0%} of its clips<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_yaxes(title="label", row=1, col=1)
    figure.update_xaxes(title="prediction", tickangle=60)
    return figure.update_layout(height=240 + 24 * len(classes), margin={"t": 40, "b": 110})
