"""Intervals and p-values: against statsmodels, scipy and brute force, by hand, and by how often they hold the truth."""

import math
from functools import partial
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from analysis.experiments.probe_tables import probe_summary_sentence
from analysis.statistics.accuracy import class_mean_interval
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, cluster_means, describe_interval, group_sums, quantile_of_t
from analysis.statistics.correlations import (
    class_interval,
    jackknife_interval,
    rank_codes,
    rank_correlation,
    rank_correlations,
    unbiased_rank_correlation,
    weighted_rank_correlation,
)
from analysis.statistics.effects import (
    Spread,
    half_widths,
    holm_correction,
    mean_effect,
    p_value,
    paired_difference,
    unpaired_difference,
)
from analysis.statistics.shares import INDEPENDENT, exact_interval, paired_effect, share_interval, tango_interval
from benchmarks.coverage import KINDS, measure_coverage

SIZES = [2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3]
UNEQUAL = np.repeat(np.arange(len(SIZES)), SIZES)


@pytest.fixture
def clustered() -> np.ndarray:
    """Two numbers of each of 60 clips of 12 source videos, alike within a video."""
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 0.1, (12, 2))[UNEQUAL] + rng.normal(0, 0.05, (60, 2))


def test_sums_and_the_mean_of_two_groups_by_hand() -> None:
    sums, counts = group_sums(np.array([[1.0], [2.0], [4.0]]), np.array(["a", "b", "a"]))
    assert sums.tolist() == [[5], [2]] and counts.tolist() == [2, 1]
    found = cluster_means(sums, counts)
    assert found.value.tolist() == [7 / 3] and (found.n, found.groups) == (3, 2)
    # residual sums 1/3 and -1/3, weighed by 1 / (1 - 2/3) and 1 / (1 - 1/3); two groups: one degree of freedom
    assert found.error[0] == pytest.approx(((3 + 1.5) / 9) ** 0.5 / 3) and found.df == pytest.approx(1)
    half = stats.t.ppf(0.975, 1) * found.error
    assert (found.low, found.high) == (pytest.approx(found.value - half), pytest.approx(found.value + half))


def test_values_without_groups_have_the_interval_of_scipy() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 50)
    found = cluster_means(values[:, None], np.ones(50))
    theirs = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.error[0] == pytest.approx(stats.sem(values)) and found.df == pytest.approx(49)
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(theirs))


def test_the_error_and_the_degrees_of_freedom_are_those_of_the_matrices(clustered: np.ndarray) -> None:
    """CR2 and Bell and McCaffrey's degrees of freedom as they are defined for any regression, of a constant."""
    N, G = len(clustered), len(SIZES)
    hat = np.full((N, N), 1 / N)
    parts = []
    for g in range(G):
        own = np.equal(UNEQUAL, g)
        values, vectors = np.linalg.eigh(np.eye(own.sum()) - hat[np.ix_(own, own)])
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        parts.append((np.eye(N) - hat)[:, own] @ root @ np.full(own.sum(), 1 / N))
    P = np.array(parts)  # residuals @ part of a group: what it adds to the error
    B = P @ P.T
    found = cluster_means(*group_sums(clustered, UNEQUAL))
    assert found.error**2 == pytest.approx(((P @ clustered) ** 2).sum(0))
    assert found.df == pytest.approx(np.trace(B) ** 2 / (B**2).sum()) and 9 < found.df < 11
    how = {"groups": UNEQUAL, "use_correction": False}
    plain = sm.OLS(clustered[:, 0], np.ones(N)).fit(cov_type="cluster", cov_kwds=how).bse[0]
    assert 1.03 * plain < found.error[0] < 1.07 * plain  # without the small-sample correction it is smaller


