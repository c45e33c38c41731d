"""What the paper says of attention, put to runs of which the answer is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import (
    alpha_class_layer_table,
    alpha_class_table,
    alpha_clip_table,
    alpha_layer_table,
    depth_weights,
)
from analysis.attention.conditions import Pair, dataset_kind, group_conditions
from analysis.attention.hypotheses import (
    COMPARISON,
    DATASETS,
    DEPTH,
    MODALITY,
    PROPORTION,
    compare_pair,
    evaluate_hypotheses,
    hypothesis_verdicts,
)
from analysis.report.figures_5_to_8 import runs_not_drawn
from analysis.report.report_sources import find_sources
from analysis.report.seed_summary import runs_not_in_means
from analysis.report.supplement import write_figures
from analysis.report.view_parts import view_part
from analysis.runs.run_directory import Run, find_runs, open_run
from analysis.runs.saved_views import SavedView
from analysis.statistics.effects import paired_difference
from tests.test_app import ATTENTION, FIGURES, open_page, words
from tests.tiny import write_run
from workbench.networks import network_for_report

CLIPS, LAYERS = 30, 4


def alphas(mean: float, rise: float = 0.0, seed: int = 0) -> list[list[float]]:
    """Of 30 clips and 4 layers: the mean over all and the rise from the first layer to the last, and noise of 0.01."""
    rng = np.random.default_rng(seed)
    layers = mean + rise * (np.linspace(0, 1, LAYERS) - 0.5)
    return (layers + rng.normal(0, 0.01, (CLIPS, 1)) + rng.normal(0, 0.002, (CLIPS, LAYERS))).tolist()


RECIPE = {"optimisation": {"epochs": 14}}


def a_run(folder: Path, name: str, mean: float, rise: float = 0.0, noise: int = 0, **meta: Any) -> None:
    layers = [{"index": i, "layer": f"layer{i}.0.conv1", "stage": f"layer{i}"} for i in range(LAYERS)]
    described = {"layers": layers, "data": "/data/set", "recipe": RECIPE, "trained_on": "0"} | meta
    write_run(folder / name, alphas(mean, rise, noise), **described)


def trainings(folder: Path, name: str, mean: float, rise: float = 0.0, **meta: Any) -> None:
    """Three seeds, whose means differ by 0.001."""
    for seed in range(3):
        a_run(folder, f"{name} {seed}", mean + 0.001 * seed, rise, seed=seed, **meta)


def verdicts(table: pd.DataFrame, hypothesis: str) -> list[str]:
    return list(table.loc[table["hypothesis"] == hypothesis, "verdict"])


def test_a_study_in_which_all_four_hold(tmp_path: Path) -> None:
    for dataset, shift in (("Something-Something V1", 0.1), ("Kinetics-400", 0.0)):
        for modality, more in (("rgb", 0.0), ("flow", 0.05)):
            for p, less in ((1 / 2, 0.04), (1 / 4, 0.02), (1 / 8, 0.0)):
                varied = {"dataset": dataset, "modality": modality, "temporal_fraction": p}
                trainings(tmp_path, f"{dataset}{modality}{p}", 0.5 + shift + more - less, 0.2, **varied)
    tested = evaluate_hypotheses(find_runs(tmp_path))
    table = tested.comparisons
    counts = table.groupby("hypothesis").size()
    assert counts[DEPTH] == 12 and counts[PROPORTION] == 8 and counts[DATASETS] == 6 and counts[MODALITY] == 6
    assert set(table["verdict"]) == {"holds"} and table["paired"].all() and set(table["seeds"]) == {3}
    assert list(hypothesis_verdicts(tested)["verdict"]) == ["holds"] * 4
    expected = {DEPTH: 0.2, PROPORTION: 0.02, DATASETS: 0.1, MODALITY: 0.05}
    for hypothesis, value in expected.items():
        np.testing.assert_allclose(table.loc[table["hypothesis"] == hypothesis, "effect"], value, atol=0.002)
    assert (table["low"] <= table["effect"]).all() and (table["effect"] <= table["high"]).all()
    assert (table["p_holm"] >= table["p"]).all() and (table["n"] == CLIPS).all()
    assert not any(tested.left_out.values())


def test_one_in_which_none_holds(tmp_path: Path) -> None:
    trainings(tmp_path, "a", 0.50, -0.1, dataset="jester")
    trainings(tmp_path, "b", 0.45, -0.1, dataset="jester", temporal_fraction=1 / 8)
    trainings(tmp_path, "c", 0.55, -0.1, dataset="ucf101")
    trainings(tmp_path, "d", 0.45, -0.1, dataset="jester", modality="flow")
    tested = evaluate_hypotheses(find_runs(tmp_path))
    found = tested.comparisons
    assert list(found) == COMPARISON and "jester, resnet18 sth, p = 1/4, RGB" in set(found["compared"])
    assert list(hypothesis_verdicts(tested)["verdict"]) == ["does not hold"] * 4


def test_what_the_noise_hides_is_undecided(tmp_path: Path) -> None:
    for seed in range(3):
        a_run(tmp_path, f"a{seed}", 0.5 + 0.02 * seed, 0.01 * seed - 0.01, seed=seed, dataset="jester")
        changed = {"dataset": "jester", "temporal_fraction": 1 / 8}
        a_run(tmp_path, f"b{seed}", 0.55 - 0.02 * seed, 0.01 - 0.01 * seed, seed=seed, **changed)
    tested = evaluate_hypotheses(find_runs(tmp_path))
    assert verdicts(tested.comparisons, PROPORTION) == ["undecided"]
    assert set(verdicts(tested.comparisons, DEPTH)) == {"undecided"}
    assert list(hypothesis_verdicts(tested)["verdict"]) == ["undecided", "undecided", "not tested", "not tested"]


def test_one_training_of_each_is_about_these_networks_only(tmp_path: Path) -> None:
    """However sure the clips are: they say nothing of another training."""
    a_run(tmp_path, "a", 0.50, 0.1, seed=0, dataset="jester")
    a_run(tmp_path, "b", 0.53, 0.1, seed=0, dataset="jester", temporal_fraction=1 / 8)
    tested = evaluate_hypotheses(find_runs(tmp_path))
    row = tested.comparisons[tested.comparisons["hypothesis"] == PROPORTION].iloc[0]
    assert row["verdict"] == "these networks only" and np.isnan(row["p_holm"]) and row["p"] < 1e-20
    # the spread is taken to be 0.01: t with 2 degrees of freedom is 4.303, and 4.303 x 0.01 x sqrt(2 / 3) = 0.035
    # is more than the effect; with 4 seeds it is 3.182 x 0.01 x sqrt(2 / 4) = 0.0225
    assert row["seeds_needed"] == 4
    assert hypothesis_verdicts(tested)["these_only"].tolist() == [2, 1, 0, 0]
    assert hypothesis_verdicts(tested)["verdict"].tolist()[:2] == ["these networks only"] * 2


def test_null_comparisons_of_networks_that_vary_are_rarely_decided() -> None:
    """Of 300 pairs of networks without a true difference, whose trainings spread by 0.02, 5 % are."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        shared = rng.normal(0.5, 0.01, 20)
        a, b = (shared + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.002, (3, 20)) for _ in range(2))
        found += paired_difference(a, b, np.arange(20)).p < 0.05
    assert found <= 24  # P(more of 300 at 5 %) = 0.01


