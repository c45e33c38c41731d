"""α_T of each channel of one clip, or of a transformer the attention across time of each head."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.clip_channels import clip_channels, has_channels
from analysis.report.colours import REFERENCE, TEMPORAL
from analysis.report.plots import LAYER_AXIS, styled
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA, signal_of
from sth_core.datasets.media import counted
from workbench.components.cached import cached_result
from workbench.components.chart import show_chart
from workbench.components.context import errors_shown, escape_markdown

MOST_POINTS = 64  # channels of a layer that are drawn as points


def show_attention_by_channel(run: Run, clip_id: str) -> None:
    """The channels (or heads) of each layer; without them, how to record them."""
    part = "channel" if signal_of(run) == ALPHA else "head"
    if not has_channels(run):
        st.caption(
            f"This run has the mean of each layer only. Record it with `sth record --vectors` to see each {part}."
        )
        return
    if not st.toggle(f"Attention by {part}", key="channels", bind="query-params"):
        return
    with errors_shown():
        table = cached_result("channels", [run], lambda: clip_channels(run, clip_id), clip_id)
        name, uniform = signal_of(run).name, 0.5 if part == "channel" else run.meta.get("uniform_share")
        show_chart(channel_figure(table, name, uniform), key="clip_channels", alt=f"{name} of each {part} by layer")
        counts = table.groupby("layer", sort=False).size()
        st.caption(
            f"{escape_markdown(name)} of each {part} in this clip: {counted(int(counts.min()), part)}"
            f"{f' to {counts.max():,}' * bool(counts.min() < counts.max())} a layer (box: quartiles; whiskers: at most "
            "1.5 times the box; points: the others, or all if they are few). **How to read this:** a long box says "
            f"that the mean of its layer hides {part}s that weigh time very differently."
        )


def channel_figure(table: pd.DataFrame, name: str, reference: float | None) -> go.Figure:
    """A box for each layer of `clip_channels`."""
    figure = go.Figure()
    for layer, rows in table.groupby("layer", sort=False):
        points = "all" if len(rows) <= MOST_POINTS else "outliers"
        figure.add_box(
            y=rows["value"], name=str(layer), boxpoints=points, marker={"color": TEMPORAL, "size": 3}, line_width=1,
            pointpos=0, jitter=0.5, customdata=rows[["channel"]], showlegend=False,
            hovertemplate="%{x}, %{customdata[0]}: %{y:.3f}<extra></extra>",
        )  # fmt: skip
    if reference is not None:
        figure.add_hline(y=reference, line={"color": REFERENCE, "width": 1, "dash": "longdashdot"})
    return styled(figure, LAYER_AXIS, name, height=340)