def test_one_group_tells_nothing() -> None:
    found = cluster_means(np.array([[3.0]]), np.array([4.0]))
    assert found.value[0] == 0.75 and np.isnan([found.error[0], found.low[0], found.high[0], found.df]).all()
    assert describe_interval(found.low[0], found.high[0], ".2f") == "no interval: one source video"
    for seeds in (1, 5):
        alone = mean_effect(np.ones((seeds, 4)), np.zeros(4))
        assert alone.value == 1 and np.isnan([alone.low, alone.high, alone.p]).all()
    assert np.isnan([*share_interval(np.ones(4), np.zeros(4)), *share_interval(np.ones(0), np.zeros(0))]).all()
    change = paired_effect(np.array([1.0, 0, 0]), np.zeros(3))
    assert change.value == 1 / 3 and np.isnan([change.low, change.high, change.p]).all()
    assert np.isnan(class_mean_interval(np.ones(4, bool), np.arange(4) % 2, np.zeros(4, int))[1:]).all()


def test_the_mean_class_accuracy_of_faultless_clips_has_a_lower_limit_alone() -> None:
    value, low, high = class_mean_interval(np.ones(12, bool), np.arange(12) % 2, np.arange(12) // 3)
    assert value == high == 1 and 0 < low < 1


# Effects.


def test_an_effect_of_one_training_is_scipy_s_t_test() -> None:
    values = np.random.default_rng(5).normal(0.02, 0.1, (1, 40))
    found = mean_effect(values, np.arange(40))
    assert found.p == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue)
    assert (found.n, found.seeds, found.value) == (40, 1, pytest.approx(values.mean()))


def test_an_effect_of_several_trainings_is_as_sure_as_they_agree() -> None:
    """Three trainings, a thousand clips without noise: what is left is Student's t over the three."""
    values = np.array([0.1, 0.2, 0.3])[:, None] + np.zeros((3, 1000))
    found = mean_effect(values, np.arange(1000))
    theirs = stats.ttest_1samp([0.1, 0.2, 0.3], 0)
    assert found.p == pytest.approx(theirs.pvalue) and found.seeds == 3
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))


# Two trainings and three clips: the trainings' means are 2 and 4, the clips' 1, 3 and 5.
TRAININGS = np.array([[1.0, 2, 3], [1, 4, 7]])
OVER_SEEDS, OVER_CLIPS = 2 / 2, 4 / 3  # squared errors: variance 2 of 2 trainings, 4 of 3 clips


def test_the_squares_of_half_widths_are_added() -> None:
    found = mean_effect(TRAININGS, np.arange(3))
    half = (stats.t.ppf(0.975, 1) ** 2 * OVER_SEEDS + stats.t.ppf(0.975, 2) ** 2 * OVER_CLIPS) ** 0.5
    assert (found.value, found.n, found.seeds) == (3, 3, 2)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    at_p = (
        stats.t.ppf(1 - found.p / 2, 1) ** 2 * OVER_SEEDS + stats.t.ppf(1 - found.p / 2, 2) ** 2 * OVER_CLIPS
    ) ** 0.5
    assert at_p == pytest.approx(3)  # the interval of level 1 - p ends at zero


def test_a_difference_has_the_spread_of_both_sides_trainings() -> None:
    other = np.array([[0.0, 2, 4]])
    paired = paired_difference(TRAININGS, other, np.arange(3))  # by clip 1, 1, 1: no spread over clips
    half = stats.t.ppf(0.975, 1) * OVER_SEEDS**0.5
    assert (paired.value, paired.n, paired.seeds) == (1, 3, 1)
    assert (paired.low, paired.high) == pytest.approx((1 - half, 1 + half))
    unpaired = unpaired_difference(TRAININGS, np.arange(3), np.array([[0.0, 2, 4, 6]]), np.arange(4))
    squares = half**2 + stats.t.ppf(0.975, 2) ** 2 * OVER_CLIPS + stats.t.ppf(0.975, 3) ** 2 * 5 / 3
    assert (unpaired.value, unpaired.n, unpaired.high) == (0, 7, pytest.approx(squares**0.5)) and unpaired.p == 1
    alone = unpaired_difference(TRAININGS[:1], np.zeros(3), other, np.arange(3))  # one source video tells nothing
    assert np.isnan([alone.low, alone.high, alone.p]).all() and alone.value == 0


