"""How sure a mean is, from sums over groups: clips of one source video are not independent of each other.

A mean over clips, its standard error and its bootstrap need of each group (a source video, or a clip
that has no group) only the sum of its values and how many they are. So K means over 240,000 clips are judged
from a table of groups, or, by the moments of that table, from a handful of numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # not scipy.stats, which is slow to import: every command would wait for it

RESAMPLES = 2000
SIGNIFICANCE_LEVEL = 0.05
MOST_GROUPS = 2000  # with more, the bootstrap's normal limit is the interval: it is the same and needs no resampling
CONFIDENCE_LEVEL = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterMeans:
    """K means with their standard errors and 95 % intervals, each (K,); over `n` values in `groups` groups."""

    value: Array
    error: Array
    low: Array
    high: Array
    n: int
    groups: int


def group_sums(values: NDArray[np.floating], groups: NDArray | pd.Series) -> tuple[Array, Array]:
    """Values (N, K) and the group of each -> their sums (G, K) and counts (G,)."""
    which, _ = pd.factorize(groups)
    return sum_by_code(values, which), np.bincount(which).astype(float)


def sum_by_code(values: NDArray[np.floating], which: NDArray[np.integer]) -> Array:
    """Values (N, K), and the number of the group of each (N,) -> their sums (G, K)."""
    return np.stack([np.bincount(which, column) for column in values.T], 1).astype(float)


def cluster_means(sums: Array, counts: Array, resample: bool | None = None, seed: int = 0) -> ClusterMeans:
    """The means of all values, and how sure they are, resampling whole groups (the cluster bootstrap).

    Percentiles of 2,000 resamples, or with more than 2,000 groups the normal interval of the same
    standard error. One group alone tells nothing: its error is nan.

    Args:
        sums: (G, K), of the values of each group.
        counts: (G,), how many they are.
        resample: whether to, whatever the number of groups.
    """
    n, G = counts.sum(), len(counts)
    value, error = sums.sum(0) / n, standard_error(sums, counts)
    if not (G <= MOST_GROUPS if resample is None else resample):
        return from_moments(value, error, int(n), G)
    weights = np.random.default_rng(seed).multinomial(G, np.full(G, 1 / G), RESAMPLES)  # how often each is drawn
    drawn = (weights @ sums) / (weights @ counts)[:, None]
    low, high = np.percentile(drawn, [50 - 50 * CONFIDENCE_LEVEL, 50 + 50 * CONFIDENCE_LEVEL], axis=0)
    return ClusterMeans(value, error, low, high, int(n), G)


def from_moments(value: Array, error: Array, n: int, groups: int) -> ClusterMeans:
    """The bootstrap's limit for many groups."""
    half = special.ndtri(0.5 + CONFIDENCE_LEVEL / 2) * error
    return ClusterMeans(value, error, value - half, value + half, n, groups)


def standard_error(sums: Array, counts: Array) -> Array:
    """(K,): the cluster-robust standard error of the means."""
    value = sums.sum(0) / counts.sum()
    return error_from(((sums - counts[:, None] * value) ** 2).sum(0), counts.sum(), len(counts))


def error_from(squares: Array, n: float, groups: int) -> Array:
    """From the groups' squared residual sums, added up: sqrt(G / (G - 1) * squares) / n."""
    if groups < 2:
        return np.full_like(squares, np.nan)
    return np.sqrt(groups / (groups - 1) * np.maximum(squares, 0)) / n


