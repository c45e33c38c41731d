"""`sth benchmark statistics`, on runs as small as it makes them; and that made runs are what a recording writes."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import alpha_class_layer_table, alpha_class_table, alpha_layer_table
from analysis.runs.run_directory import Run, open_run, predictions
from analysis.statistics.clusters import cluster_means, group_sums
from benchmarks.duckdb_by_hand import QUERIES, by_hand
from benchmarks.made_runs import make_run
from benchmarks.statistics import NUMBERS
from sth_core.shards import shards
from tests.test_benchmark_decoding import tables
from workbench.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(make_run(tmp_path_factory.mktemp("runs") / "made", clips=5000, classes=7, layers=3))


def test_what_each_figure_costs_is_printed() -> None:
    size = ["--clips", "100", "--classes", "6", "--layers", "2", "--rounds", "1"]
    result = CliRunner().invoke(main, ["benchmark", "statistics", *size, "--only", "layers"])
    assert result.exit_code == 0, result.output
    assert "100 clips x 6 classes x 2 layers" in result.stdout
    ((ours, by_hand),) = tables(result.stdout)
    assert ours[0] == "Figures 5, 6, 8: mean and interval of each layer"
    assert by_hand[0] == "DuckDB by hand: Figures 5, 6, 8"
    for _, seconds, processor, peak in (ours, by_hand):
        assert 0 < float(seconds) < 60 and 0 <= float(processor) < 60 and int(peak) > 30


@pytest.mark.parametrize("name", NUMBERS)
def test_each_of_the_numbers_can_be_had(name: str, made: Run, tmp_path: Path) -> None:
    for i, modality in enumerate(("rgb", "flow")):
        make_run(tmp_path / modality, 100, 6, 2, seed=i, modality=modality)
    result = CliRunner().invoke(main, ["benchmark", "statistics", "--only", name, "--runs", str(tmp_path)])
    assert result.exit_code == 0, result.output


def test_a_made_run_is_what_a_recording_writes(made: Run, recorded: Path) -> None:
    of_clips = open_run(recorded)
    assert not made.problem and not of_clips.problem
    one, other = predictions(made), predictions(of_clips)
    assert set(one) == set(other) and len(one) == 5000
    assert [one[c].dtype.kind for c in sorted(one)] == [other[c].dtype.kind for c in sorted(one)]
    assert np.allclose(np.stack(list(one["scores"])).sum(1), 1, atol=1e-5)
    first, second = (pd.read_parquet(shards(run.path, "attention")[0]) for run in (made, of_clips))
    assert list(first) == list(second)


def test_the_tables_are_those_of_queries_by_hand(made: Run) -> None:
    """DuckDB over the same files; CR2 errors against those behind our intervals."""
    alpha = read_alpha(made)
    layers, classes, by_class_and_layer = (by_hand(made.path, name).df() for name in QUERIES)
    ours = alpha_layer_table(alpha)
    near = partial(np.testing.assert_allclose, rtol=1e-6)
    near(ours[["n", "alpha_temporal", "sd"]], layers[["n", "mean", "sd"]])
    near(cluster_means(*group_sums(alpha.temporal, alpha.clips["group"])).error, layers["error"])
    found = alpha_class_table(alpha)
    assert list(found["label"]) == list(classes["label"])
    near(found[["n", "accuracy", "alpha_temporal"]], classes[["n", "accuracy", "mean"]])
    half = (found["high"] - found["low"]) / 2 / classes["error"]  # Student's t of some hundred degrees of freedom
    assert half.between(1.96, 1.98).all()
    near(alpha_class_layer_table(alpha)[["n", "alpha_temporal"]], by_class_and_layer[["n", "mean"]])


def test_the_interval_of_many_groups_is_the_clustered_one(made: Run) -> None:
    """Against the sandwich by hand: squares of each group's deviation from the mean, over one less its share."""
    clips = predictions(made)[["clip_id", "group"]]
    assert 2000 < clips["group"].nunique() < len(clips)
    table = alpha_layer_table(read_alpha(made))
    attention = pd.concat(pd.read_parquet(file) for file in sorted((made.path / "attention").iterdir()))
    for i in range(3):
        mine = attention[attention["layer_index"] == i].merge(clips, on="clip_id")
        deviations = (mine["alpha_temporal"] - mine["alpha_temporal"].mean()).groupby(mine["group"]).sum()
        share = mine["group"].value_counts().reindex(deviations.index) / len(mine)
        expected = np.sqrt((deviations**2 / (1 - share)).sum()) / len(mine)
        half = (table["high"][i] - table["low"][i]) / 2
        assert half == pytest.approx(1.9605 * expected, rel=5e-4)  # of more than 2,000 groups
