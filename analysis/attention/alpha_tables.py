"""The attention of a run as tables: by layer, by clip, by class (Section 6.1).

A run holds the mean over a layer's channels for each clip; the tables average these over clips. Intervals are over
source videos if the run knows them, else over clips (`analysis.statistics.clusters`).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, alpha_by_layer
from analysis.runs.correctness import is_correct
from analysis.runs.signals import ALPHA
from analysis.statistics.accuracy import mean_or_nan
from analysis.statistics.clusters import cluster_means, group_sums, sum_by_code
from sth_core.notebook_html import card, interval_chart


class LayerTable(pd.DataFrame):
    """A row per layer: layer, alpha_temporal, low and high among its columns. Jupyter shows it with a picture."""

    def _repr_html_(self) -> str:
        table = super()._repr_html_() or ""
        if not {"layer", "alpha_temporal", "low", "high"} <= set(self.columns):  # a part of one
            return str(table)
        intervals = [self[name].tolist() for name in ("alpha_temporal", "low", "high")]
        chart = interval_chart([str(name) for name in self["layer"]], *intervals)
        name = self.attrs.get("signal", ALPHA.name)
        return card(f"{name} by layer, from input to output", ["Bars: 95 % intervals."], chart, str(table))


def alpha_layer_table(alpha: Alpha) -> LayerTable:
    """A row per layer, with the 95 % interval (low, high) of alpha_T; sd is over clips."""
    result = cluster_means(*group_sums(alpha.temporal, alpha.groups))
    table = alpha.layers.assign(
        n=result.n, groups=result.groups, alpha_spatial=1 - result.value, alpha_temporal=result.value,
        low=result.low, high=result.high, sd=alpha_by_layer(alpha)["sd"],
    )  # fmt: skip
    shown = LayerTable(table)
    shown.attrs["signal"] = alpha.signal.name
    return shown


def alpha_clip_table(alpha: Alpha, weights: NDArray[np.float64] | None = None) -> pd.DataFrame:
    """A row per clip: clip_id, label, correct, group, and value: the sum over layers of `weights` (L,) times alpha_T;
    without weights, the mean over layers."""
    value = alpha.mean if weights is None else alpha.temporal @ weights
    return alpha.clips[["clip_id", "label", "correct", "group"]].assign(value=value)


def alpha_class_table(alpha: Alpha) -> pd.DataFrame:
    """A row per class, with the mean of alpha_T over layers and clips, its 95 % interval; accuracy is nan for
    labels that the network does not know."""
    counts, correct = alpha.clips["correct"].notna().to_numpy(), is_correct(alpha.clips)
    means, rows = alpha.mean, []
    for label, of_class in alpha.clips.groupby("label", observed=True).indices.items():
        mean = cluster_means(*group_sums(means[of_class, None], alpha.groups[of_class]))
        accuracy = mean_or_nan(correct[of_class[counts[of_class]]])
        rows.append((label, mean.n, mean.groups, accuracy, mean.value.item(), mean.low.item(), mean.high.item()))
    return pd.DataFrame(rows, columns=["label", "n", "groups", "accuracy", "alpha_temporal", "low", "high"])


def alpha_class_layer_table(alpha: Alpha) -> pd.DataFrame:
    """A row per class and layer: label, layer_index, layer, n, alpha_temporal."""
    labels = alpha.clips["label"].cat.remove_unused_categories()
    L, n = len(alpha.layers), np.bincount(labels.cat.codes)
    sums = sum_by_code(alpha.temporal, labels.cat.codes.to_numpy())  # K L
    layers = pd.concat([alpha.layers[["layer_index", "layer"]]] * len(n), ignore_index=True)
    layers.insert(0, "label", np.repeat(labels.cat.categories, L))
    return layers.assign(n=np.repeat(n, L), alpha_temporal=(sums / n[:, None]).ravel())


def depth_weights(layers: int) -> NDArray[np.float64]:
    """(L,): weights with which the alphas of L layers sum to their rise from the first layer to the last, on the
    straight line through them."""
    depth = np.linspace(-0.5, 0.5, layers)
    return depth / (depth**2).sum()
