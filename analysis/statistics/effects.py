"""Means and differences of means with 95 % intervals and p-values, over clips and over trainings of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from analysis.statistics.clusters import (
    SIGNIFICANCE_LEVEL,
    Array,
    Groups,
    cluster_means,
    group_sums,
    quantile_of_t,
)

SMALLEST_POWER = -100  # of ten; no p is smaller


@dataclass(frozen=True)
class Spread:
    """One reason why K means differ from the truth: its variance (K,), estimated with `df` degrees of freedom."""

    variance: Array
    df: float


@dataclass(frozen=True)
class Effect:
    """A mean with its 95 % interval and p-value: over `n` clips, and over `seeds` trainings of each network.

    The interval excludes zero exactly if p is below 0.05. low, high and p are nan where nothing can be said, as with
    clips of one source video.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    seeds: int


def half_widths(spreads: Sequence[Spread], p: float = SIGNIFICANCE_LEVEL) -> Array:
    """(K,): half the widths of the intervals of level 1 - p of means with these independent spreads.

    The squares of the half widths that each spread alone gives (Student's t) are added (Howe 1974; Zou and Donner
    2008). Satterthwaite's degrees of freedom give intervals of two or three trainings that are too narrow
    (docs/statistics.md).
    """
    return np.sqrt(sum(quantile_of_t(spread.df, p) ** 2 * spread.variance for spread in spreads))


def p_value(value: float, spreads: Sequence[Spread]) -> float:
    """Two-sided p that a mean with these spreads is zero: the interval of level 1 - p ends at zero."""
    half = half_widths(spreads).item()
    if np.isnan(half) or half == 0 or value == 0:
        return np.nan if np.isnan(half) else float(value == 0)

    def excess(power: float) -> float:
        return float(np.log(max(half_widths(spreads, 10**power).item() / abs(value), 1e-30)))

    return float(10 ** (optimize.brentq(excess, SMALLEST_POWER, 0) if excess(SMALLEST_POWER) > 0 else SMALLEST_POWER))


def clip_spread(values: NDArray[np.floating], groups: Groups) -> Spread:
    """Of the means (K,) of values (N, K): that of N clips in groups."""
    found = cluster_means(*group_sums(values, groups))
    return Spread(found.error**2, found.df)


def training_spread(values: NDArray[np.floating]) -> list[Spread]:
    """Of the means (K,) of values (S, N, K): that of S trainings; none for one training."""
    S = len(values)
    return [Spread(values.mean(1, np.float64).var(0, ddof=1) / S, S - 1)] if S > 1 else []


def spreads_of(values: NDArray[np.floating], groups: Groups) -> list[Spread]:
    """The spreads of the means (K,) of `values` (S, N, K): of N clips in groups and, if S > 1, of S trainings."""
    return [clip_spread(values.mean(0, np.float64), groups), *training_spread(values)]


def mean_effect(values: NDArray[np.floating], groups: Groups) -> Effect:
    """The mean of `values` (S, N): N clips in groups, S trainings of the same network.

    With one training the interval is over clips: it says nothing of another training. With several, their spread is
    added to that of the clips (`half_widths`)."""
    S, N = values.shape
    value = float(values.mean(dtype=np.float64)) if N else np.nan
    return effect_of(value, spreads_of(values[..., None], groups), N, S)


def paired_difference(a: Array, b: Array, groups: Groups) -> Effect:
    """The mean of `a` (S, N) minus that of `b` (R, N), on the same N clips. Trainings are not paired: two of the same
    seed have nothing in common that is known."""
    change = a.mean(0) - b.mean(0)
    spreads = [clip_spread(change[:, None], groups), *training_spread(a[..., None]), *training_spread(b[..., None])]
    return effect_of(float(change.mean()), spreads, len(change), min(len(a), len(b)))


def unpaired_difference(a: Array, groups_a: Groups, b: Array, groups_b: Groups) -> Effect:
    """The mean of `a` (S, N) minus that of `b` (R, M), of different clips."""
    spreads = spreads_of(a[..., None], groups_a) + spreads_of(b[..., None], groups_b)
    return effect_of(float(a.mean() - b.mean()), spreads, a.shape[1] + b.shape[1], min(len(a), len(b)))


def effect_of(value: float, spreads: Sequence[Spread], n: int, seeds: int) -> Effect:
    half = half_widths(spreads).item()
    return Effect(value, value - half, value + half, p_value(value, spreads), n, seeds)


def holm_correction(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the chance of any false one below 0.05 is below 0.05.

    nan, a comparison that could not be tested, stays nan and is not counted."""
    adjusted, largest = [np.nan] * len(p), 0.0
    tested = sorted((i for i in range(len(p)) if not np.isnan(p[i])), key=p.__getitem__)
    for rank, i in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted
