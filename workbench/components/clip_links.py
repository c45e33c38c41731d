"""Links from a point of a plot of layers to the plot of the clips behind it."""

from collections.abc import Mapping
from html import unescape
from typing import Any

import streamlit as st

from analysis.attention.clip_profiles import LAYER
from analysis.report.figures_5_to_8 import named_in
from analysis.runs.run_directory import Run
from analysis.runs.signals import signal_of
from workbench.components.cached import cached_alpha
from workbench.components.chart import chosen_points
from workbench.components.clip_columns import layers_that_vary
from workbench.components.context import PREDICTIONS_PAGE, escape_markdown, run_id


def show_links_of_points(event: Any, runs: Mapping[str, Run]) -> None:
    """Of the points or bars of a figure that were clicked: links to the clips of their runs. The last of a point's
    custom data are its layer, empty for a mean over all layers, and the names that `runs` has of its runs."""
    for point in chosen_points(event):
        if "customdata" in point:
            *_, layer, names = (unescape(str(value)) for value in point["customdata"])
            for name in named_in(names, runs):
                show_link_to_layer(runs[name], layer)


def show_link_to_layer(run: Run, layer: str, *, outcome: str = "", label: str = "", prediction: str = "") -> None:
    """A link to the plot of a run's clips, of this outcome, label and prediction, by α_T of the layer; by the mean of
    all layers if that says nothing."""
    signal, constant = signal_of(run), False
    column, what = f"{LAYER}{layer}", f"{signal.name} of {layer}"
    if layer not in layers_that_vary(run):
        constant = layer in set(cached_alpha(run).layers["layer"])
        column, what = signal.column, f"mean {signal.name}" + f" (that of {layer} is the same for all)" * constant
    clips = f"{outcome} clips".strip().capitalize() + f" labelled {escape_markdown(label)}" * bool(label)
    clips += f", predicted {escape_markdown(prediction)}," * bool(prediction)
    chosen = {"outcome": outcome, "label": label, "said": prediction}
    filters = {name: value for name, value in chosen.items() if value}
    query = {"run": run_id(run), "view": "Plot", "x": column} | filters
    st.page_link(
        PREDICTIONS_PAGE, label=f"{clips} of {escape_markdown(run.name)} by {escape_markdown(what)}",
        icon=":material/scatter_plot:", query_params=query,
    )  # fmt: skip
