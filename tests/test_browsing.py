"""Clip profiles, confusion and calibration against results by hand; and a small run of the browsing benchmark."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.clip_profiles import clip_overview, confusion_profile, similar_clips, unusual_clips
from analysis.runs.run_directory import open_run
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.confusion import confused_pairs, confusion_cells
from benchmarks import browsing
from tests.test_benchmark_decoding import tables
from tests.tiny import write_run
from workbench.cli import main

ALPHAS = [
    [0.5, 0.6],
    [0.4, 0.4],
    [0.5, 0.7],
    [0.4, 0.5],
    [0.9, 0.1],
]  # clips c0 to c4, labels a b a b a, all predicted a


def test_the_overview_has_alpha_and_no_scores(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", ALPHAS, parts=2))
    table = clip_overview(run, read_alpha(run))
    assert "alpha_temporal" not in clip_overview(run)
    assert list(table["clip_id"]) == ["c0", "c1", "c2", "c3", "c4"] and "scores" not in table
    np.testing.assert_allclose(table["alpha_temporal"], [0.55, 0.4, 0.6, 0.45, 0.5])
    assert table["margin"].isna().all() and "needs_order" not in table  # recorded before there were any


def test_confusion_and_its_pairs() -> None:
    table = pd.DataFrame({"label": list("aabbbc"), "prediction": list("abaabc")})
    table["correct"] = table["label"] == table["prediction"]  # as every recorded run has it
    cells = confusion_cells(table).set_index(["label", "prediction"])
    assert cells["n"].to_dict() == {("a", "a"): 1, ("a", "b"): 1, ("b", "a"): 2, ("b", "b"): 1, ("c", "c"): 1}
    assert cells.loc[("b", "a"), "share"] == pytest.approx(2 / 3)
    pairs = confused_pairs(cells.reset_index())
    assert [tuple(row) for row in pairs[["label", "prediction", "n", "reverse"]].to_numpy()] == [
        ("b", "a", 2, 1), ("a", "b", 1, 2),
    ]  # fmt: skip


def test_calibration_by_hand() -> None:
    table = pd.DataFrame({"confidence": [0.95, 0.97, 1.0, 0.31], "correct": [True, False, True, False]})
    bins = calibration_bins(table)
    assert list(bins["n"]) == [1, 3] and list(bins["low"]) == [0.3, 0.9]
    assert list(bins["accuracy"]) == pytest.approx([0, 2 / 3])
    confidence = (0.95 + 0.97 + 1.0) / 3
    assert calibration_error(bins) == pytest.approx((0.31 + 3 * (confidence - 2 / 3)) / 4)


def test_the_profile_of_a_cell_and_of_its_row(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", ALPHAS))
    for file in (run.path / "predictions").iterdir():
        table = pd.read_parquet(file)
        table.loc[table["clip_id"] == "c4", "prediction"] = "b"
        table.to_parquet(file)
    profile = confusion_profile(read_alpha(run), "a", "b").set_index(["part", "layer_index"])
    assert profile.loc[("cell", 0), "alpha_temporal"] == pytest.approx(0.9) and np.isnan(
        profile.loc[("cell", 0), "low"]
    )
    assert profile.loc[("row", 1), "alpha_temporal"] == pytest.approx(0.65) and profile.loc[("row", 1), "n"] == 2
    half = stats.t.ppf(0.975, 1) * np.std([0.6, 0.7], ddof=1) / np.sqrt(2)
    assert profile.loc[("row", 1), "high"] == pytest.approx(0.65 + half)


def test_unusual_and_similar_clips(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", ALPHAS))
    assert unusual_clips(read_alpha(run), 1)["clip_id"].tolist() == ["c4"]
    near = similar_clips(read_alpha(run), "c1", 2)
    assert near["clip_id"].tolist() == ["c3", "c0"]
    assert near["distance"].tolist() == pytest.approx([0.1 / np.sqrt(2), np.sqrt((0.1**2 + 0.2**2) / 2)])


def test_the_overview_has_needs_order_from_probes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ALPHAS[:2])
    (run / "probes").mkdir()
    rows = [
        ("c0", "plain", 0.9),
        ("c0", "shuffled", 0.3),
        ("c0", "shuffled", 0.5),
        ("c1", "plain", 0.8),
        ("c1", "shuffled", 0.8),
    ]
    pd.DataFrame(rows, columns=["clip_id", "probe", "score_label"]).to_parquet(run / "probes" / "part-00000.parquet")
    np.testing.assert_allclose(clip_overview(open_run(run))["needs_order"], [0.5, 0])


@pytest.mark.long
@pytest.mark.browser
def test_the_browsing_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "TIMES_OPENED", 1)  # a page takes seconds in a browser
    size = ["--clips", "600", "--classes", "6", "--layers", "2", "--runs", "2", "--sessions", "2", "--rounds", "1"]
    result = CliRunner().invoke(main, ["benchmark", "browsing", *size])
    assert result.exit_code == 0, result.output
    pages, interactions = tables(result.stdout)
    assert len(pages) == 13 and len(interactions) == 9
    assert all(float(seconds) > 0 for row in pages for seconds in row[1:])
    assert "2 sessions at once: 0 of them show another's state" in result.stdout
