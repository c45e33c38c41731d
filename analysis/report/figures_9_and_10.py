"""The paper's Figures 9 and 10 (Section 6.1): appearance-related and temporal-related classes, with a clip of each.

The paper picks classes by hand, those of Figure 9 from Kinetics-400 and those of Figure 10 from Something-Something V1.
Here both figures rank the classes of each dataset by alpha_T, among those that the network predicts well.
"""

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.attention.alpha_matrix import ReadAlpha, read_alpha
from analysis.attention.alpha_tables import alpha_class_table
from analysis.experiments.probe_tables import KIND, order_dependence
from analysis.report.colours import BAR_INTERVAL, dataset_colours
from analysis.report.figures_5_to_8 import main_setting, networks_of
from analysis.report.plots import SupplementFigure, error_bars, jpeg_uri
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.correctness import is_correct
from analysis.runs.run_directory import Run, clip_table
from analysis.statistics.accuracy import describe_clips_per_class, units_of
from sth_core.errors import visible
from sth_core.shards import shards
from sth_core.video import UnreadableVideo
from sth_core.video.fields import read_resized

CLASSES = 4  # of each network, in each of the two figures
ACCURATE = 0.8  # the attention of classes that are often predicted wrong explains little
MOST_FRAMES, FRAME_SIDE = 8, 96
BAR_WIDTH = 0.28  # the share of the figure's width; the frames have the rest


def class_figures(runs: list[Run], read: ReadAlpha = read_alpha) -> list[SupplementFigure]:
    """Figures 9 and 10 from the first run of each dataset, with the input and p that Figures 5 and 7 show; `read` gives
    a run's attention."""
    drawn = {run.path for network in networks_of(runs) for run in network.runs}
    usable = [run for run in runs if run.path in drawn]
    if not usable:
        return []
    setting = main_setting(pd.DataFrame([(run.modality, run.p) for run in usable], columns=["modality", "p"]))
    first: dict[str, Run] = {}
    for run in usable:
        if (run.modality, run.p) == setting:
            first.setdefault(run.meta["dataset"], run)
    ranked = [rank_classes(run, read) for run in first.values()]
    if not any(len(table) > 1 for table in ranked):
        return []
    caveats = "".join(f" {run.name}: {sentence}" for run in first.values() for sentence in accuracy_caveats(run.meta))
    return [replace(item, caption=item.caption + caveats) for item in (figure9(ranked), figure10(ranked))]


def figure9(ranked: list[pd.DataFrame]) -> SupplementFigure:
    """Figure 9: appearance-related classes. Here: those with the lowest alpha_T, from tables of `rank_classes`."""
    return class_figure("figure9_appearance_classes", "Figure 9", "lowest", ranked)


def figure10(ranked: list[pd.DataFrame]) -> SupplementFigure:
    """Figure 10: temporal-related classes. Here: those with the highest alpha_T, from tables of `rank_classes`."""
    return class_figure("figure10_temporal_classes", "Figure 10", "highest", [table.iloc[::-1] for table in ranked])