@pytest.mark.parametrize(
    ("value", "variance", "df", "p"),
    [
        (1.0, 0.25, 1, 2 * stats.t.sf(2, 1)),
        (-1.0, 0.25, 5, 2 * stats.t.sf(2, 5)),
        (0.0, 0.25, 5, 1),
        (0.0, 0.0, 5, 1),
        (0.1, 0.0, 5, 0),
        (0.1, np.nan, np.nan, np.nan),
        (1.0, 1e-6, 100, 2 * stats.t.sf(1000, 100)),
        (1.0, 1e-12, 1000, 1e-100),
    ],
)
def test_p_by_hand(value: float, variance: float, df: float, p: float) -> None:
    found = p_value(value, [Spread(np.array([variance]), df)])
    assert found == pytest.approx(p, rel=1e-6, nan_ok=True)


def test_no_p_is_smaller_than_the_smallest() -> None:
    assert p_value(1.0, [Spread(np.array([1e-6]), np.inf)]) == pytest.approx(1e-100, rel=1e-6, abs=0)


def test_the_reach_of_an_interval() -> None:
    assert quantile_of_t(math.inf) == pytest.approx(stats.norm.ppf(0.975))
    assert quantile_of_t(3, 0.1) == pytest.approx(stats.t.ppf(0.95, 3))
    assert half_widths([Spread(np.array([4.0, 9.0]), math.inf)]) == pytest.approx(1.959964 * np.array([2, 3]))
    assert SIGNIFICANCE_LEVEL == 0.05


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.2, 0.9], [], [0.5, 0.6, 0.9], [0.9, 0.01], [1.0, 1.0]]
)
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    expected = multipletests(p, method="holm")[1].tolist() if p else []
    assert holm_correction(p) == pytest.approx(expected)
    with_untested = holm_correction([np.nan, *p, np.nan])
    assert with_untested[1:-1] == pytest.approx(expected) and np.isnan([with_untested[0], with_untested[-1]]).all()


# Shares.


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 7), (7, 7), (3, 7), (59, 60), (100, 240)])
def test_a_share_of_independent_clips_has_the_exact_interval(right: int, n: int) -> None:
    correct = np.arange(n) < right
    theirs = proportion_confint(right, n, method="beta")
    found = share_interval(correct, np.arange(n))
    assert found == pytest.approx(tuple(theirs))
    assert exact_interval(right / n, n, stats.norm.ppf(0.975)) == pytest.approx(tuple(theirs))


def test_likeness_within_source_videos_widens_the_interval_of_a_share() -> None:
    correct, groups = np.tile([1, 1, 1, 0], 20), np.repeat(np.arange(20), 4)
    independent = proportion_confint(60, 80, method="beta")
    assert share_interval(correct, groups) == pytest.approx(tuple(independent))  # never narrower, though all are alike
    alike = np.repeat(np.arange(20) % 4 > 0, 4)  # whole videos are right or wrong: 15 of 20
    low, high = share_interval(alike, groups)
    wide_low, wide_high = proportion_confint(15, 20, method="beta")
    assert wide_low - 0.03 < low < wide_low + 0.01 and wide_high - 0.01 < high < wide_high + 0.03
    few = np.repeat(np.arange(20) > 3, 4)  # four videos are wrong: too few to tell that they are alike
    assert share_interval(few, groups)[0] <= proportion_confint(16, 20, method="beta")[0] + 1e-9
    assert share_interval(np.ones(80), groups) == pytest.approx(tuple(proportion_confint(20, 20, method="beta")))


