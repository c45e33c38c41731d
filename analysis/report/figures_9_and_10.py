"""Figures 9 and 10: the classes that lean most on appearance and most on time, with clips that were well predicted.

The paper shows some of each by hand. Here they are found: among the classes that a network gets right,
those with the lowest alpha_T (Figure 9) and the highest (Figure 10), mean over layers and clips.
"""

import base64
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.attention.alpha_matrix import has_attention, read_alpha
from analysis.attention.alpha_tables import alpha_class_table
from analysis.experiments.probe_tables import KIND, order_dependence
from analysis.report.figures_5_to_8 import main_fraction
from analysis.report.plots import COLOURS, SupplementFigure
from analysis.runs.run_directory import Run, parts, predictions
from analysis.statistics.accuracy import describe_clips_per_class
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.transforms import resize

CLASSES = 4  # of each network, in each of the two figures
ACCURATE = 0.8  # classes that a network gets wrong say little about what it should look at
FRAMES, SIDE = 8, 96
ROW, BARS = 92, 0.28  # pixels of a class, and the share of the width that its bar has


def class_figures(runs: list[Run]) -> list[SupplementFigure]:
    """Figures 9 and 10 from the RGB runs at the main p (Flow where there is no RGB), one of each dataset."""
    chosen = one_run_a_dataset(runs)
    tables = [ranked(run) for run in chosen]
    probed = any("order" in table for table in tables)
    best = [best_clips(run, list(t["label"])) for run, t in zip(chosen, tables, strict=True)]
    figures = []
    for name, title, low in (
        ("figure9_appearance_classes", "Figure 9: the classes that lean most on appearance", True),
        ("figure10_temporal_classes", "Figure 10: the classes that lean most on time", False),
    ):
        # No class is in both figures.
        parts = [(run, t.iloc[: min(CLASSES, len(t) // 2)] if low else t.iloc[::-1].iloc[: min(CLASSES, len(t) // 2)])
                 for run, t in zip(chosen, tables, strict=True)]  # fmt: skip
        parts = [
            (run, rows.assign(clip=list(clips.loc[rows["label"], "clip_id"])))
            for (run, rows), clips in zip(parts, best, strict=True)
        ]
        if any(len(rows) for _, rows in parts):
            data = pd.concat([rows for _, rows in parts], ignore_index=True)
            caption = (
                f"Of the classes with an accuracy of at least {ACCURATE:.0%}, those with the "
                f"{'lowest' if low else 'highest'} α_T (mean over layers; bars: 95 % intervals over clips)"
                + (", ranked by it and by the drop of their score under shuffled frames together" if probed else "")
                + f", and the clip of each that was predicted with most confidence. {classes_of(data)}"
            )
            figures.append(SupplementFigure(name, title, caption, sheet(parts, best), data))
    return figures


def ranked(run: Run) -> pd.DataFrame:
    """`class_table` of the classes that the network gets right, from appearance to time: by alpha_T, and where the run
    has probes by the mean of the ranks of alpha_T and of `order`, the drop of the class's score under shuffling."""
    table = alpha_class_table(read_alpha(run)).assign(run=run.name, dataset=run.meta["dataset"])
    table = table[(table["accuracy"] >= ACCURATE) & (table["n"] > 1)]
    if not parts(run.path, KIND):
        return table.sort_values("alpha_temporal")
    drops = order_dependence(run)[["label", "drop"]].rename(columns={"drop": "order"})
    table = table.merge(drops, on="label")
    by_both = table["alpha_temporal"].rank() + table["order"].rank()
    return table.loc[by_both.sort_values(kind="stable").index]


def one_run_a_dataset(runs: list[Run]) -> list[Run]:
    """The first run of each dataset, among those of the modality and p that Figures 5 and 7 show."""
    usable = [run for run in runs if has_attention(run)]
    rgb = [run for run in usable if run.modality == "RGB"] or usable
    if not rgb:
        return []
    p = main_fraction(pd.DataFrame({"p": [run.p for run in rgb]}))
    first: dict[str, Run] = {}
    for run in rgb:
        if run.p == p:
            first.setdefault(run.meta["dataset"], run)
    return list(first.values())


def best_clips(run: Run, labels: list[str]) -> pd.DataFrame:
    """Of each class the clip that was rightly predicted with most confidence: a row of `predictions`, by label."""
    table = predictions(run)
    right = table[table["correct"] & table["label"].isin(labels)]
    best = right.sort_values(["confidence", "clip_id"], ascending=[False, True]).drop_duplicates("label")
    return best.set_index("label")


def classes_of(data: pd.DataFrame) -> str:
    return " ".join(f"{run}: n = {describe_clips_per_class(rows['n'])}." for run, rows in data.groupby("run"))


def sheet(parts: list[tuple[Run, pd.DataFrame]], best: list[pd.DataFrame]) -> go.Figure:
    """A row for each class: its alpha_T as a bar, and the frames that the network saw of its clip in `best`."""
    figure = go.Figure()
    rows = [
        (run, clips.loc[label]) for (run, table), clips in zip(parts, best, strict=True) for label in table["label"]
    ]
    names = [f"{clip.name} " for _, clip in rows]
    places = list(range(len(rows)))
    colours = {run.name: COLOURS[i % len(COLOURS)] for i, (run, _) in enumerate(parts)}
    for run, table in parts:
        mine = [i for i, (of, _) in enumerate(rows) if of is run]
        figure.add_bar(
            x=table["alpha_temporal"], y=mine, orientation="h", name=run.meta["dataset"], width=0.5,
            marker_color=colours[run.name], customdata=table[["accuracy", "n"]],
            error_x={"type": "data", "array": table["high"] - table["alpha_temporal"],
                     "arrayminus": table["alpha_temporal"] - table["low"], "thickness": 1.2},
            text=table["alpha_temporal"].map("{:.3f}".format), textposition="inside", insidetextanchor="start",
            hovertemplate="α_T = %{x:.3f}<br>accuracy %{customdata[0]:.0%}, n = %{customdata[1]} clips<extra></extra>",
        )  # fmt: skip
    for i, (_, clip) in enumerate(rows):
        if image := strip(clip):
            figure.add_layout_image(
                source=image, xref="paper", yref="y", x=BARS + 0.02, y=i, sizex=1 - BARS - 0.02, sizey=0.9,
                xanchor="left", yanchor="middle", sizing="contain",
            )  # fmt: skip
        else:
            figure.add_annotation(
                text="the video is no longer there", xref="paper", x=BARS + 0.02, y=i, showarrow=False, xanchor="left"
            )
    figure.update_layout(
        height=130 + ROW * len(rows), margin={"t": 40, "r": 10, "b": 50}, bargap=0.3,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        xaxis={"domain": [0, BARS], "title": "α_T", "rangemode": "tozero"},
        yaxis={"tickvals": places, "ticktext": names, "range": [len(rows) - 0.5, -0.5], "automargin": True},
    )  # fmt: skip
    return figure


def strip(clip: pd.Series) -> str:
    """Up to eight of the frames that the network saw, side by side, as a data URI; empty if they cannot be read."""
    if "frame_indices" not in clip:
        return ""
    indices = np.asarray(clip["frame_indices"])
    indices = indices[np.linspace(0, len(indices) - 1, min(FRAMES, len(indices))).round().astype(int)]
    try:
        frames = resize(read_frames(Path(clip["path"]), indices.tolist()), SIDE)
    except UnreadableVideo:
        return ""
    width = min(frames.shape[2], round(SIDE * 4 / 3))  # wide frames: their middle
    left = (frames.shape[2] - width) // 2
    tiles = np.pad(frames[:, :SIDE, left : left + width], ((0, 0), (0, 0), (0, 4), (0, 0)), constant_values=255)
    picture = np.concatenate(list(tiles), 1)[:, :-4]
    ok, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
