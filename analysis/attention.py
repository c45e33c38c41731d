"""The attention of runs as tables with intervals: by layer, by class, by clip (Section 6.1).

For each clip a layer's coefficients are averaged over its channels (that is what a run holds), then
over the clips. Intervals resample source videos where the run knows them, else clips (`uncertainty`).
"""

from typing import Any

import numpy as np
import pandas as pd

from analysis.runs import Run, query
from analysis.uncertainty import MOST_GROUPS, Means, error_from, from_moments, group_sums, means

LAYERS = ["layer_index", "layer", "stage"]


def layer_table(run: Run) -> pd.DataFrame:
    """A row per layer.

    Returns:
        layer_index, layer, stage, n (clips), groups, alpha_spatial, alpha_temporal (they sum to 1), low,
        high (95 %) and error of alpha_temporal, sd (over clips).
    """
    clips, groups = count_clips_and_groups(run)
    table = query(run, "attention", SPREAD)
    value = table["value"].to_numpy()
    if groups > MOST_GROUPS and groups == clips:
        result = from_moments(value, table["sd"].to_numpy() / np.sqrt(clips), clips, groups)
    elif groups > MOST_GROUPS:
        result = from_moments(value, error_from(squared_deviations(run, table), clips, groups), clips, groups)
    else:
        sums = query(run, "attention", SUMS.format(group=group_of(run)))
        counts = sums.pivot(index="g", columns="layer_index", values="n")
        result = means(
            sums.pivot(index="g", columns="layer_index", values="s").to_numpy(), counts.iloc[:, 0].to_numpy(float)
        )
    return table[LAYERS].assign(
        n=result.n, groups=result.groups, alpha_spatial=1 - result.value, alpha_temporal=result.value,
        low=result.low, high=result.high, error=result.error, sd=table["sd"],
    )  # fmt: skip


JOINED = "{{files}} JOIN (SELECT clip_id, {group} AS g FROM {{predictions}}) USING (clip_id)"
SUMS = f"SELECT g, layer_index, sum(alpha_temporal) AS s, count(*) AS n FROM {JOINED} GROUP BY ALL ORDER BY ALL"
SPREAD = """
    SELECT layer_index, any_value(layer) AS layer, any_value(stage) AS stage, avg(alpha_temporal) AS value,
           coalesce(stddev_samp(alpha_temporal), 0) AS sd
    FROM {files} GROUP BY layer_index ORDER BY layer_index"""


def squared_deviations(run: Run, table: pd.DataFrame) -> np.ndarray:
    """Of each layer of `SPREAD`'s table: the sum over groups of (the group's sum - its clips x the layer's mean)².

    A column for each layer, so that only clips are grouped, not clips times layers: three times as fast.
    """
    of_clip = ", ".join(
        f"sum(alpha_temporal - {value!r}) FILTER (layer_index = {i}) AS s{i}"
        for i, value in zip(table["layer_index"], table["value"], strict=True)
    )
    of_group = ", ".join(f"sum(s{i}) AS s{i}" for i in table["layer_index"])
    squares = ", ".join(f"sum(s{i} * s{i})" for i in table["layer_index"])
    sql = f"""SELECT {squares} FROM (
        SELECT {of_group} FROM (SELECT clip_id, {of_clip} FROM {{files}} GROUP BY clip_id)
        JOIN (SELECT clip_id, {group_of(run)} AS g FROM {{predictions}}) USING (clip_id) GROUP BY g)"""
    return query(run, "attention", sql).to_numpy(float)[0]


def clip_table(run: Run, weights: dict[int, float] | None = None) -> pd.DataFrame:
    """One number a clip: clip_id, label, correct, group, and value, the weighted sum of alpha_temporal over the layers.

    `weights` are by layer_index; without them, the mean over the layers.
    """
    if weights is None:
        value = "avg(alpha_temporal)"
    else:
        value = "sum(alpha_temporal * CASE layer_index " + " ".join(f"WHEN {i} THEN {w!r}" for i, w in weights.items())
        value += " ELSE 0 END)"
    return query(
        run,
        "attention",
        f"""SELECT clip_id, label, correct, g AS "group", value
            FROM (SELECT clip_id, {value} AS value FROM {{files}} GROUP BY clip_id)
            JOIN (SELECT clip_id, label, correct, {group_of(run)} AS g FROM {{predictions}}) USING (clip_id)
            ORDER BY clip_id""",
    )