def brute_tango(gained: int, lost: int, n: int, change: float) -> float:
    """The score statistic at a true change, its share of lost clips found by maximising the likelihood."""

    def unlikeliness(share_lost: float) -> float:
        chances = np.array([share_lost + change, share_lost, 1 - 2 * share_lost - change])
        return -float((np.array([gained, lost, n - gained - lost]) * np.log(np.maximum(chances, 1e-300))).sum())

    low, high = max(0.0, -change), (1 - change) / 2
    share = optimize.minimize_scalar(unlikeliness, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * change) / math.sqrt(n * (2 * share + change * (1 - change)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 2, 50), (1, 9, 40), (0, 5, 60), (7, 7, 30), (3, 4, 60)])
def test_the_interval_of_a_change_is_tango_s(gained: int, lost: int, n: int) -> None:
    low, high = tango_interval(gained, lost, n, 1.96)
    assert brute_tango(gained, lost, n, low) == pytest.approx(1.96, abs=1e-3)
    assert brute_tango(gained, lost, n, high) == pytest.approx(-1.96, abs=1e-3)
    change = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])
    found = paired_effect(change, np.arange(n))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4) and found.n == n
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(gained - lost) / math.sqrt(gained + lost)))


def test_a_change_of_no_clip_and_one_of_all_have_an_interval() -> None:
    none, every = paired_effect(np.zeros(60), np.arange(60)), paired_effect(-np.ones(60), np.arange(60))
    assert (
        none.value == 0
        and none.low == pytest.approx(-none.high)
        and none.high == pytest.approx(3.8415 / (60 + 3.8415), abs=1e-4)
        and none.p == 1
    )
    assert (
        every.value == -1 == every.low
        and every.high == pytest.approx(-(60 - 3.8415) / (60 + 3.8415), abs=1e-4)
        and every.p < 1e-10
    )
    assert np.isnan(paired_effect(np.zeros(0), np.zeros(0)).p)


def test_a_change_that_whole_source_videos_share_counts_once_for_each() -> None:
    change = np.repeat([1.0, 0.0], [60, 60])
    alone, alike = paired_effect(change, np.arange(120)), paired_effect(change, np.repeat(np.arange(12), 10))
    assert alone.value == alike.value == 0.5 and alone.p < 1e-10 < 0.001 < alike.p < 0.05
    assert alike.high - alike.low > 2.5 * (alone.high - alone.low)


def test_mean_class_accuracy_by_hand() -> None:
    """Three classes of 1, 2 and 5 clips, each a source video: the mean is not that of the clips."""
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    correct = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
    value, low, high = class_mean_interval(correct, labels, np.arange(8))
    assert value == pytest.approx((1 + 0.5 + 0.8) / 3)
    assert (low, high) == pytest.approx(exact_interval(value, 9 / (1 + 1 / 2 + 1 / 5), stats.norm.ppf(0.975)))


def test_mean_class_accuracy_of_classes_of_equal_size_has_the_reach_of_a_regression() -> None:
    rng = np.random.default_rng(3)
    G, K = 30, 4
    groups, labels = np.repeat(np.arange(G), 8), np.tile(np.arange(K), 2 * G)
    correct = rng.random(len(groups)) < np.repeat(rng.beta(2, 1, G), 8)
    value, low, high = class_mean_interval(correct, labels, groups)
    X = np.eye(K)[labels]
    fit = sm.OLS(correct.astype(float), X).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    error = math.sqrt(np.full(K, 1 / K) @ fit.cov_params() @ np.full(K, 1 / K))
    clips = len(groups)
    errors = stats.t.ppf(0.975, G - 1) * error * math.sqrt(G / (G - 1)) / math.sqrt(value * (1 - value) / clips)
    assert errors > 2.2  # the clips of a video are alike
    assert (low, high) == pytest.approx(exact_interval(value, clips, errors), abs=2e-3)


