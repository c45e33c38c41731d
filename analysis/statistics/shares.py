"""Shares of clips, and changes of shares, with 95 % intervals that hold for few clips, and for clips that are alike.

A share of independent clips has Clopper and Pearson's exact interval, a change on the same clips Tango's score
interval. Where several clips come from one source video, their standard error is larger: the interval then reaches more
standard errors (`Reach`). For a share that is an effective number of clips (Korn and Graubard 1998).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, Array, Groups, cluster_means, group_sums, quantile_of_t
from analysis.statistics.effects import Effect

FEW, FEW_CHANGES = 5, 10  # source videos; from fewer that differ, their likeness cannot be estimated
INDEPENDENT = quantile_of_t(math.inf)  # standard errors that an interval of independent clips reaches


@dataclass(frozen=True)
class Reach:
    """How far an interval reaches, in standard errors of independent clips: the farthest of several.

    Each is a pair of degrees of freedom, and of a factor for the standard error."""

    limits: tuple[tuple[float, float], ...]

    @property
    def errors(self) -> float:
        return max(factor * quantile_of_t(df) for df, factor in self.limits)

    def p(self, errors: float) -> float:
        """Two-sided p of a value that is so many standard errors of independent clips away."""
        return max(2 * float(special.stdtr(df, -abs(errors) / factor)) for df, factor in self.limits)


def reach_of(sums: Array, counts: Array, variance: float, differing: int, few: int) -> Reach | None:
    """The reach of an interval of a mean, from each group's sums (G,) and counts (G,); None with one group.

    Args:
        variance: of the mean, if all clips were independent.
        differing: how many groups have a clip that is not like most clips; `few` of them are too few.

    It is at least the reach for independent clips, and that of the cluster-robust standard error (`cluster_means`). If
    fewer than `few` groups differ, they do not tell how alike a group's clips are, and each group counts as one clip.
    """
    n, G = counts.sum(), len(counts)
    limits = [(math.inf, 1.0)]
    if n == G:
        return Reach(tuple(limits))
    if G < 2:
        return None
    if variance > 0:
        found = cluster_means(sums[:, None], counts)
        limits.append((found.df, found.error.item() / math.sqrt(variance)))
    if differing < few:
        limits.append((math.inf, math.sqrt(n / G)))
    return Reach(tuple(limit for limit in limits if limit[1] > 0))


def exact_interval(share: float, n: float, errors: float) -> tuple[float, float]:
    """The interval of a share of n clips (Clopper and Pearson 1934), of as many independent clips as make it reach so
    many standard errors."""
    n *= (INDEPENDENT / errors) ** 2
    successes, tail = share * n, SIGNIFICANCE_LEVEL / 2
    low = float(special.betaincinv(successes, n - successes + 1, tail)) if share > 0 else 0.0
    high = float(special.betaincinv(successes + 1, n - successes, 1 - tail)) if share < 1 else 1.0
    return low, high


def share_interval(correct: NDArray, groups: Groups) -> tuple[float, float]:
    """The 95 % interval of the mean of `correct` (n,), each from 0 to 1; nan without clips, and for several clips of
    one group."""
    if not len(correct):
        return math.nan, math.nan
    sums, counts = group_sums(correct[:, None].astype(float), groups)
    n, share = len(correct), float(np.mean(correct))
    differing = min((sums[:, 0] > 0).sum(), (sums[:, 0] < counts).sum())
    reach = reach_of(sums[:, 0], counts, share * (1 - share) / n, int(differing), FEW)
    return exact_interval(share, n, reach.errors) if reach else (math.nan, math.nan)


def paired_effect(change: Array, groups: Groups) -> Effect:
    """The mean of changes (n,) of the same clips, each from -1 (right before, wrong after) to 1.

    Interval and p are Tango's (1998) score interval and the test that belongs to it, McNemar's without correction. The
    interval has a width also where nothing changes."""
    n = len(change)
    gained, lost = float(change.clip(min=0).sum()), float(-change.clip(max=0).sum())
    sums, counts = group_sums(change[:, None], groups)
    value, changed = float(change.mean()) if n else math.nan, group_sums(np.abs(change)[:, None], groups)[0][:, 0]
    reach = reach_of(
        sums[:, 0], counts, ((gained + lost) / n - value**2) / n if n else 0, int((changed > 0).sum()), FEW_CHANGES
    )
    if not n or reach is None:
        return Effect(value, math.nan, math.nan, math.nan, n, 1)
    errors = (gained - lost) / math.sqrt(gained + lost) if gained + lost else 0.0
    return Effect(value, *tango_interval(gained, lost, n, reach.errors), reach.p(errors), n, 1)


def tango_interval(gained: float, lost: float, n: float, errors: float) -> tuple[float, float]:
    """The score interval of (gained - lost) / n that reaches so many standard errors (Tango 1998, equations 3 to 5)."""
    value = (gained - lost) / n

    def distance(change: float) -> float:
        """Of the value from a true change, in standard errors under that change."""
        b = (2 * n - gained + lost) * change - gained - lost
        share_lost = (math.sqrt(max(b * b + 8 * n * lost * change * (1 - change), 0.0)) - b) / (4 * n)
        variance = n * (2 * share_lost + change * (1 - change))
        if variance <= 0:
            return math.copysign(math.inf, value - change) if value != change else 0.0
        return (gained - lost - n * change) / math.sqrt(variance)

    def end(of: Callable[[float], float], outer: float) -> float:
        """Where `of` is zero between the value and an end of the scale."""
        if value == outer or of(outer * (1 - 1e-9)) * of(value) > 0:
            return outer
        return float(optimize.brentq(of, value, outer * (1 - 1e-9)))

    return end(lambda change: distance(change) - errors, -1.0), end(lambda change: distance(change) + errors, 1.0)
