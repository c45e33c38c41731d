"""Means over clips of which those of one group (a source video) are alike, with standard errors and 95 % intervals.

They need only the sum and the count of each group. docs/statistics.md says which interval is used where, and why.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # not scipy.stats: it is slow to import, and every command would wait for it

SIGNIFICANCE_LEVEL = 0.05  # so that an interval of 95 % excludes zero exactly if p is below it

Array: TypeAlias = NDArray[np.float64]
Groups: TypeAlias = NDArray | pd.Series  # of each clip, any labels


@dataclass(frozen=True)
class ClusterMeans:
    """K means with their standard errors and 95 % intervals, each (K,); over `n` values in `groups` groups.

    The intervals are Student's t with `df` degrees of freedom. With one group, errors and intervals are nan.
    """

    value: Array
    error: Array
    df: float
    n: int
    groups: int

    @property
    def half(self) -> Array:
        """(K,): half the width of the intervals."""
        return quantile_of_t(self.df) * self.error

    @property
    def low(self) -> Array:
        return self.value - self.half

    @property
    def high(self) -> Array:
        return self.value + self.half


def quantile_of_t(df: float, p: float = SIGNIFICANCE_LEVEL) -> float:
    """How many standard errors a two-sided interval of level 1 - p reaches; of the normal distribution for df = inf."""
    return float(-special.stdtrit(df, p / 2))


def describe_interval(low: float, high: float, form: str, why: str = "one source video") -> str:
    """ "0.25 to 0.75", each in this format; or that there is no interval, and why."""
    return f"no interval: {why}" if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def describe_p(p: float) -> str:
    """ "0.031"; "-" where there is none."""
    return "-" if np.isnan(p) else f"{p:.2g}"


def group_sums(values: NDArray[np.floating], groups: Groups) -> tuple[Array, Array]:
    """Values (N, K) and the group of each (N,) -> sums (G, K) and counts (G,) of the groups."""
    codes, _ = pd.factorize(groups)
    return sum_by_code(values, codes), np.bincount(codes).astype(float)


def sum_by_code(values: NDArray[np.floating], codes: NDArray[np.integer]) -> Array:
    """Values (N, K) and the number of the group of each (N,) -> sums (G, K)."""
    return np.array([np.bincount(codes, column) for column in values.T], float).T


def cluster_means(sums: Array, counts: Array) -> ClusterMeans:
    """The means of all values, from each group's sums (G, K) and counts (G,).

    The standard error is cluster-robust with the small-sample correction CR2, which weighs a group's squared residual
    sum by 1 / (1 - its share of the values) and is unbiased for independent values, and the degrees of freedom are
    those of Bell and McCaffrey (2002), which are fewer than G - 1 where groups differ in size. Pustejovsky and Tipton
    (2018) give both; for a mean they have the closed form below. Groups of one value each give Student's t test.
    """
    n, G = counts.sum(), len(counts)
    value = sums.sum(0) / n if n else np.full(sums.shape[1], np.nan)
    if G < 2:
        return ClusterMeans(value, np.full(len(value), np.nan), np.nan, int(n), G)
    weight = 1 / (1 - counts / n)
    residuals = sums - counts[:, None] * value
    error = np.sqrt(np.einsum("g,gk,gk->k", weight, residuals, residuals)) / n  # without a copy of the residuals
    # With B[g, h] = sqrt(weight[g] weight[h]) ([g == h] counts[g] - counts[g] counts[h] / n): trace(B)^2 / sum(B^2)
    diagonal = weight * (counts - counts**2 / n)
    others = (weight * counts**2).sum() ** 2 - (weight**2 * counts**4).sum()
    df = diagonal.sum() ** 2 / ((diagonal**2).sum() + others / n**2)
    return ClusterMeans(value, error, float(df), int(n), G)