@pytest.mark.parametrize(("share", "likeness"), [(0.6, 0.0), (0.6, 1.0), (0.93, 0.0), (0.9, 1.0)])
def test_mean_class_accuracy_of_any_sizes_is_that_of_loops_over_classes_and_groups(share, likeness) -> None:
    """Four classes of different sizes in 14 source videos, and one whose clips are all of the first."""
    rng = np.random.default_rng(11)
    labels = np.concatenate([rng.choice(4, 60, p=[0.1, 0.2, 0.3, 0.4]), np.full(5, 4)])
    groups = np.concatenate([np.arange(60) % 14, np.zeros(5, int)])
    of_clip, of_video = rng.random(65), rng.random(14)
    correct = np.where(rng.random(65) < likeness, of_video[groups], of_clip) < share
    shares = [correct[labels == k].mean() for k in range(5)]
    value, clips = float(np.mean(shares)), 25 / sum(1 / (labels == k).sum() for k in range(5))
    variance, told, columns = 0.0, 0.0, []
    for g in range(14):
        residual, column = 0.0, np.zeros(65)
        for k in range(5):
            own, n = (groups == g) & (labels == k), (labels == k).sum()
            told += bool(own.any()) / 25 / sum((groups[labels == k] == i).any() for i in range(14)) ** 2
            if own.sum() == n:  # counts as one clip
                variance += value * (1 - value) / 25
            elif own.any():
                weight = 1 / math.sqrt(1 - own.sum() / n) / (5 * n)
                residual += weight * (correct[own] - shares[k]).sum()
                column += weight * (own - np.where(labels == k, own.sum() / n, 0))
        variance += residual**2
        columns.append(column)
    products = np.array(columns) @ np.array(columns).T
    df = np.trace(products) ** 2 / (products**2).sum()
    errors = max(1.959964, stats.t.ppf(0.975, df) * math.sqrt(variance * clips / (value * (1 - value))))
    if sum((~correct[groups == g]).any() for g in range(14)) < 5:  # from so few the likeness cannot be told
        errors = max(errors, 1.959964 * math.sqrt(clips / min(14, 1 / told)))
    assert 0 < value < 1
    found = class_mean_interval(correct, labels, groups)
    assert found == pytest.approx((value, *exact_interval(value, clips, errors)), abs=1e-6)


# Rank correlations.


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([[10.0, 20, 40]])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    for one, other in ((np.zeros(3), np.arange(3.0)), (np.arange(3.0), np.ones(3)), (np.zeros(3), np.zeros(3))):
        assert np.isnan(rank_correlation(one, other))  # a constant has no ranks


def test_a_weighted_rank_correlation_is_that_of_repeated_values() -> None:
    random = np.random.default_rng(1)
    a, b, weight = random.integers(0, 5, 40), random.integers(0, 5, 40), random.integers(0, 4, 40)
    expected = stats.spearmanr(np.repeat(a, weight), np.repeat(b, weight))[0]
    assert weighted_rank_correlation(rank_codes(a), rank_codes(b), weight.astype(float)) == pytest.approx(expected)
    assert weighted_rank_correlation(rank_codes(np.ones(40)), rank_codes(b), weight.astype(float)) == 0