def class_table(run: Run) -> pd.DataFrame:
    """A row per class: label, n, accuracy, alpha_temporal (mean over layers and clips), low, high, error."""
    clips = clip_table(run)
    resample = clips["group"].nunique() <= MOST_GROUPS
    rows = []
    for label, some in clips.groupby("label"):
        result = mean_of(some, resample)
        rows.append(
            {
                "label": label,
                "n": result.n,
                "accuracy": float(some["correct"].mean()),
                "alpha_temporal": float(result.value[0]),
                "low": float(result.low[0]),
                "high": float(result.high[0]),
                "error": float(result.error[0]),
            }
        )
    return pd.DataFrame(rows)


def stage_table(run: Run) -> pd.DataFrame:
    """A row per stage, from input to output: stage, n (clips), alpha_temporal (mean over its layers and the clips),
    low, high, error."""
    stages = list(dict.fromkeys(layer_table(run)["stage"]))
    clips = query(
        run,
        "attention",
        f"""SELECT clip_id, stage, any_value(g) AS "group", avg(alpha_temporal) AS value
            FROM {{files}} JOIN (SELECT clip_id, {group_of(run)} AS g FROM {{predictions}}) USING (clip_id)
            GROUP BY clip_id, stage ORDER BY clip_id""",
    )
    return rows_of({stage: clips[clips["stage"] == stage] for stage in stages}, "stage")


def outcome_table(run: Run) -> pd.DataFrame:
    """A row for the clips that are right and one for those that are wrong, where there are any: correct, n,
    alpha_temporal (mean over layers and clips), low, high, error."""
    clips = clip_table(run)
    return rows_of(dict(iter(clips.groupby("correct"))), "correct")


def rows_of(parts: dict[Any, pd.DataFrame], name: str) -> pd.DataFrame:
    """The mean of `value` of each part of the clips, a row each."""
    rows = []
    for key, some in parts.items():
        found = mean_of(some)
        value, low, high, error = (float(x[0]) for x in (found.value, found.low, found.high, found.error))
        rows.append({name: key, "n": found.n, "alpha_temporal": value, "low": low, "high": high, "error": error})
    return pd.DataFrame(rows)


def mean_of(clips: pd.DataFrame, resample: bool | None = None) -> Means:
    """The mean of `clip_table`'s value."""
    sums, counts = group_sums(clips[["value"]].to_numpy(float), clips["group"].to_numpy())
    return means(sums, counts, resample)


def class_layer_table(run: Run) -> pd.DataFrame:
    """A row per class and layer: label, layer_index, layer, n, alpha_temporal."""
    return query(
        run,
        "attention",
        """SELECT label, layer_index, any_value(layer) AS layer, count(*) AS n, avg(alpha_temporal) AS alpha_temporal
           FROM {files} JOIN (SELECT clip_id, label FROM {predictions}) USING (clip_id)
           GROUP BY label, layer_index ORDER BY label, layer_index""",
    )


def depth_weights(layers: int) -> dict[int, float]:
    """By which the layers' alphas add up to their rise from the first to the last: the slope of the straight line
    through them, in units of the whole depth."""
    depth = np.linspace(0, 1, layers)
    centred = depth - depth.mean()
    return dict(enumerate((centred / (centred**2).sum()).tolist()))


def count_layers(run: Run) -> int:
    return int(query(run, "attention", "SELECT count(DISTINCT layer_index) AS n FROM {files}")["n"][0])


def count_clips_and_groups(run: Run) -> tuple[int, int]:
    sql = f"SELECT count(*) AS clips, count(DISTINCT {group_of(run)}) AS groups FROM {{predictions}}"
    row = query(run, "attention", sql).iloc[0]
    return int(row["clips"]), int(row["groups"])


def group_of(run: Run) -> str:
    """The column that names the source video of a clip; runs of earlier versions have none."""
    columns = query(run, "predictions", "SELECT * FROM {files} LIMIT 0").columns
    return '"group"' if "group" in columns else "clip_id"
