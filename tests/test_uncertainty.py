"""Standard errors, intervals and corrected p-values, against scipy and statsmodels, and by hand."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.experiments.probe_tables import probe_summary_sentence
from analysis.statistics import uncertainty
from analysis.statistics.uncertainty import (
    cluster_means,
    group_sums,
    holm_correction,
    mcnemar,
    mean_effect,
    p_value,
    paired_effect,
    rank_codes,
    rank_correlation,
    rank_correlations,
    seed_interval,
    standard_error,
    unpaired_effect,
    weighted_rank_correlation,
)


@pytest.fixture
def clustered() -> tuple[np.ndarray, np.ndarray]:
    """60 clips of 12 source videos of 2 to 8 clips, two numbers each, which are alike within a video."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), [2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3])
    return rng.normal(0.5, 0.1, (12, 2))[groups] + rng.normal(0, 0.05, (60, 2)), np.array(
        [f"video {g}" for g in groups]
    )


def test_sums_by_hand() -> None:
    sums, counts = group_sums(np.array([[1.0], [2.0], [4.0]]), np.array(["a", "b", "a"]))
    assert sums.tolist() == [[5], [2]] and counts.tolist() == [2, 1]
    found = cluster_means(sums, counts)
    assert found.value.tolist() == [7 / 3] and (found.n, found.groups) == (3, 2)
    # residual sums of the groups: 5 - 2 * 7/3 = 1/3 and 2 - 7/3 = -1/3
    assert found.error[0] == pytest.approx((2 / 1 * (1 / 9 + 1 / 9)) ** 0.5 / 3)


def test_the_standard_error_without_groups_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, (50, 1))
    assert standard_error(values, np.ones(50))[0] == pytest.approx(stats.sem(values[:, 0]))


def test_the_standard_error_of_groups_is_that_of_statsmodels(clustered: tuple[np.ndarray, np.ndarray]) -> None:
    values, groups = clustered
    error = standard_error(*group_sums(values, groups))
    for k in range(2):
        how = {"groups": np.unique(groups, return_inverse=True)[1], "use_correction": False}
        theirs = sm.OLS(values[:, k], np.ones(60)).fit(cov_type="cluster", cov_kwds=how).bse[0]
        assert error[k] == pytest.approx(theirs * (12 / 11) ** 0.5)
        assert error[k] > 1.5 * stats.sem(values[:, k])  # as if clips were independent, it would be far smaller


def test_the_interval_is_that_of_scipy_s_bootstrap() -> None:
    values = np.random.default_rng(2).gamma(2.0, 0.1, 80)
    found = cluster_means(values[:, None], np.ones(80))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    assert found.low[0] == pytest.approx(theirs.low, abs=0.1 * found.error[0])
    assert found.high[0] == pytest.approx(theirs.high, abs=0.1 * found.error[0])


def test_for_many_groups_the_bootstrap_and_its_limit_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).uniform(0.3, 0.7, (3000, 2))
    limit = cluster_means(values, np.ones(3000))
    monkeypatch.setattr(uncertainty, "MOST_GROUPS", 5000)
    drawn = cluster_means(values, np.ones(3000))
    np.testing.assert_allclose(limit.low, drawn.low, atol=0.15 * limit.error.max())
    np.testing.assert_allclose(limit.high, drawn.high, atol=0.15 * limit.error.max())
    assert not np.array_equal(limit.low, drawn.low)


def test_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(200):
        videos = rng.normal(0, 1, 40)
        values = (videos[:, None] + rng.normal(0, 0.5, (40, 3))).reshape(-1, 1)
        found = cluster_means(*group_sums(values, np.repeat(np.arange(40), 3)))
        hits += found.low[0] < 0 < found.high[0]
    assert 180 <= hits <= 198  # 190 expected; as if the 120 clips were independent, it would be about 150


# Three groups of 1, 2 and 1 values, each drawn 3 times with a chance of 1/27, more than 2.5 and less than 5 of 100.
UNEQUAL = np.array([0, 1, 1, 2])


@pytest.mark.parametrize(("values", "low", "high"), [([1.0, 0, 0, 0], 0, 1), ([0.0, 1, 1, 1], 0, 1)])
def test_the_bootstrap_draws_whole_groups_of_other_sizes(values: list[float], low: float, high: float) -> None:
    found = cluster_means(*group_sums(np.array(values)[:, None], UNEQUAL))
    assert found.numbers[:3] == (np.mean(values), low, high)
    assert (found.n, found.groups) == (4, 3)


