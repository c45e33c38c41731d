"""The attention across time of transformers by layer: a figure beside those of the paper, which are of α."""

import pandas as pd
import plotly.graph_objects as go

from analysis.attention.alpha_matrix import ReadAlpha, read_signal
from analysis.attention.share_tables import share_table
from analysis.report.colours import run_colours
from analysis.report.plots import SupplementFigure, add_line, error_bars, styled
from analysis.runs.run_directory import Run
from analysis.runs.signals import TIME_SHARE
from analysis.statistics.accuracy import units_of

BLOCK_AXIS = "block, from input to output"
SHARE_HOW_TO_READ = (
    "The thin dashed line of a run's colour is what uniform attention has. Above it, a layer looks more at other "
    "time steps than if it had no preference; at 0 it looks at its own time step alone."
)


def time_share_item(runs: list[Run], read: ReadAlpha = read_signal) -> SupplementFigure | None:
    """Attention across time at each layer of the runs that have it; None if none has."""
    table = share_table({run.name: run for run in runs}, read)
    if table.empty:
        return None
    n = table["n"]
    clips = f"{n.min():,} clips" if n.nunique() == 1 else f"{n.min():,} to {n.max():,} clips"
    caption = f"{TIME_SHARE.definition} Mean over {clips}; bars: 95 % intervals over {units_of(table)}."
    title = "Attention across time of transformers, by layer"
    return SupplementFigure("attention_across_time", title, caption, plot_time_share(table), table)


def plot_time_share(table: pd.DataFrame) -> go.Figure:
    """A line for each run of `share_table`, and a thin dashed one at what uniform attention has. The last of a point's
    custom data are its layer and its run."""
    figure = go.Figure()
    runs = list(table.groupby("run", sort=False))
    for (run, rows), colour in zip(runs, run_colours(len(runs)), strict=True):
        add_line(
            figure, rows["block"], rows[TIME_SHARE.column], str(run), colour, showlegend=True,
            error_y=error_bars(rows, TIME_SHARE.column), customdata=rows[["stage", "layer", "run"]],
            hovertemplate="%{customdata[1]} (%{customdata[0]}): %{y:.3f}<extra></extra>",
        )  # fmt: skip
        if rows["uniform_share"].notna().all():
            add_line(
                figure, rows["block"], rows["uniform_share"], str(run), colour, mode="lines",
                line={"dash": "longdashdot", "width": 1}, showlegend=False,
                hovertemplate="uniform attention: %{y:.3f}<extra></extra>",
            )  # fmt: skip
    return styled(figure, BLOCK_AXIS, "share of attention across time").update_xaxes(dtick=1)