def p_value(value: float, error: float, groups: int) -> float:
    """Two-sided, that a mean is zero: Student's t with one degree of freedom less than there are groups."""
    if groups < 2 or not error > 0:
        return 1.0 if value == 0 or groups < 2 else 0.0
    return float(2 * special.stdtr(groups - 1, -abs(value / error)))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided, that as many clips are gained as lost: exact, where the normal limit is far away (few clips)."""
    return float(min(1, 2 * special.bdtr(min(gained, lost), gained + lost, 0.5)))


def holm_correction(p: list[float]) -> list[float]:
    """p-values corrected for there being several (Holm 1979): whatever is below 0.05, the chance of any error is."""
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


def mean_effect(values: Array, groups: NDArray | pd.Series) -> Effect:
    """The mean of `values` (S, N): N clips in groups, by S trainings of the same network.

    With one training the interval is over clips: what other clips would say of this network. With several it is
    over trainings too: their variance is added to that of the clips, and Student's t has S - 1 degrees of
    freedom, however many clips there are.
    """
    S, N = values.shape
    sums, counts = group_sums(values.mean(0)[:, None], groups)
    over_clips = cluster_means(sums, counts)
    value = float(over_clips.value[0])
    if S == 1:
        p = p_value(value, float(over_clips.error[0]), over_clips.groups)
        return Effect(value, float(over_clips.low[0]), float(over_clips.high[0]), p, N, 1)
    of_seeds = values.mean(1, keepdims=True)  # S 1
    error, half = (
        float(x[0]) for x in (seed_error(of_seeds, over_clips.error), seed_interval(of_seeds, over_clips.error))
    )
    return Effect(value, value - half, value + half, p_value(value, error, S), N, S)


def paired_effect(change: Array, groups: NDArray | pd.Series) -> Effect:
    """The mean of changes from wrong to right (1) or back (-1), clip by clip (N,), its p by `paired_p`."""
    found = mean_effect(change[None], groups)
    return replace(found, p=paired_p(found.p, int((change > 0).sum()), int((change < 0).sum())))


def paired_p(p: float, gained: int, lost: int) -> float:
    """The larger of Student's t's p over groups, as clips of one source video are alike, and McNemar's exact one, as
    few clips may change at all."""
    return max(p, mcnemar(gained, lost))


def seed_error(values: Array, error: Array) -> Array:
    """(K,): of means (S, K) by S trainings, whose errors over clips are `error` (K,): both variances together."""
    return np.sqrt(np.nan_to_num(error) ** 2 + values.var(0, ddof=1) / len(values))


def seed_interval(values: Array, error: Array) -> Array:
    """(K,): half of the 95 % interval that goes with `seed_error`."""
    return special.stdtrit(len(values) - 1, 0.5 + CONFIDENCE_LEVEL / 2) * seed_error(values, error)


def unpaired_effect(a: Array, groups_a: NDArray | pd.Series, b: Array, groups_b: NDArray | pd.Series) -> Effect:
    """The mean of `a` (S, N) less that of `b` (S, M), of other clips: Welch's t, errors over groups and trainings."""
    parts = []
    for values, groups in ((a, groups_a), (b, groups_b)):
        S = len(values)
        sums, counts = group_sums(values.mean(0)[:, None], groups)
        of_clips, G = float(standard_error(sums, counts)[0]), len(counts)
        of_seeds = float(np.sqrt(values.mean(1).var(ddof=1) / S)) if S > 1 else 0.0
        error = float(np.hypot(np.nan_to_num(of_clips), of_seeds))
        parts.append((float(values.mean()), error, (S if S > 1 else G) - 1))
    (mean_a, error_a, df_a), (mean_b, error_b, df_b) = parts
    value, error = mean_a - mean_b, float(np.hypot(error_a, error_b))
    if not error > 0 or min(df_a, df_b) < 1:
        return Effect(value, np.nan, np.nan, 1.0, a.shape[1] + b.shape[1], min(len(a), len(b)))
    df = error**4 / (error_a**4 / df_a + error_b**4 / df_b)
    half = float(special.stdtrit(df, 0.5 + CONFIDENCE_LEVEL / 2)) * error
    p = float(2 * special.stdtr(df, -abs(value / error)))
    return Effect(value, value - half, value + half, p, a.shape[1] + b.shape[1], min(len(a), len(b)))
