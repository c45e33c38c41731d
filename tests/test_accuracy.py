"""Intervals and tables of predictions, against SciPy and by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.statistics.accuracy import (
    accuracy_per_class,
    class_mean_interval,
    describe_clips_per_class,
    describe_groups,
    group_numbers,
    summarize_accuracy,
    top_classes,
    units_of,
    units_of_clips,
)
from analysis.statistics.shares import share_interval


def test_groups_of_a_table_that_has_none_are_its_clips() -> None:
    table = pd.DataFrame({"clip_id": ["a", "b", "c"]})
    assert group_numbers(table).tolist() == [0, 1, 2]
    assert group_numbers(table.assign(group=["y", "x", "y"])).tolist() == [0, 1, 0]


def test_accuracy_per_class_is_over_source_videos(predictions: pd.DataFrame) -> None:
    groups = ["v", "v", "w", "w", "v", "w"]
    table = accuracy_per_class(predictions.assign(group=groups), ["a", "b"]).set_index("label")
    expected = share_interval(np.array([True, False, False, False]), np.array([0, 0, 1, 1]))
    assert tuple(table.loc["a", ["low", "high"]]) == expected
    assert expected[1] > share_interval(np.arange(4) < 1, np.arange(4))[1]


@pytest.mark.parametrize(
    ("groups", "units"), [([4, 6], "clips"), ([4, 5], "source videos"), ([1, 1], "source videos"), ([], "clips")]
)
def test_what_the_intervals_of_a_table_are_over(groups: list[int], units: str) -> None:
    table = pd.DataFrame({"n": [4, 6][: len(groups)], "groups": groups})
    assert units_of(table) == units
    clips = [f"{row}: {i % of}" for row, (n, of) in enumerate(zip(table["n"], groups, strict=True)) for i in range(n)]
    assert units_of_clips(pd.DataFrame({"group": clips})) == units


def test_mean_class_accuracy_is_the_mean_of_the_classes() -> None:
    predicted_a = [(label == "a") == correct for label, correct in zip("aaaab", [1, 0, 0, 0, 0], strict=True)]
    scores = [[0.9, 0.1] if a else [0.1, 0.9] for a in predicted_a]
    table = pd.DataFrame({"label": list("aaaab"), "group": [*"uvvww"], "scores": scores})
    row = summarize_accuracy(table, ["a", "b"]).set_index("metric").loc["mean class accuracy"]
    assert row["value"] == 1 / 8 and (row["n"], row["groups"]) == (5, 3)
    assert (row["low"], row["high"]) == class_mean_interval(table["label"].eq("a").to_numpy() & (np.arange(5) < 1),
        np.array([0, 0, 0, 0, 1]), np.array([0, 1, 1, 2, 2]))[1:]  # fmt: skip


def test_the_rank_of_the_label_decides_about_top_1_and_top_5() -> None:
    """Of 7 classes, labels of rank 0, 4, 5 and 6; two clips of a label that is no class do not count."""
    scores = np.arange(7.0)[::-1]
    table = pd.DataFrame({"label": [*"aefgxy"], "scores": [scores] * 6})
    found = summarize_accuracy(table, [*"abcdefg"]).set_index("metric")
    assert found["value"].tolist() == [0.25, 0.5, 0.25] and found["n"].tolist() == [4, 4, 4]
    none = summarize_accuracy(table.iloc[4:], [*"abcdefg"])
    assert none[["value", "low", "high"]].isna().all(axis=None)


def test_without_scores_top_5_is_not_known() -> None:
    """As in runs of early versions, which have the prediction alone."""
    table = pd.DataFrame({"label": [*"abab"], "prediction": [*"abbb"], "correct": [True, True, False, True]})
    found = summarize_accuracy(table, ["a", "b"]).set_index("metric")["value"]
    assert found["top-1"] == 0.75 and found["mean class accuracy"] == 0.75 and math.isnan(found["top-5"])


def test_of_equal_scores_the_first_class_is_the_prediction() -> None:
    """As everywhere else: a network that gives each class the same is right where the label is the first one."""
    table = pd.DataFrame({"label": [*"abab"], "scores": [[0.5, 0.5]] * 3 + [[0.2, 0.8]]})
    found = summarize_accuracy(table, ["a", "b"]).set_index("metric")["value"]
    assert found["top-1"] == 0.75 and found["top-5"] == 1 and found["mean class accuracy"] == 0.75
    same = pd.DataFrame({"label": [*"abcdef"], "scores": [[1 / 6] * 6] * 6})
    assert summarize_accuracy(same, [*"abcdef"])["value"].tolist() == [1 / 6, 5 / 6, 1 / 6]


@pytest.mark.parametrize(
    "n,groups,said",
    [(24, 24, "24 clips"), (24, 4, "the 4 source videos of 24 clips"), (24, 1, "24 clips of one source video")],
)
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
    intervals = np.array(
        [proportion_confint(1, 1, method="beta"), proportion_confint(1, 4, method="beta"), [np.nan] * 2]
    )
    np.testing.assert_allclose(table[["low", "high"]].to_numpy(float), intervals, rtol=1e-6)


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