def test_rank_correlations_over_classes_and_over_clips() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(list("abcdefgh"), 4)
    alpha = random.normal(size=32)
    clips = pd.DataFrame({"label": labels, "group": [f"g{i % 10}" for i in range(32)], "alpha": alpha})
    clips["drop"] = alpha + random.normal(size=32)
    found = rank_correlations(clips, "alpha", "drop").set_index("over")
    means = clips.groupby("label")[["alpha", "drop"]].mean()
    of_classes = float(stats.spearmanr(means["alpha"], means["drop"])[0])
    assert found.loc["clips", "value"] == pytest.approx(stats.spearmanr(clips["alpha"], clips["drop"])[0])
    assert found.loc["classes", "value"] == pytest.approx(of_classes)
    assert list(found["n"]) == [8, 32] and (found["low"] <= found["high"]).all()
    half = 1.959964 * math.sqrt((1 + of_classes**2 / 2) / 5)
    assert class_interval(of_classes, 8) == pytest.approx(
        (math.tanh(math.atanh(of_classes) - half), math.tanh(math.atanh(of_classes) + half)), abs=1e-6
    )
    alone = rank_correlations(clips.assign(group="one"), "alpha", "drop")
    assert np.isnan(alone["low"][1]) and alone["value"].notna().all()
    seven = rank_correlations(clips[clips["label"] < "h"], "alpha", "drop")
    assert np.isnan(seven["low"][0]) and "no interval: fewer than 8 classes" in probe_summary_sentence(
        seven.assign(layer="mean")
    )
    assert rank_correlations(clips.assign(alpha=np.nan), "alpha", "drop")["value"].isna().all()
    constant = rank_correlations(clips.assign(alpha=0.1), "alpha", "drop").assign(layer="mean")
    assert constant[["value", "low", "high"]].isna().all(axis=None)
    assert "is the same in all clips" in probe_summary_sentence(constant)


def test_a_rank_correlation_needs_three_values_and_two_different_ones_in_each_column() -> None:
    clips = pd.DataFrame({"label": list("abc"), "group": list("uvw"), "alpha": [0.1, 0.2, 0.4], "drop": [3.0, 5, 5]})
    three = rank_correlations(clips.assign(other=[1, np.nan, np.nan]), "alpha", "drop")  # nan elsewhere does not count
    assert three["value"].tolist() == pytest.approx([math.sqrt(3) / 2] * 2) and list(three["n"]) == [3, 3]
    assert rank_correlations(clips[:2], "alpha", "drop")["value"].isna().all()
    assert list(rank_correlations(clips.assign(drop=[1, np.nan, 2]), "alpha", "drop")["n"]) == [2, 2]


def test_the_jackknife_leaves_out_whole_source_videos() -> None:
    random = np.random.default_rng(2)
    x, groups = random.normal(size=40), random.permutation(np.arange(40) % 9)
    y = x + random.normal(size=40)
    z = np.arctanh([stats.spearmanr(x[groups != g], y[groups != g])[0] for g in range(9)])
    error = math.sqrt(8 / 9 * ((z - z.mean()) ** 2).sum())
    centre = math.atanh(stats.spearmanr(x, y)[0])
    codes = rank_codes(x), rank_codes(y)
    found = jackknife_interval(lambda weight: weighted_rank_correlation(*codes, weight), groups)
    half = stats.t.ppf(0.975, 8) * error
    assert found == pytest.approx((math.tanh(centre - half), math.tanh(centre + half)))
    left_out: list[float] = []
    many = jackknife_interval(lambda weight: left_out.append(5000 - weight.sum()) or 0.5, np.arange(5000))
    assert left_out == [50] * 100 + [0]  # a hundredth at a time
    assert many == class_interval(0.5, 5000)  # the same without any: no error can be taken from that


@pytest.mark.parametrize("n", [8, 12, 20, 30])
def test_the_interval_of_a_rank_correlation_holds_its_own_estimate(n: int) -> None:
    places = np.arange(n)
    swapped = np.r_[1, 0, places[2:]]
    random = [np.random.default_rng(seed).permutation(n) for seed in range(5)]
    for other in (places, places[::-1], swapped, swapped[::-1], *random):
        clips = pd.DataFrame({"label": places, "group": places, "alpha": places, "drop": other})
        found = rank_correlations(clips, "alpha", "drop")
        assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
        assert (found["high"] - found["low"] > 1e-4).all()


