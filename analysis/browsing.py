"""What a person who looks for clips needs of a run: light columns of every clip, and tables to find some by.

Nothing here reads the scores, which are most of a run: 240,000 clips of 400 classes are a few tens of megabytes then.
"""

import math

import numpy as np
import pandas as pd
from scipy import special

from analysis.attention import group_of
from analysis.runs import Run, parts, query
from analysis.statistics import wilson_interval
from analysis.uncertainty import Effect, effect, mcnemar

LIGHT = ("clip_id", "path", "label", "prediction", "correct", "confidence", "margin", "disagreement")
BINS = 10
LAYERS_AT_ONCE = 4  # that are joined: all of a deep network's, at Kinetics' size, take several times the memory


def overview(run: Run) -> pd.DataFrame:
    """A row per clip, ordered by clip_id: `LIGHT`, group, frame (the middle one that the network saw), alpha_temporal
    (mean over layers) where the run has attention, and order (the drop of the true class's score under shuffling)
    where it has probes.

    label and prediction are categories. In runs that were recorded before there were margins, they are NaN.
    """
    there = set(query(run, "predictions", "SELECT * FROM {files} LIMIT 0").columns)
    columns = [name if name in there else f"CAST('nan' AS DOUBLE) AS {name}" for name in LIGHT]
    if "frame_indices" in there:
        columns.append("frame_indices[len(frame_indices) // 2 + 1] AS frame")
    sql = f'SELECT {", ".join(columns)}, {group_of(run)} AS "group" FROM {{files}} ORDER BY clip_id'
    table = query(run, "predictions", sql)
    for name in ("label", "prediction"):
        table[name] = table[name].astype("category")
    if parts(run.path, "attention"):
        mean = "SELECT clip_id, avg(alpha_temporal) AS alpha_temporal FROM {files} GROUP BY clip_id"
        table = table.merge(query(run, "attention", mean), on="clip_id", how="left")
    if parts(run.path, "probes"):
        drop = """SELECT clip_id, any_value(score_label) FILTER (probe = 'plain')
                         - avg(score_label) FILTER (probe = 'shuffled') AS "order" FROM {files} GROUP BY clip_id"""
        table = table.merge(query(run, "probes", drop), on="clip_id", how="left")
    return table