def test_with_many_groups_the_interval_is_the_normal_one() -> None:
    found = cluster_means(np.array([[1.0], [0], [0]]), np.array([1.0, 2, 1]), resample=False)
    # residual sums: 3/4, -1/2, -1/4; sqrt(3/2 x 14/16) / 4
    error = (3 / 2 * 14 / 16) ** 0.5 / 4
    expected = (0.25, 0.25 - stats.norm.ppf(0.975) * error, 0.25 + stats.norm.ppf(0.975) * error, error)
    assert found.numbers == pytest.approx(expected)


def test_one_group_tells_nothing() -> None:
    found = cluster_means(np.array([[3.0]]), np.array([4.0]))
    assert np.isnan(found.error[0]) and p_value(0.75, float(found.error[0]), 1) == 1.0


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


def test_the_error_of_several_trainings_is_that_over_clips_and_over_trainings() -> None:
    found = mean_effect(TRAININGS, np.arange(3))
    error = (OVER_SEEDS + OVER_CLIPS) ** 0.5
    half = stats.t.ppf(0.975, 1) * error  # two trainings: one degree of freedom
    assert (found.value, found.n, found.seeds) == (3, 3, 2)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / error, 1))
    errors, halves = seed_interval(np.array([[1.0, 10], [3, 10]]), np.array([0.0, np.nan]))
    assert errors.tolist() == [1, 0] and halves == pytest.approx([stats.t.ppf(0.975, 1), 0])


def test_welch_s_test_has_the_errors_of_both_sides_over_clips_and_trainings() -> None:
    other = np.array([[0.0, 2, 4, 6]])  # one training, mean 3, squared error 20/3 / 4, 3 degrees of freedom
    found = unpaired_effect(TRAININGS + 1, np.arange(3), other, np.arange(4))
    a, b = OVER_SEEDS + OVER_CLIPS, 5 / 3
    df = (a + b) ** 2 / (a**2 / 1 + b**2 / 3)
    half = stats.t.ppf(0.975, df) * (a + b) ** 0.5
    assert (found.value, found.n, found.seeds) == (1, 7, 1)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(1 / (a + b) ** 0.5, df))
    alone = unpaired_effect(TRAININGS[:1], np.zeros(3), other, np.arange(4))  # one source video tells nothing
    assert alone.p == 1 and np.isnan([alone.low, alone.high]).all() and alone.value == -1


def test_a_difference_of_other_clips_is_welch_s_t_test() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.5, 0.1, (1, 30)), rng.normal(0.45, 0.2, (1, 50))
    found = unpaired_effect(a, np.arange(30), b, np.arange(50))
    theirs = stats.ttest_ind(a[0], b[0], equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.2, 0.9], [], [0.5, 0.6, 0.9], [0.9, 0.01], [1.0, 1.0]]
)
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert holm_correction(p) == pytest.approx(multipletests(p, method="holm")[1].tolist() if p else [])


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1), (1, 1, 1), (3, 3, 1), (2, 3, 1), (0, 1, 1), (0, 6, 2 / 64), (5, 1, 14 / 64), (1, 5, 14 / 64)],
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-12)
    if gained + lost:
        assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


@pytest.mark.parametrize(
    ("value", "error", "groups", "p"),
    [
        (1.0, 0.5, 2, 2 * stats.t.sf(2, 1)),
        (-1.0, 0.5, 6, 2 * stats.t.sf(2, 5)),
        (0.0, 0.5, 6, 1),
        (0.0, 0.0, 6, 1),
        (0.1, 0.0, 6, 0),
        (0.1, 0.0, 1, 1),
        (0.1, np.nan, 1, 1),
        (0.1, 0.01, 1, 1),  # one group tells nothing, whatever its error
    ],
)
def test_p_of_a_mean_by_hand(value: float, error: float, groups: int, p: float) -> None:
    assert p_value(value, error, groups) == pytest.approx(p)