def test_a_perfect_ranking_has_the_interval_of_the_nearest_one_up_to_1() -> None:
    """Of 8 classes with two neighbours swapped it is 1 - 12 / (8 x 63) = 41 / 42."""
    z, half = math.atanh(41 / 42), 1.959964 * math.sqrt((1 + (41 / 42) ** 2 / 2) / 5)
    assert class_interval(1, 8) == pytest.approx((math.tanh(z - half), 1), abs=1e-6)
    assert class_interval(-1, 8) == pytest.approx((-1, -math.tanh(z - half)), abs=1e-6)
    codes = rank_codes(np.arange(8))
    perfect = jackknife_interval(lambda weight: weighted_rank_correlation(codes, codes, weight), np.arange(8))
    assert perfect == class_interval(1, 8)


@pytest.mark.parametrize("videos", [20, 60])
def test_of_a_nearly_perfect_ranking_the_sizes_of_source_videos_change_nothing(videos: int) -> None:
    """Without any of them it is as near to 1 as that of so many clips can be, so their numbers say no error."""
    groups = np.r_[np.arange(videos), videos - 1]  # two clips of the last one
    for a in (np.arange(videos + 1.0), np.arange(-videos, 1.0)):
        b = a.copy()
        b[3] = b[4]
        codes = rank_codes(np.arange(videos + 1)), rank_codes(b)
        value = weighted_rank_correlation(*codes, np.ones(videos + 1))
        found = jackknife_interval(partial(weighted_rank_correlation, *codes), groups)
        assert found == class_interval(value, videos, value) and found[1] == 1


@pytest.mark.parametrize("n", [8, 10, 20])
@pytest.mark.parametrize("pearson", [0.8, 0.9, 0.95])
def test_the_interval_of_a_high_rank_correlation_of_few_classes_holds_the_truth(n: int, pearson: float) -> None:
    """Nine of ten and more, of 400 data sets: at 0.94, fewer than 0.9 are seen once in a thousand cases."""
    random, held = np.random.default_rng(n), 0
    truth = 6 / math.pi * math.asin(pearson / 2)
    for _ in range(400):
        a = random.normal(size=n)
        low, high = class_interval(
            rank_correlation(a, pearson * a + math.sqrt(1 - pearson**2) * random.normal(size=n)), n
        )
        held += low <= truth <= high
    assert held >= 360


def test_the_mean_of_the_unbiased_rank_correlation_is_that_of_the_population() -> None:
    """Over all samples of five of nine pairs; that of the samples is lower."""
    a, b = np.arange(9), np.array([0, 2, 1, 3, 5, 4, 8, 6, 7])
    some = [list(chosen) for chosen in combinations(range(9), 5)]
    tau = np.mean([np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in combinations(range(9), 2)])
    grade = np.mean([3 * np.sign((a[i] - a[j]) * (b[i] - b[k])) for i, j, k in permutations(range(9), 3)])
    of_samples = np.mean([rank_correlation(a[chosen], b[chosen]) for chosen in some])
    assert of_samples == pytest.approx((3 * tau + 3 * grade) / 6) and of_samples < grade
    assert np.mean([unbiased_rank_correlation(a[chosen], b[chosen]) for chosen in some]) == pytest.approx(grade)
    assert unbiased_rank_correlation(a, -a) == -1 == -unbiased_rank_correlation(a, a)


def test_near_1_an_interval_reaches_beyond_the_value_without_bias_and_near_minus_1_too() -> None:
    z, half = math.atanh(0.93), 1.959964 * math.sqrt((1 + 0.93**2 / 2) / 17)
    low, high = class_interval(0.9, 20, 0.93)
    assert (low, high) == pytest.approx((class_interval(0.9, 20)[0], math.tanh(z + half)), abs=1e-6)
    assert class_interval(-0.9, 20, -0.93) == pytest.approx((-high, -low))
    assert class_interval(0.9, 20, 1.01)[1] == 1 and class_interval(0.9, 20, 0.5) == class_interval(0.9, 20)
    assert class_interval(0.7, 20, 0.75) == class_interval(0.7, 20)
    random = np.random.default_rng(3)
    a = random.normal(size=60)
    b, groups = a + 0.1 * random.normal(size=60), np.arange(60) // 4
    correlations = (partial(weighted_rank_correlation, rank_codes(a), rank_codes(other)) for other in (b, -b))
    one, other = (jackknife_interval(correlation, groups) for correlation in correlations)
    assert one == pytest.approx((-other[1], -other[0])) and one[0] < stats.spearmanr(a, b)[0] < one[1]


