"""What the paper says of attention, put to runs of which the answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import (
    alpha_class_layer_table,
    alpha_class_table,
    alpha_clip_table,
    alpha_layer_table,
    depth_weights,
)
from analysis.attention.hypotheses import (
    COMPARISON,
    DATASETS,
    DEPTH,
    MODALITY,
    PROPORTION,
    dataset_kind,
    evaluate_hypotheses,
    group_conditions,
    hypothesis_verdicts,
)
from analysis.runs.run_directory import find_runs, open_run
from tests.tiny import write_run

CLIPS, LAYERS = 30, 4


def alphas(mean: float, rise: float = 0.0, seed: int = 0) -> list[list[float]]:
    """Of 30 clips and 4 layers: the mean over all and the rise from the first layer to the last, and noise of 0.01."""
    rng = np.random.default_rng(seed)
    layers = mean + rise * (np.linspace(0, 1, LAYERS) - 0.5)
    return (layers + rng.normal(0, 0.01, (CLIPS, 1)) + rng.normal(0, 0.002, (CLIPS, LAYERS))).tolist()


def a_run(folder: Path, name: str, mean: float, rise: float = 0.0, noise: int = 0, **meta: Any) -> None:
    layers = [{"index": i, "layer": f"layer{i}.0.conv1", "stage": f"layer{i}"} for i in range(LAYERS)]
    write_run(folder / name, alphas(mean, rise, noise), **({"layers": layers, "data": "/data/set"} | meta))


def verdicts(table: pd.DataFrame, hypothesis: str) -> list[str]:
    return list(table.loc[table["hypothesis"] == hypothesis, "verdict"])


def test_a_study_in_which_all_four_hold(tmp_path: Path) -> None:
    for dataset, shift in (("Something-Something V1", 0.1), ("Kinetics-400", 0.0)):
        for modality, more in (("rgb", 0.0), ("flow", 0.05)):
            for p, less in ((1 / 2, 0.04), (1 / 4, 0.02), (1 / 8, 0.0)):
                varied = {"dataset": dataset, "modality": modality, "temporal_fraction": p}
                a_run(tmp_path, f"{dataset}{modality}{p}", 0.5 + shift + more - less, 0.2, **varied)
    table = evaluate_hypotheses(find_runs(tmp_path))
    counts = table.groupby("hypothesis").size()
    assert counts[DEPTH] == 12 and counts[PROPORTION] == 8 and counts[DATASETS] == 6 and counts[MODALITY] == 6
    assert set(table["verdict"]) == {"holds"} and table["paired"].all()
    assert list(hypothesis_verdicts(table)["verdict"]) == ["holds"] * 4
    expected = {DEPTH: 0.2, PROPORTION: 0.02, DATASETS: 0.1, MODALITY: 0.05}
    for hypothesis, value in expected.items():
        np.testing.assert_allclose(table.loc[table["hypothesis"] == hypothesis, "effect"], value, atol=0.002)
    assert (table["low"] <= table["effect"]).all() and (table["effect"] <= table["high"]).all()
    assert (table["p_holm"] >= table["p"]).all() and (table["n"] == CLIPS).all()


def test_one_in_which_none_holds(tmp_path: Path) -> None:
    a_run(tmp_path, "a", 0.50, -0.1, dataset="jester")
    a_run(tmp_path, "b", 0.45, -0.1, dataset="jester", temporal_fraction=1 / 8)
    a_run(tmp_path, "c", 0.55, -0.1, dataset="ucf101")
    a_run(tmp_path, "d", 0.45, -0.1, dataset="jester", modality="flow")
    found = evaluate_hypotheses(find_runs(tmp_path))
    assert list(found) == COMPARISON and "jester, resnet18 sth, p = 1/4, RGB" in set(found["compared"])
    table = hypothesis_verdicts(found)
    assert list(table["verdict"]) == ["does not hold"] * 4


def test_what_the_noise_hides_is_undecided(tmp_path: Path) -> None:
    a_run(tmp_path, "a", 0.5, 0.0, noise=1, dataset="jester")
    a_run(tmp_path, "b", 0.5, 0.0, noise=2, dataset="jester", temporal_fraction=1 / 8)
    table = evaluate_hypotheses(find_runs(tmp_path))
    assert verdicts(table, PROPORTION) == ["undecided"] and set(verdicts(table, DEPTH)) == {"undecided"}
    assert list(hypothesis_verdicts(table)["verdict"]) == ["undecided", "undecided", "not tested", "not tested"]


def test_comparisons_that_disagree_are_mixed(tmp_path: Path) -> None:
    a_run(tmp_path, "up", 0.5, 0.1, dataset="jester")
    a_run(tmp_path, "down", 0.5, -0.1, dataset="ucf101")
    assert hypothesis_verdicts(evaluate_hypotheses(find_runs(tmp_path)))["verdict"][0] == "mixed"


def test_the_same_clips_are_compared_one_by_one(tmp_path: Path) -> None:
    """The clips differ by 0.01, which is common to both runs, the runs by 0.003: paired it shows, else it does not."""
    for name, data in (("same", "/data/set"), ("other", "/data/elsewhere")):
        a_run(tmp_path / name, "large", 0.500, dataset="jester", data="/data/set")
        a_run(tmp_path / name, "small", 0.503, dataset="jester", data=data, temporal_fraction=1 / 8)
    same, other = (evaluate_hypotheses(find_runs(tmp_path / name)) for name in ("same", "other"))
    same, other = (table[table["hypothesis"] == PROPORTION].iloc[0] for table in (same, other))
    assert same["effect"] == pytest.approx(other["effect"])
    assert (same["paired"], same["verdict"]) == (True, "holds")
    assert (other["paired"], other["verdict"]) == (False, "undecided")


def test_seeds_are_a_level_of_their_own(tmp_path: Path) -> None:
    """Each training is sure of its rise over clips, but they do not agree on it: together they are not sure."""
    for seed, rise in enumerate((0.3, 0.02, -0.1)):
        a_run(tmp_path, f"seed{seed}", 0.5, rise, dataset="jester", seed=seed)
    (condition,) = group_conditions(find_runs(tmp_path))
    assert len(condition.runs) == 3
    row = evaluate_hypotheses(find_runs(tmp_path)).iloc[0]
    assert (row["seeds"], row["verdict"]) == (3, "undecided") and row["low"] < 0 < row["high"]
    for run in condition.runs:
        assert evaluate_hypotheses([run]).iloc[0]["verdict"] in ("holds", "does not hold")


def test_runs_that_do_not_know_their_seed_or_have_the_same_stay_apart(tmp_path: Path) -> None:
    a_run(tmp_path, "a", 0.5)
    a_run(tmp_path, "b", 0.5)
    a_run(tmp_path, "c", 0.5, dataset="again", seed=0)
    a_run(tmp_path, "d", 0.5, dataset="again", seed=0)
    assert [len(c.runs) for c in group_conditions(find_runs(tmp_path))] == [1, 1, 1, 1]


def test_a_single_layer_has_no_depth_to_rise_with(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.5], [0.6]])
    assert evaluate_hypotheses(find_runs(tmp_path)).empty


KINDS = {
    "temporal": [
        "something_v1",
        "Something-Something V2",
        "jester",
        "synthetic: motion",
        "ut_interaction, both directions",
    ],
    "appearance": ["kinetics", "UCF-101", "hmdb51", "synthetic: appearance"],
    "": ["ut_interaction"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_datasets_are_sorted_as_in_section_4_1(kind: str, name: str) -> None:
    assert dataset_kind(name) == kind


def test_tables_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.2, 0.4], [0.4, 0.8], [0.6, 0.6]])  # clips of a, b, a; the first and third are right
    run = open_run(tmp_path / "run")
    alpha = read_alpha(run)
    layers = alpha_layer_table(alpha)
    assert layers["alpha_temporal"].tolist() == pytest.approx([0.4, 0.6]) and layers["n"].tolist() == [3, 3]
    assert layers["alpha_spatial"].tolist() == pytest.approx([0.6, 0.4])
    assert layers["sd"].tolist() == pytest.approx([0.2, 0.2])
    assert layers["error"].tolist() == pytest.approx([0.2 / 3**0.5] * 2)
    assert alpha_clip_table(alpha)["value"].tolist() == pytest.approx([0.3, 0.6, 0.6])
    assert alpha_clip_table(alpha, np.array([-1.0, 1.0]))["value"].tolist() == pytest.approx([0.2, 0.4, 0.0])
    assert depth_weights(2).tolist() == [-1, 1]
    classes = alpha_class_table(alpha).set_index("label")
    assert classes.loc["a", "alpha_temporal"] == pytest.approx(0.45) and classes.loc["b", "n"] == 1
    assert classes["accuracy"].tolist() == [1.0, 0.0]
    cells = alpha_class_layer_table(alpha)
    assert cells["alpha_temporal"].tolist() == pytest.approx([0.4, 0.5, 0.4, 0.8])


def test_the_same_question_has_the_same_answer_to_the_last_digit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_run(tmp_path / "run", rng.uniform(0, 1, (4000, 8)).tolist(), parts=16)
    run = open_run(tmp_path / "run")
    alphas = [read_alpha(run) for _ in range(8)]
    assert len({alpha_layer_table(alpha).to_csv() + alpha_clip_table(alpha).to_csv() for alpha in alphas}) == 1


@pytest.mark.parametrize("of_one_video", [1, 3])
def test_many_groups_are_judged_by_their_moments_with_the_same_result(
    of_one_video: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run", alphas(0.5, 0.1))
    for file in (tmp_path / "run" / "predictions").iterdir():
        table = pd.read_parquet(file)
        numbers = table["clip_id"].str[1:].astype(int) // of_one_video
        table.assign(group="v" + numbers.astype(str)).to_parquet(file)
    run = open_run(tmp_path / "run")
    resampled = alpha_layer_table(read_alpha(run))
    monkeypatch.setattr("analysis.statistics.uncertainty.MOST_GROUPS", 5)
    by_moments = alpha_layer_table(read_alpha(run))
    assert set(resampled["groups"]) == set(by_moments["groups"]) == {CLIPS // of_one_video}
    for column in ("alpha_temporal", "sd", "error"):
        np.testing.assert_allclose(resampled[column], by_moments[column], rtol=1e-9)
    np.testing.assert_allclose(resampled["low"], by_moments["low"], atol=0.5 * resampled["error"].max())
    assert not np.array_equal(resampled["low"], by_moments["low"])
