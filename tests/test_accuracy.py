"""Intervals and tables of predictions, against SciPy and by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t

from analysis.statistics.accuracy import (
    accuracy_per_class,
    describe_clips_per_class,
    describe_groups,
    group_numbers,
    share_interval,
    summarize_accuracy,
    top_classes,
    wilson_interval,
)


@pytest.mark.parametrize("successes,n", [(0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (10, 20), (77, 240), (239, 240)])
def test_wilson_interval_is_scipy_s(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=2e-5)


def test_wilson_interval_with_z_of_one_by_hand() -> None:
    # (1/2 + 1/8) / (1 + 1/4) = 1/2; half: sqrt(1/16 + 1/64) / (5/4) = sqrt(5)/10
    assert wilson_interval(2, 4, z=1) == pytest.approx((0.5 - math.sqrt(5) / 10, 0.5 + math.sqrt(5) / 10))


def test_wilson_interval_without_clips_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


# Ten source videos of two clips each, which are alike. Variance over groups: share (1 - share) / 9; of 20 independent
# clips: share (1 - share) / 19. So the design effect is 19 / 9; and Student's t has 9 degrees of freedom, not 19.
PAIRS, FEW = np.repeat(np.arange(10), 2), (t.ppf(0.975, 19) / t.ppf(0.975, 9)) ** 2
N_PAIRS = 20 * 9 / 19 * FEW
FEW_OF_3 = (t.ppf(0.975, 5) / t.ppf(0.975, 2)) ** 2


@pytest.mark.parametrize(
    ("correct", "groups", "expected"),
    [
        pytest.param([True, True, False, True], range(4), wilson_interval(3, 4), id="a clip is a video"),
        pytest.param([], [], (0, 1), id="no clips"),
        pytest.param([True] * 14 + [False] * 6, PAIRS, wilson_interval(0.7 * N_PAIRS, N_PAIRS), id="pairs"),
        pytest.param([True] * 20, PAIRS, wilson_interval(10 * FEW, 10 * FEW), id="all correct: n is the videos"),
        pytest.param([True, True, False], [0, 0, 0], (0, 1), id="one video"),
        pytest.param([True, False] * 10, PAIRS, wilson_interval(10 * FEW, 20 * FEW), id="videos all alike: no gain"),
        # Share 1/2; residual sums 1/2, -3/2 and 1: 3/2 x 7/2 / 36 relative to 1/4 / 5 is a design effect of 35/12.
        pytest.param(
            [True, False, False, False, True, True],
            [0, 1, 1, 1, 2, 2],
            wilson_interval(3 * 12 / 35 * FEW_OF_3, 6 * 12 / 35 * FEW_OF_3),
            id="other sizes",
        ),
    ],
)
def test_the_interval_of_a_share_by_hand(
    correct: list[bool], groups: Sequence[int], expected: tuple[float, float]
) -> None:
    assert share_interval(np.array(correct, bool), np.array(groups)) == pytest.approx(expected, rel=1e-12)


def test_clips_that_come_twice_have_a_wider_interval() -> None:
    low = share_interval(np.arange(20) < 14, PAIRS)[0]
    assert low < wilson_interval(7, 10)[0] < wilson_interval(14, 20)[0]


def test_95_of_100_intervals_hold_the_truth_where_clips_of_a_video_are_alike() -> None:
    """8 clips of each of 20 videos; a video's own share varies about 0.8."""
    rng = np.random.default_rng(0)
    groups, held, naive, times = np.repeat(np.arange(20), 8), 0, 0, 1000
    for of_video in rng.beta(4, 1, (times, 20)):  # mean 0.8
        correct = rng.random(160) < np.repeat(of_video, 8)
        low, high = share_interval(correct, groups)
        held += low <= 0.8 <= high
        low, high = wilson_interval(int(correct.sum()), 160)
        naive += low <= 0.8 <= high
    assert 0.93 <= held / times <= 0.98 and naive / times < 0.9


def test_groups_of_a_table_that_has_none_are_its_clips() -> None:
    table = pd.DataFrame({"clip_id": ["a", "b", "c"]})
    assert group_numbers(table).tolist() == [0, 1, 2]
    assert group_numbers(table.assign(group=["y", "x", "y"])).tolist() == [0, 1, 0]


def test_accuracy_per_class_is_over_source_videos(predictions: pd.DataFrame) -> None:
    groups = ["v", "v", "w", "w", "v", "w"]
    table = accuracy_per_class(predictions.assign(group=groups), ["a", "b"]).set_index("label")
    expected = share_interval(np.array([True, False, False, False]), np.array([0, 0, 1, 1]))
    assert tuple(table.loc["a", ["low", "high"]]) == expected != wilson_interval(1, 4)


