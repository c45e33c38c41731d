"""Means with standard errors, intervals and p-values over groups: clips of one source video are not independent.

They need only the sum and the count of each group (a source video, or a clip without a group).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # not scipy.stats: it is slow to import, and every command would wait for it

CONFIDENCE_LEVEL = 0.95
SIGNIFICANCE_LEVEL = 0.05
RESAMPLES = 2000
MOST_GROUPS = 2000  # with more groups, the bootstrap interval equals its normal limit, which needs no resampling
CORRELATION_RESAMPLES = 1000
FEWEST_RANKS = 3  # values of which a rank correlation is computed

Array = NDArray[np.float64]
Groups: TypeAlias = NDArray | pd.Series  # of each clip, any labels


@dataclass(frozen=True)
class ClusterMeans:
    """K means with their standard errors and 95 % intervals, each (K,); over `n` values in `groups` groups."""

    value: Array
    error: Array
    low: Array
    high: Array
    n: int
    groups: int

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Value, low, high and error of a single mean."""
        return self.value.item(), self.low.item(), self.high.item(), self.error.item()


def group_sums(values: NDArray[np.floating], groups: Groups) -> tuple[Array, Array]:
    """Values (N, K) and the group of each (N,) -> sums (G, K) and counts (G,) of the groups."""
    codes, _ = pd.factorize(groups)
    return sum_by_code(values, codes), np.bincount(codes).astype(float)


def sum_by_code(values: NDArray[np.floating], codes: NDArray[np.integer]) -> Array:
    """Values (N, K) and the number of the group of each (N,) -> sums (G, K)."""
    return np.stack([np.bincount(codes, column) for column in values.T], 1).astype(float)


def cluster_means(sums: Array, counts: Array, *, resample: bool | None = None, seed: int = 0) -> ClusterMeans:
    """The means of all values, from each group's sums (G, K) and counts (G,), with 95 % intervals.

    The interval is the percentiles of 2,000 resamples of whole groups (the cluster bootstrap); with more than 2,000
    groups, the normal interval of the same standard error; `resample` decides without counting. With one group the
    error is nan.
    """
    n, G = counts.sum(), len(counts)
    value, error = sums.sum(0) / n, standard_error(sums, counts)
    if not (G <= MOST_GROUPS if resample is None else resample):
        half = special.ndtri(0.5 + CONFIDENCE_LEVEL / 2) * error
        return ClusterMeans(value, error, value - half, value + half, int(n), G)
    weights = np.random.default_rng(seed).multinomial(G, np.full(G, 1 / G), RESAMPLES)  # how often each is drawn
    drawn = (weights @ sums) / (weights @ counts)[:, None]
    low, high = np.percentile(drawn, [50 - 50 * CONFIDENCE_LEVEL, 50 + 50 * CONFIDENCE_LEVEL], axis=0)
    return ClusterMeans(value, error, low, high, int(n), G)


def standard_error(sums: Array, counts: Array) -> Array:
    """(K,): the cluster-robust standard error of the means, sqrt(G / (G - 1) * squared residual sums) / n; nan for one
    group."""
    n, G = counts.sum(), len(counts)
    residuals = sums - counts[:, None] * sums.sum(0) / n
    return np.sqrt(G / (G - 1) * (residuals**2).sum(0)) / n if G > 1 else np.full(sums.shape[1], np.nan)


