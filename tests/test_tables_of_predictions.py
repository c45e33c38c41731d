"""The bins of calibration and the cells of confusion, by hand."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.runs.caveats import accuracy_caveats
from analysis.runs.run_directory import open_run, predictions
from analysis.statistics.accuracy import accuracy_per_class, summarize_accuracy
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.confusion import confused_pairs, confusion_cells
from analysis.statistics.results import run_results, with_left_out
from analysis.statistics.shares import share_interval
from tests.tiny import write_run


def rows(pairs: list[tuple[str, str]], **more: object) -> pd.DataFrame:
    """Predictions of (label, prediction)."""
    table = pd.DataFrame(pairs, columns=["label", "prediction"]).assign(clip_id=[f"c{i}" for i in range(len(pairs))])
    return table.assign(correct=table["label"] == table["prediction"], **more)


def test_bins_of_calibration_by_hand() -> None:
    confidence = np.array([0.05, 0.25, 0.29, 0.21, 0.95, 1.0, 0.99], np.float32)
    table = rows([(label, "a") for label in "baabaab"], confidence=confidence)
    bins = calibration_bins(table)
    assert list(bins) == ["low", "high", "n", "confidence", "accuracy", "accuracy_low", "accuracy_high"]
    assert bins[["low", "high", "n"]].to_numpy().tolist() == [[0, 0.1, 1], [0.2, 0.3, 3], [0.9, 1, 3]]
    assert bins["confidence"].tolist() == pytest.approx([0.05, 0.25, 0.98], abs=1e-7)
    assert bins["accuracy"].tolist() == pytest.approx([0, 2 / 3, 2 / 3])
    interval = list(zip(bins["accuracy_low"], bins["accuracy_high"], strict=True))
    assert interval == [share_interval(np.arange(n) < right, np.arange(n)) for right, n in ((0, 1), (2, 3), (2, 3))]
    error = (0.05 + 3 * (2 / 3 - 0.25) + 3 * (0.98 - 2 / 3)) / 7  # below, above, below the diagonal
    assert calibration_error(bins) == pytest.approx(error)
    assert math.isnan(calibration_error(bins[:0]))


def test_a_bins_interval_is_over_source_videos_and_its_means_are_of_full_precision() -> None:
    table = rows([("a", "a"), ("a", "b"), ("b", "b")], confidence=[0.5] * 3, group=["u", "u", "v"])
    found = calibration_bins(table).iloc[0]
    expected = share_interval(np.array([True, False, True]), np.array([0, 0, 1]))
    assert (found["accuracy_low"], found["accuracy_high"]) == expected
    assert expected != share_interval(np.array([True, False, True]), np.arange(3))
    two = np.array([0.91, 0.97], np.float32)  # their mean has a bit more than a float32
    mean = calibration_bins(rows([("a", "a")] * 2, confidence=two))["confidence"][0]
    assert mean == two.astype(float).mean() != two.mean()


PAIRS = ["aa", "ab", "ab", "ac", "ba", "cb", "cb"]  # label, prediction


@pytest.mark.parametrize("kind", ["str", "category"])
def test_cells_of_confusion_by_hand(kind: str) -> None:
    table = rows([(pair[0], pair[1]) for pair in PAIRS])
    cells = confusion_cells(table.astype({"label": kind, "prediction": kind}))
    assert cells.astype({"label": str, "prediction": str}).to_numpy().tolist() == [
        ["a", "a", 1, 0.25],
        ["a", "b", 2, 0.5],
        ["a", "c", 1, 0.25],
        ["b", "a", 1, 1.0],
        ["c", "b", 2, 1.0],
    ]
    pairs = confused_pairs(cells)
    assert list(pairs) == ["label", "prediction", "n", "share", "reverse"]
    assert pairs.index.tolist() == [0, 1, 2, 3]
    assert pairs.astype({"label": str, "prediction": str}).to_numpy().tolist() == [
        ["c", "b", 2, 1.0, 0],  # of two with 2 clips the one with the larger share
        ["a", "b", 2, 0.5, 1],
        ["b", "a", 1, 1.0, 2],
        ["a", "c", 1, 0.25, 0],
    ]


def test_metrics_have_rows_of_their_own_numbers() -> None:
    table = rows([("a", "a"), ("b", "a")], scores=[[0.9, 0.1], [0.6, 0.4]])
    assert summarize_accuracy(table, ["a", "b"]).index.tolist() == [0, 1, 2]


def test_classes_of_a_categorical_column_that_no_clip_has_are_confused_with_none() -> None:
    table = rows([("a", "a"), ("b", "a")]).astype({"label": pd.CategoricalDtype([*"cab"])})
    assert accuracy_per_class(table, [*"abc"])["most_confused_with"].tolist() == ["", "a", ""]


def test_if_all_clips_of_several_videos_are_wrong_the_interval_mirrors_that_of_all_correct() -> None:
    groups = np.array([0, 0, 1, 1])
    low, high = share_interval(np.zeros(4, bool), groups)
    assert (1 - high, 1 - low) == pytest.approx(share_interval(np.ones(4, bool), groups)) and low == 0 < high < 1


def test_results_of_a_run_that_says_little_of_itself(tmp_path: Path) -> None:
    """Runs of earlier versions lack frames, start and seed; top-5 is of the scores."""
    path = write_run(tmp_path / "old", [[0.5], [0.5]])
    part = path / "predictions" / "part-00000.parquet"
    pd.read_parquet(part).assign(scores=[[0.9, 0.1], [0.8, 0.2]]).to_parquet(part)
    run = open_run(path)
    for name in ("arch", "conv"):
        del run.meta[name]
    (row,) = run_results([run]).to_dict("records")
    assert [row[name] for name in ("network", "conv")] == ["", ""]
    assert [row[name] for name in ("frames", "start", "seed", "p", "views")] == ["", "", None, "1/4", "1 x center"]
    assert [row[name] for name in ("n", "top1", "top5", "mean_class", "unread")] == [2, 50, 100, 50, 0]


def test_runs_that_are_left_out_are_rows_at_the_end(tmp_path: Path) -> None:
    path = write_run(tmp_path / "good", [[0.5], [0.5]], frames=8)
    part = path / "predictions" / "part-00000.parquet"
    pd.read_parquet(part).assign(scores=[[0.9, 0.1]] * 2).to_parquet(part)
    results = run_results([open_run(path)])
    both = with_left_out(results, {"bad": "it has no run.json", "worse": "it is empty"})
    assert both.index.tolist() == [0, 1, 2] and both["run"].tolist() == ["good", "bad", "worse"]
    assert both["note"].tolist()[1:] == ["left out: it has no run.json", "left out: it is empty"]
    assert both["n"].tolist() == [2, pd.NA, pd.NA] and str(both["frames"].dtype) == "Int64"
    assert with_left_out(results, {})["n"].tolist() == [2]


def test_all_caveats_of_a_run_stand_in_its_note(tmp_path: Path) -> None:
    path = write_run(tmp_path / "some", [[0.5], [0.5]], trained_clips=1)
    part = path / "predictions" / "part-00000.parquet"
    pd.read_parquet(part).assign(scores=[[0.9, 0.1]] * 2, label=["a", "z"]).to_parquet(part)
    run = open_run(path)
    first, second = accuracy_caveats(run.meta, predictions(run))
    assert run_results([run])["note"][0] == f"{first} {second}"
