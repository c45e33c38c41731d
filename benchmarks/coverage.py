"""How often a printed 95 % interval holds the truth, in simulated data of which the truth is known.

\b
    sth benchmark coverage                 1,000 trials of each setting, some ten minutes
    sth benchmark coverage --trials 200

Each row is a kind of interval, each column a number of source videos (groups); a cell has the lowest and the highest
coverage over all settings of the row. "none": there is no interval, and the tables show none.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.statistics.accuracy import class_mean_interval
from analysis.statistics.class_report import class_report
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, cluster_means, group_sums
from analysis.statistics.correlations import (
    class_interval,
    jackknife_interval,
    rank_codes,
    rank_correlation,
    unbiased_rank_correlation,
    weighted_rank_correlation,
)
from analysis.statistics.effects import Effect, mean_effect, paired_difference, unpaired_difference
from analysis.statistics.shares import paired_effect, share_interval
from benchmarks.measuring import print_head, print_row

GROUPS = (2, 4, 8, 30, 100)
Random = np.random.Generator
Interval = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A kind of data: `draw` returns the interval of a simulated data set, whose true value is `truth`."""

    name: str
    truth: float
    draw: Callable[[Random], Interval | Effect]


@dataclass(frozen=True)
class Coverage:
    """Of one setting: how often its interval held the truth (nan: there was none), and how often an interval without
    zero and a p below 0.05 did not go together."""

    setting: Setting
    groups: int
    share: float
    contradictions: int


def measure_coverage(setting: Setting, groups: int, trials: int, seed: int = 0) -> Coverage:
    random, held, none, contradictions = np.random.default_rng([seed, groups]), 0, 0, 0
    for _ in range(trials):
        found = setting.draw(random)
        low, high = (found.low, found.high) if isinstance(found, Effect) else found
        none += np.isnan(low)
        held += low - 1e-9 <= setting.truth <= high + 1e-9
        if isinstance(found, Effect) and not np.isnan(low):
            contradictions += (found.p < SIGNIFICANCE_LEVEL) != (not low <= 0 <= high)
    return Coverage(setting, groups, held / (trials - none) if none < trials else np.nan, contradictions)


# Data.


