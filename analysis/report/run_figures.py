"""Figures of one run, or of two compared, that the app and a report both draw."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.report.colours import CORRECT, DIVERGING, MISCLASSIFIED, PLAIN, REFERENCE, TEMPORAL
from analysis.report.plots import LAYER_AXIS, add_layer_means, error_bars, styled
from analysis.runs.correctness import NO_LABEL
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA, signal_of

MOST_NAMED = 60  # classes whose names stand beside a map
SHARE_AXIS = {"range": [0, 1.02], "tickformat": ".0%"}


def plot_class_layers(run: Run, table: pd.DataFrame) -> go.Figure:
    """alpha_T, or attention across time, by class and layer (`alpha_class_layer_table`), the lowest class below; white
    is one half, or the share of uniform attention."""
    signal = signal_of(run)
    wide = table.pivot(index="label", columns="layer_index", values="alpha_temporal")
    wide = wide.loc[wide.mean(axis=1).sort_values().index].rename({"": NO_LABEL})
    layers = table.drop_duplicates("layer_index").sort_values("layer_index")["layer"]
    middle = 0.5 if signal == ALPHA else float(run.meta.get("uniform_share", wide.to_numpy().mean()))
    reach = float(np.abs(wide.to_numpy() - middle).max())
    figure = go.Figure().add_heatmap(
        z=wide, x=list(layers), y=[*map(str, wide.index)], zmin=middle - reach, zmax=middle + reach,
        colorscale=DIVERGING, hovertemplate="%{y}<br>%{x}: %{z:.3f}<extra></extra>",
        colorbar={"title": signal.name, "thickness": 14, "len": 1, "nticks": 5},
    )  # fmt: skip
    figure = styled(figure, LAYER_AXIS, "", height=min(1000, 150 + 24 * max(4, len(wide))))
    figure.update_xaxes(range=[-0.5, len(layers) - 0.5], showgrid=False)
    return figure.update_yaxes(automargin=True, showticklabels=len(wide) <= MOST_NAMED, type="category", showgrid=False)


def plot_by_correctness(run: Run, table: pd.DataFrame) -> go.Figure:
    """alpha_T, or attention across time, by layer of the correct and of the misclassified clips
    (`correctness_profile`), whose name is each point's custom data."""
    figure = go.Figure()
    for correct, name, colour in ((True, "correct", CORRECT), (False, "misclassified", MISCLASSIFIED)):
        rows = table[table["correct"] == correct]
        if len(rows):
            add_layer_means(figure, rows, colour, f"{name} (n = {rows['n'].max()})", customdata=[[name]] * len(rows))
    if signal_of(run) == ALPHA:
        figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1})
    return styled(figure, LAYER_AXIS, signal_of(run).name)


def plot_alpha_change(run: Run, change: pd.DataFrame) -> go.Figure:
    """The difference of B, which is `run`, and A by layer (`alpha_change`). Custom data: the layer, "A, B"."""
    name, figure = signal_of(run).name, go.Figure()
    add_layer_means(figure, change, TEMPORAL, value="change", customdata=change[["layer"]].assign(runs="A, B"))
    figure.add_hline(y=0, line={"color": REFERENCE, "width": 1})
    return styled(figure, LAYER_AXIS, f"{name} of B minus {name} of A", height=360)


def plot_calibration(bins: pd.DataFrame) -> go.Figure:
    """Accuracy by confidence (`calibration_bins`); n, low and high of a bin are its point's custom data."""
    figure = go.Figure()
    dashed = {"color": REFERENCE, "dash": "longdashdot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=dashed, name="perfect calibration")
    figure.add_scatter(
        x=bins["confidence"], y=bins["accuracy"], mode="lines+markers", name="this run", line_color=PLAIN,
        cliponaxis=False, marker_size=6 + 18 * np.sqrt(bins["n"] / bins["n"].max()),
        customdata=bins[["n", "low", "high"]], error_y=error_bars(bins, "accuracy", "accuracy_"),
        hovertemplate="confidence %{x:.1%}: accuracy %{y:.1%}, n = %{customdata[0]}<extra></extra>",
    )  # fmt: skip
    figure = styled(figure, "mean confidence of the bin", "accuracy", height=460)
    return figure.update_xaxes(SHARE_AXIS).update_yaxes(SHARE_AXIS)