def test_comparisons_that_disagree_are_mixed(tmp_path: Path) -> None:
    trainings(tmp_path, "up", 0.5, 0.1, dataset="jester")
    trainings(tmp_path, "down", 0.5, -0.1, dataset="ucf101")
    assert hypothesis_verdicts(evaluate_hypotheses(find_runs(tmp_path)))["verdict"][0] == "mixed"


NETWORKS_THAT_DIFFER_IN_MORE = {
    "in a fact": ({"width": 16}, "they also differ in width (not recorded, 16)"),
    "in the start": ({"start": "ImageNet"}, "they also differ in start (not recorded, ImageNet)"),
    "in the data": ({"trained_on": "1"}, "they also differ in trained on (0, 1)"),
    "in the protocol": (
        {"protocol": {"crop": "three"}},
        "they also differ in protocol.crop (not recorded, three)",
    ),
    "in the recipe": (
        {"recipe": {"optimisation": {"epochs": 4}}},
        "they also differ in optimisation.epochs (14, 4)",
    ),
    "unknown": ({"recipe": {}}, "it is not recorded how one of them was trained"),
}


@pytest.mark.parametrize("case", NETWORKS_THAT_DIFFER_IN_MORE)
def test_networks_that_differ_in_more_are_not_compared_and_it_is_said(case: str, tmp_path: Path) -> None:
    more, why = NETWORKS_THAT_DIFFER_IN_MORE[case]
    trainings(tmp_path, "a", 0.50, dataset="jester", temporal_fraction=1 / 8)
    trainings(tmp_path, "b", 0.45, dataset="jester", **more)
    tested = evaluate_hypotheses(find_runs(tmp_path))
    assert tested.of(PROPORTION).empty
    [(name, reason)] = tested.left_out[PROPORTION].items()
    assert name == "jester, resnet18 sth, RGB: p = 1/8 less 1/4" and reason.startswith(why)


