"""The attention of runs as tables with intervals: by layer, by class, by clip (Section 6.1).

For each clip a layer's coefficients are averaged over its channels (that is what a run holds), then
over the clips. Intervals resample source videos where the run knows them, else clips (`uncertainty`).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, by_layer
from analysis.statistics.uncertainty import MOST_GROUPS, Means, group_sums, means, sums_of


def layer_table(alpha: Alpha) -> pd.DataFrame:
    """A row per layer.

    Returns:
        layer_index, layer, stage, n (clips), groups, alpha_spatial, alpha_temporal (they sum to 1), low,
        high (95 %) and error of alpha_temporal, sd (over clips).
    """
    result = means(*group_sums(alpha.temporal, alpha.clips["group"]))
    return alpha.layers.assign(
        n=result.n, groups=result.groups, alpha_spatial=1 - result.value, alpha_temporal=result.value,
        low=result.low, high=result.high, error=result.error, sd=by_layer(alpha)["sd"],
    )  # fmt: skip


def clip_table(alpha: Alpha, weights: NDArray[np.float64] | None = None) -> pd.DataFrame:
    """One number a clip: clip_id, label, correct, group, and value, the sum of alpha_temporal over the layers, weighted
    (L,); without weights, the mean over the layers."""
    value = alpha.mean if weights is None else alpha.temporal @ weights
    return alpha.clips[["clip_id", "label", "correct", "group"]].assign(value=value)


def class_table(alpha: Alpha) -> pd.DataFrame:
    """A row per class: label, n, accuracy, alpha_temporal (mean over layers and clips), low, high, error."""
    clips = clip_table(alpha)
    resample = clips["group"].nunique() <= MOST_GROUPS
    rows = []
    for label, some in clips.groupby("label", observed=True):
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


def stage_table(alpha: Alpha) -> pd.DataFrame:
    """A row per stage, from input to output: stage, n (clips), alpha_temporal (mean over its layers and the clips),
    low, high, error."""
    stage = alpha.layers["stage"]
    of_stage = {name: alpha.temporal[:, stage == name].mean(1, np.float64) for name in dict.fromkeys(stage)}
    return rows_of({name: clip_table(alpha).assign(value=value) for name, value in of_stage.items()}, "stage")


def outcome_table(alpha: Alpha) -> pd.DataFrame:
    """A row for the clips that are right and one for those that are wrong, where there are any: correct, n,
    alpha_temporal (mean over layers and clips), low, high, error."""
    return rows_of(dict(iter(clip_table(alpha).groupby("correct"))), "correct")


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
    sums, counts = group_sums(clips[["value"]].to_numpy(float), clips["group"])
    return means(sums, counts, resample)


def class_layer_table(alpha: Alpha) -> pd.DataFrame:
    """A row per class and layer: label, layer_index, layer, n, alpha_temporal."""
    labels = alpha.clips["label"].cat.remove_unused_categories()
    L, n = len(alpha.layers), np.bincount(labels.cat.codes)
    sums = sums_of(alpha.temporal, labels.cat.codes.to_numpy())  # K L
    layers = pd.concat([alpha.layers[["layer_index", "layer"]]] * len(n), ignore_index=True)
    layers.insert(0, "label", np.repeat(labels.cat.categories, L))
    return layers.assign(n=np.repeat(n, L), alpha_temporal=(sums / n[:, None]).ravel())


def depth_weights(layers: int) -> NDArray[np.float64]:
    """(L,), by which the layers' alphas add up to their rise from the first to the last: the slope of the straight line
    through them, in units of the whole depth."""
    depth = np.linspace(0, 1, layers)
    centred = depth - depth.mean()
    return centred / (centred**2).sum()
