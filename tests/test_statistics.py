"""Intervals and tables of predictions, against SciPy and by hand."""

import math

import pandas as pd
import pytest
from scipy.stats import binomtest

from analysis.statistics import accuracy_per_class, clips_a_class, top_classes, wilson_interval


@pytest.mark.parametrize("successes,n", [(0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (10, 20), (77, 240), (239, 240)])
def test_wilson_interval_is_scipy_s(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=2e-5)


def test_wilson_interval_with_z_of_one_by_hand() -> None:
    # (1/2 + 1/8) / (1 + 1/4) = 1/2; half: sqrt(1/16 + 1/64) / (5/4) = sqrt(5)/10
    assert wilson_interval(2, 4, z=1) == pytest.approx((0.5 - math.sqrt(5) / 10, 0.5 + math.sqrt(5) / 10))


def test_wilson_interval_without_clips_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


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
    assert clips_a_class(pd.Series([20, 20])) == "20 clips a class"
    assert clips_a_class(pd.Series([20, 3])) == "3 to 20 clips a class"