def class_figure(name: str, number: str, which: str, ranked: list[pd.DataFrame]) -> SupplementFigure:
    """The first classes of each table, at most half of them, so that no class is in both figures."""
    rows = pd.concat([table.head(min(CLASSES, len(table) // 2)) for table in ranked], ignore_index=True)
    order = ", ranked by α_T and by the drop of their score under shuffled frames together" if "order" in rows else ""
    counts = " ".join(f"{run}: n = {describe_clips_per_class(some['n'])}." for run, some in rows.groupby("run"))
    caption = (
        f"Of the classes with an accuracy of at least {ACCURATE:.0%}, those with the {which} α_T (mean over layers; "
        f"bars: 95 % intervals over {units_of(rows)}){order}. Beside each class: its correct prediction with the "
        f"highest confidence. {counts}"
    )
    data = rows.drop(columns=["path", "frame_indices"], errors="ignore")
    title = f"{number}: the classes with the {which} temporal attention"
    strips = [frame_strip(clip) for _, clip in rows.iterrows()]
    drawn = (plot_classes(rows, strips, narrow) for narrow in (False, True))
    return SupplementFigure(name, title, caption, next(drawn), data, next(drawn))


def rank_classes(run: Run, read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """The classes that the network predicts well, from the lowest alpha_T to the highest.

    Where the run has probes, classes are ranked by the mean of two ranks: that of alpha_T, and that of `order`, the
    drop of the class's score when frames are shuffled.

    Returns:
        The columns of `alpha_class_table`, run, dataset, order (of a probed run); clip, path and frame_indices of the
        correct prediction with the highest confidence.
    """
    alpha = read(run)
    table = alpha_class_table(alpha).assign(run=run.name, dataset=run.meta["dataset"])
    table = table[(table["accuracy"] >= ACCURATE) & (table["n"] > 1)]
    rank = table["alpha_temporal"]
    if shards(run.path, KIND):
        table = table.merge(order_dependence(run)[["label", "drop"]].rename(columns={"drop": "order"}), on="label")
        rank = table["alpha_temporal"].rank() + table["order"].rank()
    table = table.loc[rank.sort_values(kind="stable").index]
    correct = alpha.clips.loc[is_correct(alpha.clips), ["label", "confidence"]]
    best = correct.sort_values("confidence", ascending=False, kind="stable").drop_duplicates("label")  # by clip_id
    clips = clip_table(run).take(best.index.to_numpy()).to_pandas().rename(columns={"clip_id": "clip"})
    return table.merge(clips.filter(["label", "clip", "path", "frame_indices"]), on="label")


def plot_classes(rows: pd.DataFrame, strips: list[str], narrow: bool = False) -> go.Figure:
    """A row for each class: its name, its alpha_T as a bar, and the frames of its clip that the network was given,
    beside the bar or, where it is narrow, below it."""
    figure, left = go.Figure(), 0.0 if narrow else BAR_WIDTH + 0.02
    colours = dataset_colours(rows["dataset"])
    middle, width = (-0.2, 0.24) if narrow else (0.0, 0.4)  # of a bar, from the middle of its row
    for _, some in rows.groupby("run", sort=False):
        figure.add_bar(
            x=some["alpha_temporal"], y=[i + middle for i in some.index], orientation="h", width=width,
            name=some["dataset"].iloc[0], marker_color=colours[some["dataset"].iloc[0]], marker_opacity=0.6,
            customdata=some[["accuracy", "n"]], texttemplate="%{x:.3f}", textposition="inside",
            error_x=error_bars(some, "alpha_temporal") | {"color": BAR_INTERVAL, "thickness": 2},
            insidetextanchor="start", insidetextfont_color="#000000",
            hovertemplate="α_T = %{x:.3f}<br>accuracy %{customdata[0]:.0%}, n = %{customdata[1]} clips<extra></extra>",
        )  # fmt: skip
    for i, clip in rows.iterrows():
        name = html.escape(visible(str(clip["label"])), quote=False)
        place = {"xref": "paper", "xanchor": "left", "showarrow": False}
        figure.add_annotation(text=name, x=0, y=i + middle - width / 2, yanchor="bottom", borderpad=0, **place)
        size = {"sizex": 1 - left, "sizey": 0.5 if narrow else 0.8, "sizing": "contain"}
        where = {"x": left, "y": i + middle + width / 2 if narrow else i, "yanchor": "top" if narrow else "middle"}
        if strips[int(i)]:
            figure.add_layout_image(source=strips[int(i)], xref="paper", yref="y", xanchor="left", **where, **size)
        else:
            figure.add_annotation(text="the video is no longer there", **where, **place)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, range=[len(rows) - 0.5, -0.6])
    return figure.update_layout(
        height=130 + 100 * len(rows), margin={"t": 40, "r": 10, "b": 50, "l": 10}, bargap=0.3,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}, barmode="overlay",
        xaxis={"domain": [0, 1 if narrow else BAR_WIDTH], "title": "α_T", "rangemode": "tozero"},
    )  # fmt: skip


def frame_strip(clip: pd.Series) -> str:
    """Up to eight of the frames that the network was given, side by side, as a data URI; empty if unreadable."""
    if "frame_indices" not in clip:
        return ""
    indices = np.asarray(clip["frame_indices"])
    indices = indices[np.linspace(0, len(indices) - 1, min(MOST_FRAMES, len(indices))).round().astype(int)]
    try:
        frames = read_resized(Path(clip["path"]), indices.tolist(), FRAME_SIDE)
    except UnreadableVideo:
        return ""
    width = min(frames.shape[2], round(FRAME_SIDE * 4 / 3))  # wide frames: their middle
    left = (frames.shape[2] - width) // 2
    tiles = np.pad(frames[:, :FRAME_SIDE, left : left + width], ((0, 0), (0, 0), (0, 4), (0, 0)), constant_values=255)
    return jpeg_uri(np.concatenate(list(tiles), 1)[:, :-4])
