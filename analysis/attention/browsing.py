"""What a person who looks for clips needs of a run: an overview of every clip, and tables to find some by."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, with_interval
from analysis.runs.run_directory import Run, clips_of, parts, query
from analysis.statistics.accuracy import groups_of, share_interval
from analysis.statistics.uncertainty import sums_of

BINS = 10
VARIES = 1e-9  # a standard deviation of alpha_T that is not rounding


def overview(run: Run, alpha: Alpha | None = None) -> pd.DataFrame:
    """A row per clip, ordered by clip_id: `clips_of`'s columns, alpha_temporal (mean over layers) with the run's
    attention, and needs_order (the drop of the true class's score under shuffling) where it has probes."""
    table = clips_of(run) if alpha is None else alpha.clips.assign(alpha_temporal=alpha.mean)
    if parts(run.path, "probes"):
        drop = """SELECT clip_id, any_value(score_label) FILTER (probe = 'plain')
                         - avg(score_label) FILTER (probe = 'shuffled') AS needs_order FROM {files} GROUP BY clip_id"""
        table = table.merge(query(run, "probes", drop), on="clip_id", how="left")
    return table


def most_confident_first(table: pd.DataFrame, chosen: pd.Series | NDArray[np.bool_]) -> NDArray[np.intp]:
    """The rows of the chosen clips (a mask), those of the highest confidence first."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-table["confidence"].to_numpy()[rows], kind="stable")]


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """The cells that are not empty: label, prediction, n, share (of the clips of the label)."""
    cells = table.groupby(["label", "prediction"], observed=True).size().rename("n").reset_index()
    of_label = table.groupby("label", observed=True).size()
    return cells.assign(share=cells["n"] / cells["label"].map(of_label).astype(float))


def confused_pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Wrong cells of `confusion`, those with most clips first, and of both directions of a pair how many."""
    wrong = cells[cells["label"].astype(str) != cells["prediction"].astype(str)]
    counts = dict(zip(zip(wrong["label"], wrong["prediction"], strict=True), wrong["n"], strict=True))
    back = [counts.get((p, w), 0) for w, p in zip(wrong["label"], wrong["prediction"], strict=True)]
    return wrong.assign(reverse=back).sort_values(["n", "share"], ascending=False, ignore_index=True)


def calibration(table: pd.DataFrame) -> pd.DataFrame:
    """A row per tenth of confidence that has clips: low, high, n, confidence (mean), accuracy, accuracy_low, _high."""
    confidence, right, groups = table["confidence"].to_numpy(), table["correct"].to_numpy(bool), groups_of(table)
    where = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = []
    for i in range(BINS):
        some = np.flatnonzero(where == i)
        if len(some):
            low, high = share_interval(right[some], groups[some])
            row = {"low": i / BINS, "high": (i + 1) / BINS, "n": len(some)}
            row |= {"confidence": confidence[some].mean(dtype=float), "accuracy": right[some].mean()}
            rows.append(row | {"accuracy_low": low, "accuracy_high": high})
    return pd.DataFrame(rows)


def calibration_error(bins: pd.DataFrame) -> float:
    """The expected calibration error (Guo et al. 2017): the mean distance of confidence and accuracy over clips."""
    return float((bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / bins["n"].sum())


def cell_profile(alpha: Alpha, label: str, prediction: str) -> pd.DataFrame:
    """alpha_T by layer of one confusion cell, and of the other clips of its row.

    Returns:
        `with_interval`'s columns, and part ("cell" or "row").
    """
    in_row, in_cell = alpha.clips["label"] == label, alpha.clips["prediction"] == prediction
    chosen = {"row": in_row & ~in_cell, "cell": in_row & in_cell}
    tables = [of_clips(alpha, np.flatnonzero(mask)).assign(part=part) for part, mask in chosen.items()]
    return pd.concat(tables, ignore_index=True)


def by_correctness(alpha: Alpha) -> pd.DataFrame:
    """alpha_T by layer of the clips that are right and of those that are wrong: `with_interval`'s columns, correct."""
    correct = alpha.clips["correct"].to_numpy(bool)
    chosen = {True: correct, False: ~correct}
    tables = [of_clips(alpha, np.flatnonzero(mask)).assign(correct=c) for c, mask in chosen.items()]
    return pd.concat(tables, ignore_index=True)


def of_clips(alpha: Alpha, rows: NDArray[np.intp]) -> pd.DataFrame:
    """`with_interval` of the clips in these rows."""
    return with_interval(alpha.layers, alpha.temporal[rows], alpha.clips["group"].iloc[rows])


def unusual(alpha: Alpha, count: int = 12) -> pd.DataFrame:
    """The clips whose alphas differ most from those of their class: row (of `alpha.clips`), clip_id, distance.

    The distance is the root mean square over layers of (alpha_T - class mean) / class standard deviation; a layer in
    which a class does not vary says nothing.
    """
    label = alpha.clips["label"].cat.codes.to_numpy()
    n = np.bincount(label)[label, None]
    apart = alpha.temporal - sums_of(alpha.temporal, label)[label] / n
    sd = np.sqrt(sums_of(apart**2, label)[label] / np.maximum(n - 1, 1))
    varies = sd > VARIES
    squares = np.divide(apart, sd, out=np.zeros_like(apart), where=varies) ** 2
    distance = np.sqrt(squares.sum(1) / np.maximum(varies.sum(1), 1))
    return in_order(alpha, distance, varies.sum(1) > 0, count, ascending=False)


def neighbours(alpha: Alpha, clip_id: str, count: int = 8) -> pd.DataFrame:
    """The clips whose alphas are most like this one's: row (of `alpha.clips`), clip_id, distance (root mean square of
    alpha_T over layers)."""
    others = (alpha.clips["clip_id"] != clip_id).to_numpy()
    distance = np.sqrt(((alpha.temporal - alpha.temporal[~others]) ** 2).mean(1, np.float64))
    return in_order(alpha, distance, others, count, ascending=True)


def in_order(
    alpha: Alpha, distance: NDArray[np.float64], among: NDArray[np.bool_], count: int, ascending: bool
) -> pd.DataFrame:
    """The first of these clips by distance, and by name where it is the same: row, clip_id, distance."""
    rows = np.flatnonzero(among)
    rows = rows[np.argsort(distance[rows] if ascending else -distance[rows], kind="stable")[:count]]
    return pd.DataFrame(
        {"row": rows, "clip_id": alpha.clips["clip_id"].iloc[rows].to_numpy(), "distance": distance[rows]}
    )