def group_sizes(G: int, per: int, *, unequal: bool) -> NDArray[np.intp]:
    """(N,): the group of each clip; if unequal, a quarter of the groups has eight times as many clips."""
    sizes = np.full(G, per)
    if unequal:
        sizes[: max(1, G // 4)] *= 8
    return np.repeat(np.arange(G), sizes)


def chances(random: Random, share: tuple[float, ...], rho: float, G: int) -> NDArray[np.float64]:
    """(G, len(share)): each group's chances, whose mean is `share` and whose clips correlate by rho (Dirichlet)."""
    if not rho:
        return np.tile(share, (G, 1))
    drawn = random.dirichlet(np.maximum(np.array(share) * (1 / rho - 1), 1e-12), G)
    return np.nan_to_num(drawn) / np.nan_to_num(drawn).sum(1, keepdims=True)


# Settings, for a number of groups.


def of_means(G: int) -> Iterator[Setting]:
    for rho in (0.0, 0.2, 0.5):
        for unequal in (False, True):
            groups = group_sizes(G, 5, unequal=unequal)

            def draw(random: Random, rho: float = rho, groups: NDArray = groups) -> Interval:
                values = random.normal(0, np.sqrt(rho), G)[groups] + random.normal(0, np.sqrt(1 - rho), len(groups))
                found = cluster_means(*group_sums(values[:, None], groups))
                return found.low.item(), found.high.item()

            yield Setting(f"rho {rho}, {'un' * unequal}equal groups", 0.0, draw)


def of_shares(G: int) -> Iterator[Setting]:
    for share in (0.5, 0.7, 0.9, 0.97, 0.99):
        for rho, per in ((0.0, 1), (0.0, 5), (0.1, 5), (0.5, 5), (0.1, 30), (0.5, 30)):
            groups = np.repeat(np.arange(G), per)

            def draw(random: Random, share: float = share, rho: float = rho, groups: NDArray = groups) -> Interval:
                chance = chances(random, (share, 1 - share), rho, G)[:, 0]
                return share_interval(random.random(len(groups)) < chance[groups], groups)

            yield Setting(f"share {share}, rho {rho}, {per} clips a group", share, draw)


def of_class_means(G: int) -> Iterator[Setting]:
    for K, spanning in ((6, True), (6, False), (20, True)):
        per = K if spanning else 6
        groups = np.repeat(np.arange(G), per)
        labels = np.tile(np.arange(K), G) if spanning else groups % K
        for share in (0.5, 0.9, 0.99):
            for rho in (0.0, 0.3):

                def draw(
                    random: Random, share: float = share, rho: float = rho, groups: NDArray = groups,
                    labels: NDArray = labels,
                ) -> Interval:  # fmt: skip
                    chance = chances(random, (share, 1 - share), rho, G)[:, 0]
                    return class_mean_interval(random.random(len(groups)) < chance[groups], labels, groups)[1:]

                where = "spanning classes" if spanning else "of one class"
                yield Setting(f"share {share}, rho {rho}, {K} classes, groups {where}", share, draw)


def of_f1(G: int) -> Iterator[Setting]:
    for found, missed, wrong in ((0.3, 0.1, 0.1), (0.1, 0.02, 0.02), (0.05, 0.05, 0.1), (0.45, 0.005, 0.005)):
        rest = 1 - found - missed - wrong
        for rho, per in ((0.0, 5), (0.1, 5), (0.3, 5), (0.3, 20)):
            groups = np.repeat(np.arange(G), per)

            def draw(
                random: Random, shares: tuple[float, ...] = (found, missed, wrong, rest), rho: float = rho,
                groups: NDArray = groups,
            ) -> Interval:  # fmt: skip
                above = random.random(len(groups))[:, None] > np.cumsum(chances(random, shares, rho, G)[groups], 1)
                outcome = above[:, :3].sum(1)  # 0: found, 1: missed, 2: wrong, 3: neither of the class nor predicted
                clips = pd.DataFrame({"clip_id": np.arange(len(groups)).astype(str), "group": groups.astype(str)})
                clips["label"] = np.where(outcome <= 1, "a", "b")
                clips["prediction"] = np.where(outcome % 2, "b", "a")
                clips["correct"] = clips["label"] == clips["prediction"]
                report = class_report(clips, ["a"])
                return report["f1_low"].item(), report["f1_high"].item()

            f1 = 2 * found / (2 * found + missed + wrong)
            yield Setting(f"found {found}, missed {missed}, wrong {wrong}, rho {rho}, {per} clips a group", f1, draw)


def of_changes(G: int) -> Iterator[Setting]:
    for gain, loss in ((0.05, 0.07), (0.02, 0.02), (0.1, 0.3), (0.0, 0.02), (0.2, 0.2), (0.0, 0.9)):
        for rho, per in ((0.0, 1), (0.0, 6), (0.3, 6), (0.3, 20)):
            groups = np.repeat(np.arange(G), per)

            def draw(
                random: Random, gain: float = gain, loss: float = loss, rho: float = rho, groups: NDArray = groups
            ) -> Effect:
                chance = chances(random, (gain, loss, 1 - gain - loss), rho, G)[groups]
                drawn = random.random(len(groups))
                change = (drawn < chance[:, 0]).astype(float)
                change[(drawn >= chance[:, 0]) & (drawn < chance[:, 0] + chance[:, 1])] = -1
                return paired_effect(change, groups)

            yield Setting(f"gained {gain}, lost {loss}, rho {rho}, {per} clips a group", gain - loss, draw)


def drawn_trainings(
    random: Random, S: int, groups: NDArray, sd_of_seed: float, sd_of_group: float, sd_of_both: float
) -> NDArray[np.float64]:
    """(S, N): S trainings on N clips, with parts that a training's, a group's and both's clips share."""
    G = int(groups.max()) + 1
    shared = random.normal(0, sd_of_seed, (S, 1)) + random.normal(0, sd_of_group, G)
    cells = shared + random.normal(0, sd_of_both, (S, G)) if sd_of_both else shared
    return cells[:, groups] + random.normal(0, 0.5, (S, len(groups)))


SOURCES = ((0.0, 1.0, 0.0), (0.5, 0.0, 0.0), (0.5, 1.0, 0.0), (0.1, 1.0, 0.0), (0.2, 0.5, 0.5))


def of_trainings(S: int) -> Callable[[int], Iterator[Setting]]:
    def settings(G: int) -> Iterator[Setting]:
        groups = np.repeat(np.arange(G), 4)
        for of_seed, of_group, of_both in SOURCES:
            if S > 1 or not of_seed + of_both:  # the interval of one training is for this training

                def draw(random: Random, sds: tuple[float, float, float] = (of_seed, of_group, of_both)) -> Effect:
                    return mean_effect(drawn_trainings(random, S, groups, *sds), groups)

                yield Setting(f"sd {of_seed} over trainings, {of_group} over groups, {of_both} over both", 0.0, draw)

    return settings


def of_differences(between: Callable[[NDArray, NDArray, NDArray], Effect]) -> Callable[[int], Iterator[Setting]]:
    """`between` two networks' trainings (S, N) and (S, N), and the groups (N,) of their clips."""

    def settings(G: int) -> Iterator[Setting]:
        groups = np.repeat(np.arange(G), 4)
        for S in (1, 3, 5):
            for of_seed, of_group, of_both in SOURCES:
                if S > 1 or not of_seed + of_both:

                    def draw(
                        random: Random, S: int = S, sds: tuple[float, float, float] = (of_seed, of_group, of_both)
                    ) -> Effect:
                        a, b = (drawn_trainings(random, S, groups, *sds) for _ in range(2))
                        return between(a, b, groups)

                    yield Setting(f"{S} trainings, sd {of_seed}, {of_group}, {of_both}", 0.0, draw)

    return settings


CORRELATIONS = (0.0, 0.5, 0.9, 0.98, 0.998)


def rank_correlation_of(pearson: float) -> float:
    """Spearman's correlation of a normal distribution with Pearson's (Kruskal 1958)."""
    return 6 / np.pi * np.arcsin(pearson / 2)


def of_ranks(G: int) -> Iterator[Setting]:
    for pearson in CORRELATIONS:
        covariance = [[1, pearson], [pearson, 1]]
        for rho, per in ((0.0, 2), (0.0, 5), (0.5, 5)):
            groups = np.repeat(np.arange(G), per)

            def draw(
                random: Random, covariance: list = covariance, rho: float = rho, groups: NDArray = groups
            ) -> Interval:
                shared = random.multivariate_normal([0, 0], covariance, G)[groups] * np.sqrt(rho)
                values = shared + random.multivariate_normal([0, 0], covariance, len(groups)) * np.sqrt(1 - rho)
                codes = rank_codes(values[:, 0]), rank_codes(values[:, 1])
                return jackknife_interval(partial(weighted_rank_correlation, *codes), groups)

            yield Setting(f"correlation {pearson}, rho {rho}, {per} clips a group", rank_correlation_of(pearson), draw)


def of_classes(K: int) -> Iterator[Setting]:
    for pearson in CORRELATIONS:

        def draw(random: Random, pearson: float = pearson) -> Interval:
            a, b = random.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], K).T
            return class_interval(rank_correlation(a, b), K, unbiased_rank_correlation(a, b) if K > 2 else None)

        yield Setting(f"correlation {pearson}", rank_correlation_of(pearson), draw)