def p_value(value: float, error: float, groups: int) -> float:
    """Two-sided p that a mean is zero: Student's t with groups - 1 degrees of freedom."""
    if groups < 2 or not error > 0:
        return 1.0 if value == 0 or groups < 2 else 0.0
    return float(2 * special.stdtr(groups - 1, -abs(value / error)))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p that as many clips are gained as lost (McNemar's exact test), which holds for few clips too."""
    return float(min(1, 2 * special.bdtr(min(gained, lost), gained + lost, 0.5)))


def holm_correction(p: list[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the chance of any false one below 0.05 is below 0.05."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Effect:
    """A mean with its 95 % interval and p-value: over `n` clips, and over `seeds` trainings of each network."""

    value: float
    low: float
    high: float
    p: float
    n: int
    seeds: int


def mean_effect(values: Array, groups: Groups) -> Effect:
    """The mean of `values` (S, N): N clips in groups, S trainings of the same network.

    With one training the interval is over clips. With several it is over trainings too: their variance is added to that
    of the clips, and Student's t has S - 1 degrees of freedom.
    """
    S, N = values.shape
    clips = cluster_means(*group_sums(values.mean(0)[:, None], groups))
    value, low, high, error = clips.numbers
    if S == 1:
        return Effect(value, low, high, p_value(value, error, clips.groups), N, 1)
    error, half = (x.item() for x in seed_interval(values.mean(1, keepdims=True), clips.error))
    return Effect(value, value - half, value + half, p_value(value, error, S), N, S)


def paired_effect(change: Array, groups: Groups) -> Effect:
    """The mean over clips (N,) of changes from wrong to correct (1) or back (-1), with the p of `paired_p`."""
    found = mean_effect(change[None], groups)
    return replace(found, p=paired_p(found.p, int((change > 0).sum()), int((change < 0).sum())))


def paired_p(p: float, gained: int, lost: int) -> float:
    """The larger of two p-values: Student's t over groups allows for dependent clips, McNemar's for few changes."""
    return max(p, mcnemar(gained, lost))


def seed_interval(values: Array, error: Array) -> tuple[Array, Array]:
    """The standard errors (K,) of means (S, K) over S trainings, with the errors over clips (K,) added; and half the
    95 % intervals (K,)."""
    total = np.sqrt(np.nan_to_num(error) ** 2 + values.var(0, ddof=1) / len(values))
    return total, special.stdtrit(len(values) - 1, 0.5 + CONFIDENCE_LEVEL / 2) * total


def unpaired_effect(a: Array, groups_a: Groups, b: Array, groups_b: Groups) -> Effect:
    """The mean of `a` (S, N) minus that of `b` (S, M), of different clips: Welch's t over groups and trainings."""
    sides = []
    for values, groups in ((a, groups_a), (b, groups_b)):
        S = len(values)
        sums, counts = group_sums(values.mean(0)[:, None], groups)
        clip_error, G = float(standard_error(sums, counts)[0]), len(counts)
        training_error = float(np.sqrt(values.mean(1).var(ddof=1) / S)) if S > 1 else 0.0
        error = float(np.hypot(np.nan_to_num(clip_error), training_error))
        sides.append((float(values.mean()), error, (S if S > 1 else G) - 1))
    (mean_a, error_a, df_a), (mean_b, error_b, df_b) = sides
    value, error = mean_a - mean_b, float(np.hypot(error_a, error_b))
    n, seeds = a.shape[1] + b.shape[1], min(len(a), len(b))
    if not error > 0 or min(df_a, df_b) < 1:
        return Effect(value, np.nan, np.nan, 1.0, n, seeds)
    df = error**4 / (error_a**4 / df_a + error_b**4 / df_b)
    half = float(special.stdtrit(df, 0.5 + CONFIDENCE_LEVEL / 2)) * error
    p = float(2 * special.stdtr(df, -abs(value / error)))
    return Effect(value, value - half, value + half, p, n, seeds)


def rank_correlation(a: NDArray, b: NDArray) -> float:
    """Spearman's rank correlation of two arrays of equal size; 0 if one of them is constant."""
    return weighted_rank_correlation(rank_codes(a), rank_codes(b), np.ones(a.size))


def rank_codes(values: NDArray) -> NDArray[np.intp]:
    """(N,): the place of each value among the different values, from the smallest on."""
    return np.unique(values.ravel(), return_inverse=True)[1]


def weighted_rank_correlation(a: NDArray[np.intp], b: NDArray[np.intp], weight: Array) -> float:
    """Spearman's rank correlation of values with these `rank_codes`, each counted `weight` times: as a bootstrap
    resample is a weight, nothing is sorted again."""
    ranks = []
    for codes in (a, b):
        counts = np.bincount(codes, weight)
        rank = (np.cumsum(counts) - (counts - 1) / 2)[codes]
        ranks.append(rank - np.average(rank, weights=weight))
    x, y = ranks
    spread = np.sqrt((weight * x * x).sum() * (weight * y * y).sum())
    return float((weight * x * y).sum() / spread) if spread > 1e-9 else 0.0


def rank_correlations(clips: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Spearman's rank correlation of two columns of `clips`, over classes (their means) and over clips: a row each.

    Clips in which one of the two is nan are left out. The 95 % interval is a cluster bootstrap, nan for a single group.
    All is nan with fewer than three values, or if one of the two is constant.
    """
    clips = clips.dropna(subset=[a, b])
    values = clips[[a, b]].to_numpy(float).T
    label_codes, labels = pd.factorize(clips["label"])
    codes = [rank_codes(value) for value in values]

    def correlations(weight: Array) -> tuple[float, float]:
        n = np.bincount(label_codes, weight, len(labels))
        sums = [np.bincount(label_codes, weight * value, len(labels)) for value in values]
        class_means = [total[n > 0] / n[n > 0] for total in sums]
        return rank_correlation(*class_means), weighted_rank_correlation(codes[0], codes[1], weight)

    found = pd.DataFrame({"over": ["classes", "clips"], "value": np.nan, "low": np.nan, "high": np.nan})
    found["n"] = n = np.array([len(labels), len(clips)])
    if len(clips):
        found["value"] = correlations(np.ones(len(clips)))
        found["low"], found["high"] = bootstrap_interval(correlations, clips["group"])
    constant = any(len(np.unique(value)) < 2 for value in codes)
    found.loc[(n < FEWEST_RANKS) | constant, ["value", "low", "high"]] = np.nan
    return found


def bootstrap_interval(statistic: Callable[[Array], tuple[float, ...]], groups: Groups) -> tuple[Array, Array]:
    """The 95 % interval, low (K,) and high (K,), of K statistics of weighted clips: whole groups are resampled, and
    `statistic` gets how often each clip is drawn (N,). nan for a single group."""
    codes, names = pd.factorize(groups)
    random, G = np.random.default_rng(0), len(names)
    if G < 2:
        return (np.full(len(statistic(np.ones(len(codes)))), np.nan),) * 2
    draws = (np.bincount(random.integers(G, size=G), minlength=G)[codes] for _ in range(CORRELATION_RESAMPLES))
    low, high = np.quantile([statistic(draw.astype(float)) for draw in draws], [0.025, 0.975], axis=0)
    return low, high