def test_two_networks_never_have_one_name(tmp_path: Path) -> None:
    for width in (8, 16):
        trainings(tmp_path, f"w{width}", 0.5, 0.1, dataset="jester", width=width)
    names = list(evaluate_hypotheses(find_runs(tmp_path)).comparisons["compared"])
    assert names == [f"jester, resnet18 sth, p = 1/4, RGB ({i})" for i in (1, 2)]


def test_the_same_clips_are_compared_one_by_one(tmp_path: Path) -> None:
    """The clips differ by 0.01, which is common to both runs, the runs by 0.003: paired it shows, else it does not."""
    for name, data in (("same", "/data/set"), ("other", "/data/elsewhere")):
        for seed in range(3):
            of_seed = {"dataset": "jester", "seed": seed, "data": "/data/set"}
            a_run(tmp_path / name, f"large{seed}", 0.500, **of_seed)
            a_run(tmp_path / name, f"small{seed}", 0.503, **(of_seed | {"data": data, "temporal_fraction": 1 / 8}))
    same, other = (group_conditions(find_runs(tmp_path / name)) for name in ("same", "other"))
    paired, unpaired = (compare_pair(Pair("", small, large)) for large, small in (same, other))
    assert paired.effect.value == pytest.approx(unpaired.effect.value)
    assert paired.paired and paired.effect.low > 0 and not unpaired.paired and unpaired.effect.low < 0


def test_two_questions_with_other_clips_held_out_are_compared_on_all_of_them(tmp_path: Path) -> None:
    """Of 30 clips each, 10 are the same: the comparison is over all 60, and not paired."""
    for seed in range(3):
        for name, mean in (("up", 0.52), ("who", 0.5)):
            a_run(tmp_path, f"{name}{seed}", mean, seed=seed, dataset=name)
    for run in tmp_path.glob("who*"):
        for file in run.glob("*/part-*.parquet"):
            table = pd.read_parquet(file)
            other = "d" + table["clip_id"].str.removeprefix("c")
            table.assign(clip_id=table["clip_id"].where(table["clip_id"] < "c2", other)).to_parquet(file)
    up, who = group_conditions(find_runs(tmp_path))
    compared = compare_pair(Pair("", up, who))
    assert (compared.paired, compared.effect.n, round(compared.effect.value, 6)) == (False, 60, 0.02)


def test_seeds_are_a_level_of_their_own(tmp_path: Path) -> None:
    """Each training is sure of its rise over clips, but they do not agree on it: together they are not sure."""
    for seed, rise in enumerate((0.3, 0.02, -0.1)):
        a_run(tmp_path, f"seed{seed}", 0.5, rise, dataset="jester", seed=seed)
    (condition,) = group_conditions(find_runs(tmp_path))
    assert len(condition.runs) == 3
    row = evaluate_hypotheses(find_runs(tmp_path)).comparisons.iloc[0]
    assert (row["seeds"], row["verdict"]) == (3, "undecided") and row["low"] < 0 < row["high"]
    for run in condition.runs:
        alone = evaluate_hypotheses([run]).comparisons.iloc[0]
        assert alone["verdict"] == "these networks only" and (alone["low"] > 0 or alone["high"] < 0)


def test_runs_that_do_not_know_their_seed_or_have_the_same_stay_apart(tmp_path: Path) -> None:
    a_run(tmp_path, "a", 0.5)
    a_run(tmp_path, "b", 0.5)
    a_run(tmp_path, "c", 0.5, dataset="again", seed=0)
    a_run(tmp_path, "d", 0.5, dataset="again", seed=0)
    assert [len(c.runs) for c in group_conditions(find_runs(tmp_path))] == [1, 1, 1, 1]