def test_p_of_paired_changes_is_the_larger_of_two() -> None:
    change = np.repeat([1.0, 0.0], 6)
    # Clips of their own: six gained and none lost, 2 / 2**6, is more than Student's t has.
    alone = paired_effect(change, np.arange(12))
    assert alone.p == 2 / 64 > stats.ttest_1samp(change, 0).pvalue and alone.value == 0.5
    # All six of one of two source videos: residual sums 3 and -3, error 0.5, t = 1 with one degree of freedom.
    assert paired_effect(change, np.repeat([0, 1], 6)).p == pytest.approx(2 * stats.t.sf(1, 1))


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([[10.0, 20, 40]])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.zeros(3), np.array([3.0, 2, 1])) == 0  # a constant has no ranks


def test_a_weighted_rank_correlation_is_that_of_repeated_values() -> None:
    random = np.random.default_rng(1)
    a, b, weight = random.integers(0, 5, 40), random.integers(0, 5, 40), random.integers(0, 4, 40)
    expected = stats.spearmanr(np.repeat(a, weight), np.repeat(b, weight))[0]
    assert weighted_rank_correlation(rank_codes(a), rank_codes(b), weight.astype(float)) == pytest.approx(expected)
    assert weighted_rank_correlation(rank_codes(np.ones(40)), rank_codes(b), weight.astype(float)) == 0


def test_rank_correlations_over_classes_and_over_clips() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(list("abcde"), 6)
    alpha = random.normal(size=30)
    clips = pd.DataFrame({"label": labels, "group": [f"g{i % 6}" for i in range(30)], "alpha": alpha})
    clips["drop"] = alpha + random.normal(size=30)
    found = rank_correlations(clips, "alpha", "drop").set_index("over")
    means = clips.groupby("label")[["alpha", "drop"]].mean()
    assert found.loc["clips", "value"] == pytest.approx(stats.spearmanr(clips["alpha"], clips["drop"])[0])
    assert found.loc["classes", "value"] == pytest.approx(stats.spearmanr(means["alpha"], means["drop"])[0])
    assert list(found["n"]) == [5, 30] and (found["low"] <= found["high"]).all()
    alone = rank_correlations(clips.assign(group="one"), "alpha", "drop")
    assert alone["low"].isna().all() and alone["value"].notna().all()
    assert rank_correlations(clips.assign(alpha=np.nan), "alpha", "drop")["value"].isna().all()
    constant = rank_correlations(clips.assign(alpha=0.1), "alpha", "drop").assign(layer="mean")
    assert constant[["value", "low", "high"]].isna().all(axis=None)
    assert "is the same in all clips" in probe_summary_sentence(constant)


@pytest.mark.parametrize(("clips", "known"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_rank_correlation_needs_three_values(clips: int, known: bool) -> None:
    numbers = np.arange(float(clips))
    table = pd.DataFrame({"label": list("abcd")[:clips], "group": list("wxyz")[:clips], "x": numbers, "y": numbers**2})
    found = rank_correlations(table, "x", "y")
    assert found["n"].tolist() == [clips] * 2
    assert found["value"].tolist() == pytest.approx([1, 1] if known else [np.nan] * 2, nan_ok=True)


def test_the_bootstrap_of_a_rank_correlation_resamples_whole_groups() -> None:
    """Against resampled rows, group by group."""
    random = np.random.default_rng(2)
    clips = pd.DataFrame({"label": "a", "group": random.integers(0, 7, 40), "x": random.normal(size=40)})
    clips["y"] = clips["x"] + random.normal(size=40)
    members = [np.flatnonzero(clips["group"] == g) for g in clips["group"].unique()]
    draws = np.random.default_rng(0)
    drawn = []
    for _ in range(uncertainty.CORRELATION_RESAMPLES):
        rows = np.concatenate([members[i] for i in draws.integers(len(members), size=len(members))])
        drawn.append(stats.spearmanr(clips["x"].iloc[rows], clips["y"].iloc[rows])[0])
    found = rank_correlations(clips, "x", "y").set_index("over").loc["clips"]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_classes_that_a_resample_does_not_draw_have_no_mean_in_it() -> None:
    """Each class is a source video of its own, so that most resamples lack some."""
    clips = pd.DataFrame({"label": [*"abcdef"], "group": [*"uvwxyz"], "x": range(6), "y": [1, 2, 3, 4, 5, 9]})
    found = rank_correlations(clips, "x", "y")
    assert found[["value", "low", "high"]].to_numpy().tolist() == [[1, 1, 1]] * 2
