"""Spearman's rank correlations, with 95 % intervals over source videos or over classes."""

from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.statistics.clusters import Array, Groups, quantile_of_t

FEWEST_RANKS = 3  # values of which a rank correlation is computed
FEWEST_CLASSES, FEWEST_GROUPS = 8, 8  # over which there is an interval
MOST_BLOCKS = 100  # into which the groups are divided
FEW_CLASSES, FEW_VIDEOS = "fewer than 8 classes", "fewer than 8 source videos"
LARGEST = 1 - 1e-6  # rank correlation of which Fisher's z is taken; of 1 it is infinite
NEAR_ONE = 0.8  # from here on the bias towards 0 of a rank correlation of few values is a large part of its interval


def rank_correlation(a: NDArray, b: NDArray) -> float:
    """Spearman's rank correlation of two arrays of equal size; nan if one of them is constant, which has no ranks."""
    first, second = rank_codes(a), rank_codes(b)
    if not (first.any() and second.any()):
        return np.nan
    return weighted_rank_correlation(first, second, np.ones(a.size))


def unbiased_rank_correlation(a: NDArray, b: NDArray) -> float:
    """Spearman's rank correlation of the population of which N independent pairs are a sample, without bias: the mean
    of that of a sample is (3 tau + (N - 2) rho) / (N + 1), with Kendall's tau (Hoeffding 1948). It may exceed 1."""
    from scipy.stats import kendalltau  # here, as it is slow to import

    N = a.size
    return float(((N + 1) * rank_correlation(a, b) - 3 * kendalltau(a, b).statistic) / (N - 2))


def rank_codes(values: NDArray) -> NDArray[np.intp]:
    """(N,): the place of each value among the different values, from the smallest on."""
    return np.unique(values.ravel(), return_inverse=True)[1]


def weighted_rank_correlation(a: NDArray[np.intp], b: NDArray[np.intp], weight: Array) -> float:
    """Spearman's rank correlation of values with these `rank_codes`, each counted `weight` times: to leave some out is
    a weight of 0, so that nothing is sorted again. 0 if those that count are constant."""
    ranks = []
    for codes in (a, b):
        counts = np.bincount(codes, weight)
        rank = (np.cumsum(counts) - (counts - 1) / 2)[codes]
        ranks.append(rank - np.average(rank, weights=weight))
    x, y = ranks
    spread = np.sqrt((weight * x * x).sum() * (weight * y * y).sum())
    return float(np.clip((weight * x * y).sum() / spread, -1, 1)) if spread > 1e-9 else 0.0


def rank_correlations(clips: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Spearman's rank correlation of two columns of `clips`, over classes (their means) and over clips: a row each.

    Clips in which one of the two is nan are left out. The 95 % interval over clips is `jackknife_interval`, over their
    groups. The one over classes, `class_interval`, takes the classes for a sample of all classes. All is nan with fewer
    than three values, or if one of the two is constant. Near 1, of clips that are each of a source video of their own,
    it is `class_interval` too: the jackknife's is too narrow there.
    """
    clips = clips.dropna(subset=[a, b])
    means = clips.groupby("label", observed=True)[[a, b]].mean()
    rows = []
    for over, table in (("classes", means), ("clips", clips)):
        n, value, low, high = len(table), np.nan, np.nan, np.nan
        first, second = (rank_codes(table[name].to_numpy(float)) for name in (a, b))
        if n >= FEWEST_RANKS and first.max() > 0 and second.max() > 0:
            correlation = partial(weighted_rank_correlation, first, second)
            value = correlation(np.ones(n))
            near_one = abs(value) >= NEAR_ONE
            if over == "classes" or (near_one and clips["group"].is_unique):
                low, high = class_interval(value, n, unbiased_rank_correlation(first, second) if near_one else None)
            else:
                low, high = jackknife_interval(correlation, clips["group"])
        rows.append((over, value, low, high, n))
    return pd.DataFrame(rows, columns=["over", "value", "low", "high", "n"])


def class_interval(value: float, n: int, unbiased: float | None = None) -> tuple[float, float]:
    """The 95 % interval of a rank correlation of n independent pairs, by Fisher's z with the variance of Bonett and
    Wright (2000), (1 + value^2 / 2) / (n - 3); nan for fewer than eight. That of 1 reaches from below the nearest value
    that n pairs can have to 1, that of -1 likewise. One of 0.8 or more (-0.8 or less) reaches as far beyond `unbiased`,
    its `unbiased_rank_correlation`, if that is nearer to 1 (-1)."""
    if n < FEWEST_CLASSES:
        return np.nan, np.nan
    largest = nearest_to_one(n)

    def half(center: float) -> float:
        return float(quantile_of_t(np.inf) * np.sqrt((1 + center**2 / 2) / (n - 3)))

    found, side = around(value, half(min(abs(value), largest)), largest), float(np.sign(value))
    if unbiased is None or abs(value) < NEAR_ONE:
        return found
    end = side if side * unbiased >= largest else float(np.tanh(np.arctanh(unbiased) + side * half(unbiased)))
    return min(found[0], end), max(found[1], end)


def nearest_to_one(n: int) -> float:
    """The rank correlation of n pairs of which two neighbours are swapped, but at most `LARGEST`."""
    return min(1 - 12 / (n * (n**2 - 1)), LARGEST)


def jackknife_interval(correlation: Callable[[Array], float], groups: Groups) -> tuple[float, float]:
    """The 95 % interval of a correlation of clips, which gets the weight (N,) of each: whole groups are left out, one
    after the other (of more than 100 groups, a hundredth of them), and Fisher's z has Student's t; nan for fewer than
    eight groups. Where it is the same without any of them, as of a perfect ranking, it is `class_interval` of the
    groups. That of 0.8 or more (-0.8 or less) reaches as far beyond the jackknife's value without bias."""
    codes, names = pd.factorize(groups)
    if len(names) < FEWEST_GROUPS:
        return np.nan, np.nan
    B = min(len(names), MOST_BLOCKS)
    block = np.random.default_rng(0).permutation(np.arange(len(names)) % B)[codes]
    weights = chain(((block != i).astype(float) for i in range(B)), [np.ones(len(codes))])  # the last: all clips
    found, largest = np.array([(correlation(weight), nearest_to_one(int(weight.sum()))) for weight in weights]).T
    *parts, whole = np.arctanh(np.clip(found, -largest, largest))
    z, value = np.array(parts), float(found[-1])
    half = quantile_of_t(B - 1) * np.sqrt((B - 1) * z.var())
    if half < 1e-8 or (np.abs(found) > largest - 1e-12)[:-1].all():
        return class_interval(value, len(names), value)
    low, high = around(value, half)
    if abs(value) < NEAR_ONE:
        return low, high
    unbiased = B * whole - (B - 1) * z.mean()
    end = float(np.tanh(unbiased + np.sign(value) * half))
    return min(low, end), max(high, end)


def around(value: float, half: float, largest: float = LARGEST) -> tuple[float, float]:
    """The interval of a correlation that reaches `half` to both sides in Fisher's z, that of `largest` if the value is
    nearer to 1 or -1; the value itself is always in it."""
    z = np.arctanh(np.clip(value, -largest, largest))
    return min(value, float(np.tanh(z - half))), max(value, float(np.tanh(z + half)))