KINDS: dict[str, Callable[[int], Iterator[Setting]]] = {
    "mean of α": of_means,
    "share of correct clips": of_shares,
    "mean class accuracy": of_class_means,
    "F1 of a class": of_f1,
    "change of a share on the same clips": of_changes,
    "mean, one training": of_trainings(1),
    "mean over 2 trainings": of_trainings(2),
    "mean over 3 trainings": of_trainings(3),
    "mean over 5 trainings": of_trainings(5),
    "mean over 20 trainings": of_trainings(20),
    "difference on the same clips": of_differences(paired_difference),
    "difference between other clips": of_differences(lambda a, b, groups: unpaired_difference(a, groups, b, groups)),
    "rank correlation over clips": of_ranks,
    "rank correlation over classes (columns: classes)": of_classes,
}


@click.command(help=__doc__)
@click.option("--trials", default=1000, show_default=True, type=click.IntRange(20))
@click.option("--seed", default=0, show_default=True)
def main(trials: int, seed: int) -> None:
    print(f"{trials} trials of each setting, seed {seed}; 95 % intervals\n")
    print_head("interval", "settings", *(f"{G} groups" for G in GROUPS), "p against the interval")
    least = []
    for name, settings in KINDS.items():
        row = {G: [measure_coverage(setting, G, trials, seed) for setting in settings(G)] for G in GROUPS}
        print_row(name, len(row[GROUPS[-1]]), *(shown_range(row[G]) for G in GROUPS), contradictions(row))
        lowest = min(
            (found for some in row.values() for found in some), key=lambda found: np.nan_to_num(found.share, nan=2)
        )
        least.append(f"- {name}: {lowest.share:.3f} ({lowest.groups} groups; {lowest.setting.name})")
        sys.stdout.flush()
    print("\nThe lowest of each row:\n\n" + "\n".join(least))


def shown_range(found: list[Coverage]) -> str:
    shares = [of_one.share for of_one in found if not np.isnan(of_one.share)]
    return f"{min(shares):.3f} to {max(shares):.3f}" if shares else "none"


def contradictions(row: dict[int, list[Coverage]]) -> int:
    return sum(found.contradictions for some in row.values() for found in some)


if __name__ == "__main__":
    main()