def test_seeds_for_a_rise_with_depth_are_by_the_spread_of_the_rise(tmp_path: Path) -> None:
    """Rises of -0.05, 0.03 and 0.11 have a standard deviation of 0.08, the means none: t with 2 degrees of freedom,
    4.303 x 0.08 / sqrt(3) = 0.2, is above 0.03, and so it is until t x 0.08 / sqrt(S) is below, of 30 seeds."""
    for seed, rise in enumerate((-0.05, 0.03, 0.11)):
        write_run(tmp_path / f"{seed}", [[0.5 - rise / 2, 0.5 + rise / 2]] * 10, seed=seed)
    row = evaluate_hypotheses(find_runs(tmp_path)).of(DEPTH).iloc[0]
    assert row["effect"] == pytest.approx(0.03) and (row["seeds"], row["verdict"]) == (3, "undecided")
    expected = next(S for S in range(4, 51) if stats.t.ppf(0.975, S - 1) * 0.08 / S**0.5 < 0.03)
    assert row["seeds_needed"] == expected == 30


def test_a_network_that_was_recorded_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for p in (1 / 8, 1 / 4):
        trainings(tmp_path, f"p {p}", 0.5 - 0.2 * p, 0.1, dataset="jester", temporal_fraction=p)
    once = evaluate_hypotheses(find_runs(tmp_path))
    meta = {"dataset": "jester", "temporal_fraction": 1 / 4, "seed": 2, "checkpoint_sha256": "sha of p 0.25 2"}
    a_run(tmp_path, "again", 0.452, 0.1, **meta, finished="2024-02-01T00:00:00+00:00")
    a_run(tmp_path, "before", 0.452, 0.1, **meta, finished="2023-02-01T00:00:00+00:00")
    conditions = group_conditions(find_runs(tmp_path))
    assert sorted(run.name for c in conditions for run in c.runs if c["p"] == "1/4") == [
        "again", "p 0.25 0", "p 0.25 1"
    ]  # fmt: skip
    tested = evaluate_hypotheses(find_runs(tmp_path))
    pd.testing.assert_frame_equal(tested.of(PROPORTION), once.of(PROPORTION))
    assert tested.of(DEPTH)["seeds"].tolist() == [3, 3]
    why = dict.fromkeys(("before", "p 0.25 2"), "the same network was recorded again as again")
    runs = find_runs(tmp_path)
    assert runs_not_drawn(runs) == runs_not_in_means(runs) == why
    written = write_figures(runs, tmp_path / "figures", pictures=False)
    assert written and {f"left out: {name}: {reason}" for name, reason in why.items()} <= {*written.left_out}
    for page in (ATTENTION, FIGURES):
        said = words(open_page(tmp_path, monkeypatch, page))
        assert all(name in said and reason in said for name, reason in why.items()), page
    shown = next(
        line for line in words(open_page(tmp_path, monkeypatch, ATTENTION)).splitlines() if "Runs shown" in line
    )
    assert "again" in shown and "before" not in shown and "p 0.25 2" not in shown
    assert tested.left_out[DEPTH] == tested.left_out[PROPORTION] == why and tested.left_out[MODALITY] == {}


def test_all_figures_are_of_the_recording_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, mean, month in (("a, first", 0.4, "01"), ("a, last", 0.6, "02")):
        finished = f"2024-{month}-01T00:00:00+00:00"
        a_run(tmp_path / "runs", name, mean, 0.1, checkpoint_sha256="x", seed=0, finished=finished)
        (file,) = (tmp_path / "runs" / name / "predictions").iterdir()
        table = pd.read_parquet(file)
        table.assign(prediction=table["label"], correct=True, path="v.mp4").to_parquet(file)
    written = write_figures(find_runs(tmp_path / "runs"), tmp_path / "figures", pictures=False)
    assert written and "left out: a, first: the same network was recorded again as a, last" in written.left_out
    named = {
        file.stem: [run["run"] for run in json.loads(file.read_text())["runs"]]
        for file in (tmp_path / "figures").glob("figure*.json")
    }
    assert {"figure5_layers", "figure9_appearance_classes"} <= named.keys()
    assert all(runs == ["a, last"] for runs in named.values()), named
    a_run(tmp_path / "runs", "none", 0.5, attention=False)
    assert "Runs: a, last" in words(open_page(tmp_path / "runs", monkeypatch, FIGURES)).splitlines()
    view = SavedView(Path(), "name", "", "figures", {"runs": ["a, first", "a, last", "none"]}, "")
    part = view_part(view, find_sources([tmp_path / "runs"], network_for_report, lambda path: ""))
    assert part.facts == ["1 run: a, last."]
    assert part.problems[:2] == [
        "none is not shown: it was recorded without attention.",
        "a, first is not shown: the same network was recorded again as a, last.",
    ]