# Class "a": three source videos of 1, 2 and 1 clips. One of them is drawn three times with a chance of 1/27, which is
# more than 2.5 and less than 5 of 100; with a single video, class "b" is the same in each draw.
@pytest.mark.parametrize(
    ("right", "value", "low", "high"),
    [
        ([True, False, False, False, False], 1 / 8, 0, 1 / 2),
        ([False, True, True, True, True], 7 / 8, 1 / 2, 1),
    ],
)
def test_mean_class_accuracy_resamples_the_source_videos_of_each_class(right, value, low, high) -> None:
    predicted_a = [(label == "a") == correct for label, correct in zip("aaaab", right, strict=True)]
    scores = [[0.9, 0.1] if a else [0.1, 0.9] for a in predicted_a]
    groups = ["u", "v", "v", "w", "w"]
    table = pd.DataFrame({"label": list("aaaab"), "group": groups, "scores": scores})
    row = summarize_accuracy(table, ["a", "b"]).set_index("metric").loc["mean class accuracy"]
    assert (row["value"], row["low"], row["high"]) == (value, low, high)
    assert (row["n"], row["groups"]) == (5, 3)


def test_the_rank_of_the_label_decides_about_top_1_and_top_5() -> None:
    """Of 7 classes, labels of rank 0, 4, 5 and 6; two clips of a label that is no class do not count."""
    scores = np.arange(7.0)[::-1]
    table = pd.DataFrame({"label": [*"aefgxy"], "scores": [scores] * 6})
    found = summarize_accuracy(table, [*"abcdefg"]).set_index("metric")
    assert found["value"].tolist() == [0.25, 0.5, 0.25] and found["n"].tolist() == [4, 4, 4]
    none = summarize_accuracy(table.iloc[4:], [*"abcdefg"])
    assert none["value"].isna().all() and (none["low"] == 0).all() and (none["high"] == 1).all()


@pytest.mark.parametrize("n,groups,said", [(24, 24, "24 clips"), (24, 4, "the 4 source videos of 24 clips")])
def test_what_an_interval_is_over(n: int, groups: int, said: str) -> None:
    assert describe_groups(n, groups) == said


@pytest.fixture
def predictions() -> pd.DataFrame:
    pairs = [("a", "a"), ("a", "b"), ("a", "b"), ("a", "c"), ("b", "b"), ("d", "a")]
    table = pd.DataFrame(pairs, columns=["label", "prediction"])
    return table.assign(correct=table["label"] == table["prediction"])


def test_accuracy_per_class_by_hand(predictions: pd.DataFrame) -> None:
    table = accuracy_per_class(predictions, ["b", "a", "c"])
    assert list(table["label"]) == ["b", "a", "c"]  # the order given; "d" is no class of the network
    assert list(table["n"]) == [1, 4, 0]
    assert list(table["correct"]) == [1, 1, 0]
    assert list(table["accuracy"][:2]) == [1.0, 0.25]
    assert math.isnan(table["accuracy"][2])
    assert list(table["most_confused_with"]) == ["", "b", ""]
    assert list(zip(table["low"], table["high"], strict=True)) == [
        wilson_interval(1, 1), wilson_interval(1, 4), (0.0, 1.0),
    ]  # fmt: skip


def test_accuracy_per_class_of_no_clip_at_all(predictions: pd.DataFrame) -> None:
    table = accuracy_per_class(predictions.iloc[:0], ["a", "b"])
    assert list(table["n"]) == [0, 0]
    assert table["accuracy"].isna().all()


@pytest.mark.parametrize("k,labels", [(1, ["c"]), (2, ["c", "a"]), (5, ["c", "a", "b"])])
def test_top_classes(k: int, labels: list[str]) -> None:
    table = top_classes([0.3, 0.1, 0.6], ["a", "b", "c"], k)
    assert list(table["rank"]) == list(range(1, len(labels) + 1))
    assert list(table["label"]) == labels
    assert list(table["score"]) == [0.6, 0.3, 0.1][:k]


def test_top_classes_of_equal_score_keep_their_order() -> None:
    assert list(top_classes([0.25] * 4, ["d", "a", "c", "b"], 3)["label"]) == ["d", "a", "c"]


def test_how_many_clips_the_classes_have() -> None:
    assert describe_clips_per_class(pd.Series([20, 20])) == "20 clips a class"
    assert describe_clips_per_class(pd.Series([20, 3])) == "3 to 20 clips a class"