def test_near_1_clips_of_a_source_video_each_have_the_interval_of_classes() -> None:
    random, truth, held = np.random.default_rng(0), 6 / math.pi * math.asin(0.998 / 2), 0
    for _ in range(400):
        a, b = random.multivariate_normal([0, 0], [[1, 0.998], [0.998, 1]], 8).T
        clips = pd.DataFrame({"label": list("aabbccdd"), "group": np.arange(8), "a": a, "b": b})
        of_clips = rank_correlations(clips, "a", "b").iloc[1]
        held += of_clips["low"] <= truth <= of_clips["high"]
    assert held >= 366  # of the jackknife's 0.9 of them did


# How often an interval holds the truth. Of 400 trials at 0.95, fewer than 0.915 are seen once in 500 cases.

COVERED = [
    ("mean of α", 2, ""), ("mean of α", 4, "rho 0.5, unequal"), ("mean of α", 8, "rho 0.2, equal"),
    ("mean of α", 30, "rho 0.5, equal"),
    ("share of correct clips", 4, "share 0.97, rho 0.0, 1 "), ("share of correct clips", 8, "share 0.9, rho 0.5, 30"),
    ("mean class accuracy", 4, "share 0.9, rho 0.3, 6 classes, groups spanning"),
    ("mean class accuracy", 30, "share 0.5, rho 0.3, 20 classes, groups spanning"),
    ("change of a share on the same clips", 60, "gained 0.0, lost 0.02, rho 0.0, 1 "),
    ("change of a share on the same clips", 30, "gained 0.1, lost 0.3, rho 0.3, 6"),
    ("mean over 2 trainings", 30, "sd 0.5 over trainings, 0.0 over groups"),
    ("mean over 5 trainings", 4, "sd 0.1 over trainings, 1.0"),
    ("mean over 20 trainings", 4, "sd 0.0 over trainings, 1.0"),
    ("difference between other clips", 8, "3 trainings, sd 0.5, 1.0"),
    ("rank correlation over clips", 8, "correlation 0.5, rho 0.5"),
    ("rank correlation over clips", 8, "correlation 0.998, rho 0.0, 2 "),
    ("rank correlation over clips", 30, "correlation 0.998, rho 0.5"),
    ("rank correlation over classes (columns: classes)", 8, "correlation 0.5"),
    ("rank correlation over classes (columns: classes)", 8, "correlation 0.98"),
    ("rank correlation over classes (columns: classes)", 12, "correlation 0.998"),
    ("rank correlation over classes (columns: classes)", 100, "correlation 0.98"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "groups", "setting"), COVERED)
def test_an_interval_holds_the_truth_as_often_as_it_says(kind: str, groups: int, setting: str) -> None:
    found = next(of for of in KINDS[kind](groups) if of.name.startswith(setting))
    measured = measure_coverage(found, groups, trials=400)
    assert measured.share >= 0.915 and measured.contradictions == 0


def test_ten_source_videos_with_a_change_are_enough_to_tell_how_alike_their_clips_are() -> None:
    groups = np.arange(48) // 4
    for changed, factor in ((10, 1), (9, 2)):  # of the standard error of 48 clips, and of 12
        change = np.zeros(48)
        change[: 4 * changed : 4] = 1  # a clip of each
        effect = paired_effect(change, groups)
        assert (effect.low, effect.high) == pytest.approx(tango_interval(changed, 0, 48, factor * INDEPENDENT))