def mistakes(table: pd.DataFrame) -> pd.DataFrame:
    """The misclassified clips, the most confident mistake first."""
    return table[~table["correct"]].sort_values("confidence", ascending=False)


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
    where = np.minimum((table["confidence"].to_numpy() * BINS).astype(int), BINS - 1)
    rows = []
    for i in range(BINS):
        some = table[where == i]
        if len(some):
            right = int(some["correct"].sum())
            low, high = wilson_interval(right, len(some))
            row = {"low": i / BINS, "high": (i + 1) / BINS, "n": len(some), "confidence": some["confidence"].mean()}
            row |= {"accuracy": right / len(some), "accuracy_low": low, "accuracy_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def calibration_error(bins: pd.DataFrame) -> float:
    """The expected calibration error (Guo et al. 2017): the mean distance of confidence and accuracy over clips."""
    return float((bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / bins["n"].sum())


def cell_profile(run: Run, label: str, prediction: str) -> pd.DataFrame:
    """alpha_T by layer of one confusion cell, and of the other clips of its row.

    Returns:
        layer_index, layer, part ("cell" or "row"), n, alpha_temporal, low, high (95 % over clips).
    """
    sql = """
        SELECT layer_index, any_value(layer) AS layer, said = ? AS in_cell, count(*) AS n,
               avg(alpha_temporal) AS alpha_temporal, coalesce(stddev_samp(alpha_temporal), 0) AS sd
        FROM {files} JOIN (SELECT clip_id, prediction AS said FROM {predictions} WHERE label = ?) USING (clip_id)
        GROUP BY layer_index, in_cell ORDER BY layer_index, in_cell"""
    table = query(run, "attention", sql, [prediction, label])
    half = special.stdtrit(np.maximum(table["n"] - 1, 1), 0.975) * table["sd"] / np.sqrt(table["n"])
    half = half.where(table["n"] > 1, math.nan)
    part = np.where(table["in_cell"], "cell", "row")
    mean = table["alpha_temporal"]
    return table[["layer_index", "layer", "n", "alpha_temporal"]].assign(part=part, low=mean - half, high=mean + half)


def unusual(run: Run, count: int = 12) -> pd.DataFrame:
    """The clips whose alphas differ most from those of their class: clip_id, distance.

    The distance is the root mean square over layers of (alpha_T - class mean) / class standard deviation.
    """
    sql = f"""
        WITH known AS (SELECT clip_id, layer_index, alpha_temporal AS a, label FROM {{files}}
                       JOIN (SELECT clip_id, label FROM {{predictions}}) USING (clip_id)),
             of_class AS (SELECT label, layer_index, avg(a) AS m, stddev_samp(a) AS sd FROM known GROUP BY ALL)
        SELECT clip_id, sqrt(avg(((a - m) / sd) ** 2)) AS distance FROM known JOIN of_class USING (label, layer_index)
        WHERE sd > 1e-9 GROUP BY clip_id ORDER BY distance DESC, clip_id LIMIT {int(count)}"""
    return query(run, "attention", sql)


def neighbours(run: Run, clip_id: str, count: int = 8) -> pd.DataFrame:
    """The clips whose alphas are most like this one's: clip_id, distance (root mean square of alpha_T over layers)."""
    sql = f"""
        WITH mine AS (SELECT layer_index, alpha_temporal AS b FROM {{files}} WHERE clip_id = ?)
        SELECT clip_id, sqrt(avg((alpha_temporal - b) ** 2)) AS distance FROM {{files}} JOIN mine USING (layer_index)
        WHERE clip_id <> ? GROUP BY clip_id ORDER BY distance, clip_id LIMIT {int(count)}"""
    return query(run, "attention", sql, [clip_id, clip_id])


WRONG_NOW, RIGHT_NOW, BOTH_RIGHT, BOTH_WRONG = OUTCOMES = ("lost", "gained", "both right", "both wrong")


def side_by_side(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Two runs' overviews on the clips that both have: clip_id, path, frame, label, group, prediction_a, prediction_b,
    confidence_a, confidence_b, alpha_a, alpha_b (if both have attention), outcome (from a to b: one of `OUTCOMES`)."""
    kept = [c for c in ("clip_id", "path", "frame", "label", "group") if c in a]
    values = [c for c in ("prediction", "correct", "confidence", "alpha_temporal") if c in a and c in b]
    both = a[[*kept, *values]].merge(b[["clip_id", *values]], on="clip_id", suffixes=("_a", "_b"))
    was, now = both["correct_a"].to_numpy(bool), both["correct_b"].to_numpy(bool)
    outcome = np.select([was & ~now, ~was & now, was & now], [WRONG_NOW, RIGHT_NOW, BOTH_RIGHT], BOTH_WRONG)
    return both.assign(outcome=outcome).rename(columns={"alpha_temporal_a": "alpha_a", "alpha_temporal_b": "alpha_b"})


def accuracy_change(both: pd.DataFrame) -> tuple[Effect, float]:
    """Accuracy of b less that of a, with its interval over groups, and McNemar's exact p."""
    gained, lost = (int((both["outcome"] == o).sum()) for o in (RIGHT_NOW, WRONG_NOW))
    change = both["correct_b"].to_numpy(float) - both["correct_a"].to_numpy(float)
    return effect(change[None], both["group"].to_numpy()), mcnemar(gained, lost)


def alpha_change(a: Run, b: Run) -> pd.DataFrame:
    """alpha_T of b less that of a by layer, on the clips that both have: layer_index, layer, n, change, low, high.

    The interval is over clips.
    """
    sql = """
        SELECT layer_index, any_value(a.layer) AS layer, count(*) AS n,
               avg(b.alpha_temporal - a.alpha_temporal) AS change,
               coalesce(stddev_samp(b.alpha_temporal - a.alpha_temporal), 0) AS sd
        FROM (SELECT * FROM {files} WHERE layer_index BETWEEN ? AND ?) AS a
        JOIN (SELECT * FROM {other} WHERE layer_index BETWEEN ? AND ?) AS b USING (clip_id, layer_index)
        GROUP BY layer_index ORDER BY layer_index"""
    last = query(a, "attention", "SELECT max(layer_index) AS last FROM {files}")["last"].iloc[0]
    ranges = [[first, first + LAYERS_AT_ONCE - 1] for first in range(0, last + 1, LAYERS_AT_ONCE)]
    table = pd.concat([query(a, "attention", sql, some + some, b) for some in ranges], ignore_index=True)
    half = 1.96 * table["sd"] / np.sqrt(table["n"])
    return table.assign(low=table["change"] - half, high=table["change"] + half).drop(columns="sd")
