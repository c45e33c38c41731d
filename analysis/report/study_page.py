"""A study's OUT/index.html: accuracy over seeds (results.csv, a row per run), training curves (curves.csv, a row per
cell and epoch), confusion matrices; and, where there is a Chromium, each figure as PNG."""

import html
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.report.colours import OTHERS
from analysis.report.image_export import write_pictures
from analysis.report.page import PageTable, Section, write_page
from analysis.report.plots import add_line, on_paper
from analysis.runs.correctness import counted_clips
from analysis.runs.left_out import some_names, split_usable
from analysis.runs.run_directory import find_runs, open_run, predictions
from analysis.statistics.results import METRICS, run_results, with_left_out
from sth_core.errors import UserError
from sth_core.study import slug
from sth_core.training_state import METRICS as EPOCH_COLUMNS
from sth_core.training_state import read_metrics


def write_study_page(out: Path) -> Path:
    """Write OUT/index.html and its numbers from what `sth study` left in `out`."""
    study = json.loads((out / "study.json").read_text(encoding="utf-8"))
    cells = pd.DataFrame([{"run": cell["name"], "seed": cell["seed"], **cell["values"]} for cell in study["cells"]])
    question, *axes = cells.columns.drop(["run", "seed"])
    epochs, without_curve = [], {}
    for run in cells["run"]:
        try:
            epochs.append(read_metrics(out / "networks" / run / "metrics.csv").assign(run=run))
        except UserError as error:
            without_curve[run] = str(error)
    usable, unusable = split_usable(find_runs(out / "runs"))
    left_out = {Path(path).name: reason for path, reason in unusable.items()}
    left_out |= dict.fromkeys(set(cells["run"]) - {run.name for run in usable} - left_out.keys(), "it is not recorded")
    left_out |= {run.name: "it is no cell of the study" for run in usable if run.name not in set(cells["run"])}
    results, suffixes = run_results(usable).drop(columns="seed"), ("", " of the run")
    results = cells.merge(results, on="run", suffixes=suffixes)
    none = cells[:0].reindex(columns=[*cells.columns, *EPOCH_COLUMNS])
    curves = cells.merge(pd.concat(epochs), on="run", suffixes=suffixes) if epochs else none
    sections: list[Section] = []
    for value, runs in results.groupby(question, sort=False):
        name = slug(str(value))
        sections += [
            Section(str(value), table=accuracy_table(runs, axes, study.get("paper", {}))),
            Section(name=f"{name}-curves", figure=plot_study_curves(curves[curves[question] == value], axes)),
            Section(
                name=f"{name}-confusion", figure=plot_confusion(out, runs, axes),
                caption="Predictions by label, the clips of all seeds together. Colours: share of the label's clips.",
            ),
        ]  # fmt: skip
    figures = {str(section.name): on_paper(section.figure) for section in sections if section.figure}
    sections.append(Section("Numbers", data={"results": with_left_out(results, left_out), "curves": curves}))
    notes = results[results["note"] != ""].groupby("note", sort=False)["run"]
    said = [note if len(of) == len(results) else f"{some_names(of.tolist())}: {note}" for note, of in notes]
    said += [f"{name} is left out: {reason}." for name, reason in left_out.items()]
    said += [f"{name} has no curve: {reason}." for name, reason in without_curve.items()]
    about = " ".join([f"Recipe: {Path(study['recipe']).name}.", *said])
    page = write_page(out / "index.html", "Study", sections, about=about)
    write_pictures(figures, out, ("png",))
    return page


def by_combination(table: pd.DataFrame, axes: list[str]) -> dict[str, pd.DataFrame]:
    """The rows of each combination of the axes' values, by its name."""
    return {" / ".join(v): rows for v, rows in table.groupby(axes, sort=False)} if axes else {"": table}


def accuracy_table(results: pd.DataFrame, axes: list[str], paper: dict[str, Any]) -> PageTable:
    """Mean ± standard deviation and range over the seeds, in percent; in a last column what the paper reports."""
    known = {f"{title}, %": name for name, title in METRICS.items() if name != "top5" and results[name].notna().any()}
    rows = []
    for name, runs in by_combination(results, axes).items():
        row: dict[str, Any] = {"": name}
        for title, metric in known.items():
            v = runs[metric]
            sd = v.std() if len(v) > 1 else 0
            row[title] = f"{v.mean():.1f} ± {sd:.1f} ({v.min():.1f} to {v.max():.1f})"
        row |= {"seeds": len(runs), "held-out clips": runs["n"].min()}
        rows.append(row | ({paper["of"]: str(paper["top1"].get(name.split(" / ")[-1], ""))} if paper else {}))
    return PageTable(pd.DataFrame(rows), dict.fromkeys(known, "number") | ({paper["of"]: "paper"} if paper else {}))


def plot_study_curves(curves: pd.DataFrame, axes: list[str]) -> go.Figure:
    """Loss, and accuracy on the held-out clips, by epoch: the mean over seeds, a band from the least to the most."""
    figure = make_subplots(1, 2, subplot_titles=("training loss", "accuracy on held-out clips"))
    for (name, rows), colour in zip(by_combination(curves, axes).items(), cycle(OTHERS), strict=False):
        for column, metric in enumerate(("loss", "val_accuracy"), start=1):
            epochs = rows.dropna(subset=[metric]).groupby("epoch")[metric].agg(["mean", "min", "max"])
            add_line(
                figure, epochs.index, epochs["mean"], name, colour, band=(epochs["min"], epochs["max"]),
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="epoch").update_yaxes(range=[0, 1.02], tickformat=".0%", col=2)
    return figure.update_layout(height=360, margin={"t": 50, "b": 50}, legend_title="mean over seeds")


def plot_confusion(out: Path, results: pd.DataFrame, axes: list[str]) -> go.Figure:
    """Label against prediction, the clips of all seeds together."""
    tables = {
        name: counted_clips(pd.concat([predictions(open_run(out / "runs" / run)) for run in rows["run"]]))
        for name, rows in by_combination(results, axes).items()
    }
    classes = sorted(set().union(*(table["label"] for table in tables.values())))
    figure = make_subplots(
        1, len(tables), subplot_titles=list(map(html.escape, tables)), shared_yaxes=True, horizontal_spacing=0.02
    )
    for column, table in enumerate(tables.values(), start=1):
        counts = pd.crosstab(table["label"], table["prediction"]).reindex(index=classes, columns=classes, fill_value=0)
        figure.add_heatmap(
            x=classes, y=classes, z=counts.div(counts.sum(axis=1), axis=0), zmin=0, zmax=1, colorscale="Blues",
            showscale=False, text=np.where(counts > 0, counts, ""), texttemplate="%{text}", row=1, col=column,
            hovertemplate="%{y} predicted as %{x}: %{z:.0%} of its clips<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed").update_yaxes(title="label", col=1)
    figure.update_xaxes(title="prediction", tickangle=60)
    return figure.update_layout(height=240 + 24 * len(classes), margin={"t": 40, "b": 110})
