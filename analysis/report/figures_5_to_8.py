"""The supplement's Figures 5 to 8 from whatever runs are there (Section 6.1).

For each clip a layer's coefficients are averaged over its channels, then over all clips of the
dataset. alpha_S + alpha_T = 1, so alpha_T (solid) tells both; alpha_S is dotted where it is drawn. Bands
and bars are 95 % intervals of these means: over clips, or their source videos, and over the seeds of a
network that was trained several times.
"""

import html
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import alpha_clip_table, alpha_layer_table
from analysis.attention.hypotheses import ReadAlpha, group_conditions, stack_values
from analysis.runs.run_directory import Run, parts
from analysis.statistics.uncertainty import mean_effect, seed_interval
from sth_core.files import temporary_beside

# Okabe & Ito's colours, told apart with any colour vision; two grays for their black and yellow, of which one cannot be
# seen in the app's dark theme and the other not on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777", "#AAAAAA")
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class SupplementFigure:
    """A figure, the numbers that it plots, and what they are."""

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: pd.DataFrame


def gather(runs: list[Run], read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """Attention of all usable runs that have it: a row per layer and network, runs that differ in their seed together.
    `read` gives a run's attention.

    Returns:
        run (their names), dataset, p, modality, seeds, layer_index, layer, stage, n, groups, alpha_spatial,
        alpha_temporal, its low and high (95 %), sd (over clips); mean, mean_low, mean_high: over all layers.
    """
    tables = []
    for condition in group_conditions([run for run in runs if has_attention(run)]):
        alphas = [read(run) for run in condition.runs]
        layers = over_seeds([alpha_layer_table(alpha) for alpha in alphas])
        mean = mean_effect(*stack_values([alpha_clip_table(alpha) for alpha in alphas]))
        tables.append(
            layers.assign(
                run=", ".join(run.name for run in condition.runs),
                dataset=condition.dataset, p=condition.p, modality=condition.modality, seeds=len(condition.runs),
                mean=mean.value, mean_low=mean.low, mean_high=mean.high,
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def over_seeds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of `layer_table`, one a seed, as one: means, and the intervals of both clips and seeds (`uncertainty`)."""
    if len(tables) == 1:
        return tables[0]
    values = np.stack([table["alpha_temporal"] for table in tables])  # S L
    errors = np.stack([table["error"] for table in tables])
    value, half = values.mean(0), seed_interval(values, errors.mean(0))
    sd = np.stack([table["sd"] for table in tables]).mean(0)
    return tables[0].assign(
        alpha_spatial=1 - value, alpha_temporal=value, low=value - half, high=value + half, sd=sd, error=np.nan
    )


def has_attention(run: Run) -> bool:
    return run.usable and bool(run.meta.get("attention") and parts(run.path, "attention"))


def supplement_figures(table: pd.DataFrame) -> list[SupplementFigure]:
    """Figures 5 to 8 from `gather`'s table; each uses the runs that differ in its variable alone."""
    if table.empty:
        return []
    modality = "RGB" if (table["modality"] == "RGB").any() else "Flow"
    of_one = table[table["modality"] == modality]
    main_p = main_fraction(of_one)
    at_main_p = table[table["p"] == main_p]
    main = of_one[of_one["p"] == main_p]
    modalities = at_main_p.groupby("dataset")["modality"].nunique()
    both = at_main_p[at_main_p["dataset"].map(modalities) > 1]
    specs = [
        ("figure5_layers", "Figure 5: attention by layer",
         lines(main, spatial=True), main,
         f"α_T (solid) and α_S (dotted) at each layer, {modality}, p = {main_p}."),
        ("figure6_proportions", "Figure 6: attention by temporal proportion p",
         lines(of_one, "p"), of_one,
         f"α_T at each layer for each p, {modality}. The fewer temporal kernels, the smaller p."),
        ("figure7_datasets", "Figure 7: attention by dataset", bars(main), main,
         f"Mean over the layers, {modality}, p = {main_p}. "
         "The synthetic sets share their pixels: only the question differs."),
        ("figure8_modalities", "Figure 8: attention by modality",
         lines(both, "modality"), both,
         f"α_T at each layer for RGB and Flow input, p = {main_p}."),
    ]  # fmt: skip
    return [
        SupplementFigure(name, title, f"{caption} {sample_size(data)}", figure, data)
        for name, title, figure, data, caption in specs
        if len(data)
    ]


def main_fraction(table: pd.DataFrame) -> str:
    """The p to compare at: 1/4, the paper's choice, or else the one that most runs have."""
    return "1/4" if (table["p"] == "1/4").any() else str(table["p"].mode()[0])


def sample_size(data: pd.DataFrame) -> str:
    n = sorted({int(v) for v in data["n"]})
    clips = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    trained = sorted({int(v) for v in data["seeds"]})
    seeds = "" if trained == [1] else f", {trained[0] if len(trained) == 1 else f'{trained[0]} to {trained[-1]}'} seeds"
    over = "clips" if trained == [1] else "clips and seeds"
    return f"n = {clips} clips a run{seeds}; shaded or barred: 95 % intervals of the mean over {over}."


def lines(table: pd.DataFrame, vary: str = "", spatial: bool = False) -> go.Figure:
    """alpha over the layers: a colour for each dataset, a dash for each value of `vary`, a band of one sd."""
    figure = go.Figure()
    if len(table):
        alike = table.groupby(["dataset", "p", "modality"])["run"].transform("nunique")
        table = table.assign(fraction=table["p"].map(Fraction), alike=alike)
    keys = ["dataset", "fraction", "modality", "run"]
    colours = dict(zip(sorted(set(table["dataset"])), cycle(COLOURS), strict=False)) if len(table) else {}
    values = sorted(set(table[vary]), key=order_of, reverse=True) if vary and len(table) else []
    for (dataset, _, _, run), rows in table.groupby(keys) if len(table) else ():
        colour, dash = colours[dataset], "solid"
        name = dataset
        if vary:
            value = rows[vary].iloc[0]
            dash = DASHES[values.index(value) % len(DASHES)]
            name += f", {'p = ' if vary == 'p' else ''}{value}"
        if rows["alike"].iloc[0] > 1:
            name += f" ({run})"
        low, high = rows["low"], rows["high"]
        figure.add_scatter(
            x=[*rows["layer"], *rows["layer"][::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines",
            line_width=0, fillcolor=colour, opacity=0.13, hoverinfo="skip", showlegend=False, legendgroup=name,
        )  # fmt: skip
        figure.add_scatter(
            x=rows["layer"], y=rows["alpha_temporal"], name=f"{name}: α_T" if spatial else name,
            mode="lines+markers", line={"color": colour, "dash": dash}, legendgroup=name,
            customdata=rows[["low", "high", "sd", "n", "run"]],
            hovertemplate="%{x}<br>α_T = %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<br>"
            "standard deviation over clips %{customdata[2]:.3f}, n = %{customdata[3]}"
            "<br>%{customdata[4]}<extra></extra>",
        )  # fmt: skip
        if spatial:
            figure.add_scatter(
                x=rows["layer"], y=rows["alpha_spatial"], name=f"{name}: α_S", mode="lines",
                line={"color": colour, "dash": "dot"}, legendgroup=name,
                hovertemplate="%{x}<br>α_S = %{y:.3f}<extra></extra>",
            )  # fmt: skip
    figure.add_hline(y=0.5, line={"color": "#888888", "width": 1})
    return styled(figure, "layer, from input to output", "attention coefficient α" if spatial else "α_T")


def order_of(value: str) -> tuple[float, str]:
    """p by its size, any other value by its name."""
    return (float(Fraction(value)), "") if value[:1].isdigit() else (0.0, value)


def bars(table: pd.DataFrame) -> go.Figure:
    """Mean alpha_S and alpha_T over the layers, a pair of bars for each run, named by its dataset."""
    figure = go.Figure()
    means = table.drop_duplicates(["dataset", "run"]).reset_index(drop=True)
    heights = {"alpha_spatial": 1 - means["mean"], "alpha_temporal": means["mean"]}
    up, down = means["mean_high"] - means["mean"], means["mean"] - means["mean_low"]
    alone = ~means["dataset"].duplicated(keep=False)
    names = means["dataset"].where(alone, means["dataset"] + " (" + means["run"] + ")")
    for column, name, colour in (("alpha_spatial", "α_S", COLOURS[0]), ("alpha_temporal", "α_T", COLOURS[1])):
        figure.add_bar(
            x=names, y=heights[column], name=name, marker_color=colour, customdata=means[["n"]],
            error_y={
                "type": "data", "thickness": 1.2,
                "array": up if column == "alpha_temporal" else down,
                "arrayminus": down if column == "alpha_temporal" else up,
            },
            text=heights[column].map("{:.3f}".format), textposition="inside", insidetextanchor="start",
            hovertemplate=f"%{{x}}<br>{name} = %{{y:.3f}}<br>n = %{{customdata[0]}} clips<extra></extra>",
        )  # fmt: skip
    return styled(figure, "", "mean attention coefficient α")


def styled(figure: go.Figure, x: str, y: str) -> go.Figure:
    figure.update_layout(
        xaxis_title=x, yaxis_title=y, height=440, barmode="group",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}, margin={"t": 40, "r": 20},
    )  # fmt: skip
    return figure


def literal(figure: go.Figure) -> go.Figure:
    """The figure with the names of classes and runs as they are: Plotly takes some of HTML in them for HTML."""
    figure = go.Figure(figure)
    for trace in figure.data:
        for part in ("x", "y", "text", "name", "legendgroup", "customdata"):
            if part in trace and trace[part] is not None:
                trace[part] = escaped(trace[part])
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        if axis.ticktext is not None:
            axis.ticktext = escaped(axis.ticktext)
    return figure


def on_paper(figure: go.Figure) -> go.Figure:
    """The figure for a file: `literal`, and on white; in the app it has the app's colours."""
    return literal(figure).update_layout(template="plotly_white")


def escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufM":
        return value
    if isinstance(value, np.ndarray | list | tuple):
        return [escaped(one) for one in value]
    return value


def write_curves(metrics: Path) -> Path:
    """A training's metrics.csv as a picture: loss, and accuracy on the training and the held-out clips, by epoch."""
    table = pd.read_csv(metrics)
    figure = make_subplots(1, 2, subplot_titles=("loss", "accuracy"))
    figure.add_scatter(x=table["epoch"], y=table["loss"], name="loss", line_color=COLOURS[0], row=1, col=1)
    for column, name, colour in (("accuracy", "training", COLOURS[0]), ("val_accuracy", "held out", COLOURS[1])):
        known = table[table[column].notna()]
        figure.add_scatter(
            x=known["epoch"], y=known[column], name=name, mode="lines+markers", line_color=colour, row=1, col=2
        )
    figure.update_layout(height=440)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(range=[0, 1], row=1, col=2)
    page = metrics.with_name("curves.html")
    with temporary_beside(page) as temporary:
        on_paper(figure).write_html(temporary, include_plotlyjs="directory")
    return page