def test_earlier_recordings_of_one_name_are_named_by_their_paths(tmp_path: Path) -> None:
    for network, p in (("x", 1 / 4), ("y", 1 / 8)):
        for name, year in (("first", 2023), ("second", 2024)):
            meta = {"checkpoint_sha256": network, "finished": f"{year}-02-01T00:00:00+00:00"}
            a_run(tmp_path / network, name, 0.5, 0.1, temporal_fraction=p, seed=0, **meta)
    again = "the same network was recorded again as "
    assert runs_not_drawn(find_runs(tmp_path)) == {
        str(tmp_path / network / "first"): f"{again}{tmp_path / network / 'second'}" for network in "xy"
    }


def test_hypotheses_are_not_said_to_show_runs_without_alpha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, "with", 0.4, 0.1, seed=0)
    a_run(tmp_path, "vit", 0.6, 0.1, seed=0, signal="time_share", uniform_share=0.5, conv="other", temporal_fraction=0)
    (file,) = (tmp_path / "vit" / "attention").iterdir()
    renamed = pd.read_parquet(file).rename(columns={"alpha_temporal": "time_share"}).drop(columns="alpha_spatial")
    renamed.to_parquet(file)
    for chosen, show, shown in (
        (["vit", "with"], "Figures", "vit, with"), (["vit", "with"], "Hypotheses", "with"), (["vit"], "Hypotheses", ""),
    ):  # fmt: skip
        said = words(open_page(tmp_path, monkeypatch, ATTENTION, runs=chosen, show=show))
        lines = [line for line in said.splitlines() if line.startswith("Runs shown: ")]
        assert lines == [f"Runs shown: {shown}"] * bool(shown) and ("it has no α" in said) == ("vit" not in shown)
    view = SavedView(Path(), "name", "", "attention", {"runs": ["vit", "with"], "show": ["Hypotheses"]}, "")
    part = view_part(view, find_sources([tmp_path], network_for_report, lambda path: ""))
    assert part.facts == ["1 run: with."] and "vit is not shown: it has no α." in part.problems


def test_recordings_of_one_network_on_other_data_stay_apart(tmp_path: Path) -> None:
    for name, split in (("val", "val"), ("test", "test")):
        a_run(tmp_path, name, 0.5, seed=0, split=split, checkpoint_sha256="one")
    assert [c.left_out for c in group_conditions(find_runs(tmp_path))] == [(), ()]


def test_a_single_layer_has_no_depth_to_rise_with(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.5], [0.6]])
    assert evaluate_hypotheses(find_runs(tmp_path)).comparisons.empty


KINDS = {
    "temporal": [
        "something_v1",
        "Something-Something V2",
        "something-something",
        "sthv1",
        "SSv2",
        "jester",
        "20bn-jester-v1",
    ],
    "appearance": ["kinetics", "Kinetics-400", "k400", "K-700", "mini-kinetics-200", "UCF-101", "hmdb51"],
    "": [
        "ut_interaction",
        "emotion_faces",
        "motion",
        "my kinetics",
        "k",
        "ucf10",
        "synthetic: motion",
        "kinetics: scene",
    ],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_datasets_are_sorted_as_in_section_4_1_and_nothing_is_guessed(kind: str, name: str) -> None:
    run = Run(Path("run"), {"dataset": name})
    assert dataset_kind(run) == kind
    assert dataset_kind(Run(run.path, run.meta | {"kind": "temporal"})) == "temporal"
    assert dataset_kind(Run(run.path, run.meta | {"direction": True})) == "temporal"


def test_tables_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.2, 0.4], [0.4, 0.8], [0.6, 0.6]])  # clips of a, b, a; the first and third are right
    run = open_run(tmp_path / "run")
    alpha = read_alpha(run)
    layers = alpha_layer_table(alpha)
    assert layers["alpha_temporal"].tolist() == pytest.approx([0.4, 0.6]) and layers["n"].tolist() == [3, 3]
    assert layers["alpha_spatial"].tolist() == pytest.approx([0.6, 0.4])
    assert layers["sd"].tolist() == pytest.approx([0.2, 0.2])
    half = stats.t.ppf(0.975, 2) * 0.2 / 3**0.5
    assert layers["low"].tolist() == pytest.approx([0.4 - half, 0.6 - half])
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
