"""Which runs a hypothesis compares, how, and what it concludes: each rule alone, with numbers by hand."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import Alpha
from analysis.attention.conditions import (
    Condition,
    Pair,
    group_conditions,
    pairs_of_kinds,
    pairs_of_modalities,
    pairs_of_proportions,
)
from analysis.attention.hypotheses import (
    DEPTH,
    PROPORTION,
    Comparison,
    Tested,
    compare_pair,
    hypothesis_verdicts,
    judge_hypothesis,
    rise_with_depth,
    seeds_needed,
    spread_of_rises,
    spread_of_seeds,
    stack_values,
)
from analysis.runs.run_directory import Run
from analysis.statistics.effects import Effect, mean_effect, paired_difference, unpaired_difference

META = {
    "arch": "resnet18", "conv": "sth", "width": 64, "frames": 8, "start": "", "data": "/data", "split": "val",
    "protocol": {"clips_per_video": 1}, "dataset": "jester", "temporal_fraction": 0.25, "modality": "rgb",
    "trained_on": "0", "recipe": {"optimisation": {"epochs": 14, "seed": 0}},
}  # fmt: skip
OTHER_FACTS = [
    *({"arch": "resnet50"}, {"conv": "sth_merge"}, {"width": 32}, {"frames": 16}, {"start": "ImageNet"}),
    *({"data": "/elsewhere"}, {"split": "test"}, {"protocol": {"clips_per_video": 2}}, {"dataset": "ucf101"}),
    *({"temporal_fraction": 0.5}, {"modality": "flow"}, {"trained_on": "1"}, {"kind": "appearance"}),
    {"recipe": {"optimisation": {"epochs": 4}}},
]


def a_run(name: str = "run", **meta: Any) -> Run:
    return Run(Path(name), META | meta)


@pytest.mark.parametrize("other", OTHER_FACTS, ids=lambda other: next(iter(other)))
def test_runs_that_differ_in_more_than_their_seed_are_two_conditions(other: dict[str, Any]) -> None:
    runs = [a_run(seed=0), a_run(seed=1, **other), a_run(seed=2)]
    assert [c.runs for c in group_conditions(runs)] == [(runs[0], runs[2]), (runs[1],)]


@pytest.mark.parametrize("key", ["start", "data", "split", "conv"])
def test_a_run_that_does_not_say_a_fact_is_as_one_where_it_is_empty(key: str) -> None:
    """Those of earlier versions lack some; an STH network is taken for the hybrid variant."""
    silent, empty = a_run(seed=0), a_run(seed=1, **{key: "sth" if key == "conv" else ""})
    del silent.meta[key]
    assert [c.runs for c in group_conditions([silent, empty])] == [(silent, empty)]


@pytest.mark.parametrize(
    ("seeds", "sizes"),
    [([0, 1, 2], [3]), ([0, 0], [1, 1]), ([None, None], [1, 1]), ([0, None, 1], [1, 1, 1]), ([0, 1, 1], [1, 1, 1])],
)
def test_runs_are_one_condition_only_if_each_has_a_seed_of_its_own(seeds: list[int | None], sizes: list[int]) -> None:
    runs = [a_run(f"run{i}", seed=seed) for i, seed in enumerate(seeds)]
    assert [len(c.runs) for c in group_conditions(runs)] == sizes


def test_seeds_and_folders_of_checkpoints_are_no_difference() -> None:
    recipes = [
        {"optimisation": {"seed": seed}, "start": {"checkpoint": f"/somewhere/{seed}/rgb.safetensors"}}
        for seed in (0, 1)
    ]
    runs = [a_run(str(i), seed=i, recipe=recipe) for i, recipe in enumerate(recipes)]
    [condition] = group_conditions(runs)
    assert condition["recipe.start.checkpoint"] == "rgb.safetensors" and condition["no fact"] == "not recorded"


def a_condition(**meta: Any) -> Condition:
    return group_conditions([a_run(**meta)])[0]


def test_a_proportion_is_compared_with_the_next_larger_one_of_a_network_that_is_alike() -> None:
    proportions = [
        a_condition(temporal_fraction=p, recipe={"model": {"temporal_fraction": p}, "optimisation": {"epochs": 14}})
        for p in (1 / 8, 1 / 2, 1, 1 / 16, 1 / 4)
    ]
    others = [
        a_condition(temporal_fraction=1 / 2, **other) for other in OTHER_FACTS if "temporal_fraction" not in other
    ]
    pairs = pairs_of_proportions([*proportions, *others]).compared
    assert [(a.first["p"], a.second["p"]) for a in pairs] == [
        ("1/16", "1/8"),
        ("1/8", "1/4"),
        ("1/4", "1/2"),
        ("1/2", "1/1"),
    ]
    assert all(pair.first in proportions and pair.second in proportions for pair in pairs)
    assert pairs[0].name == "jester, resnet18 sth, RGB: p = 1/16 less 1/8"
    assert pairs_of_proportions([a_condition(), a_condition()]).compared == []


def test_a_pair_is_left_out_only_if_no_other_networks_are_compared_for_it() -> None:
    small, large = a_condition(temporal_fraction=1 / 8), a_condition()
    wide = a_condition(width=128)
    assert pairs_of_proportions([small, large, wide]).left_out == {}
    left_out = pairs_of_proportions([small, wide]).left_out
    assert list(left_out.values()) == ["they also differ in width (64, 128)"]
    more = a_condition(width=128, frames=4, start="x", split="y", trained_on="z")
    assert pairs_of_proportions([small, more]).left_out.popitem()[1].endswith("and 2 more")
    four = a_condition(width=128, frames=4, start="x", split="y")
    assert pairs_of_proportions([small, four]).left_out.popitem()[1].endswith("and 1 more")
    three = a_condition(width=128, frames=4, start="x")
    reason = pairs_of_proportions([small, three]).left_out.popitem()[1]
    assert reason.startswith("they also differ in frames (") and reason.count("(") == 3 and reason.endswith(")")


@pytest.mark.parametrize("recipes", [({}, {}), ({}, META["recipe"])], ids=["neither has one", "one has one"])
def test_networks_whose_training_is_not_recorded_are_not_compared(recipes: tuple[dict, dict]) -> None:
    conditions = [
        a_condition(temporal_fraction=p, recipe=recipe) for p, recipe in zip((1 / 8, 1 / 4), recipes, strict=True)
    ]
    pairs = pairs_of_proportions(conditions)
    assert pairs.compared == []
    assert [reason.partition(";")[0] for reason in pairs.left_out.values()] == [
        "it is not recorded how one of them was trained"
    ]


@pytest.mark.parametrize(
    "fact", ["modality", "recipe.model.modality", "trained on"]
    + [f"recipe.preprocessing.{name}" for name in ("modality", "mean", "std", "flow_bound")]
)  # fmt: skip
def test_what_networks_of_two_modalities_may_differ_in(fact: str) -> None:
    """Each alone: a network of RGB has no bound of flow, and other means of its pixels."""
    key = fact.replace("trained on", "trained_on")
    recipes: list[dict[str, Any]] = [{}, {}]
    facts: list[dict[str, Any]] = [{}, {}]
    for side, value in enumerate(("one", "other")):
        if key.startswith("recipe."):
            _, section, name = key.split(".")
            recipes[side] = {section: {name: value}}
        elif key != "modality":
            facts[side] = {key: value}
    flow, rgb = (
        a_condition(modality=modality, recipe={"optimisation": {"epochs": 14}} | recipes[side], **facts[side])
        for side, modality in enumerate(("flow", "rgb"))
    )
    assert [(pair.first, pair.second) for pair in pairs_of_modalities([flow, rgb]).compared] == [(flow, rgb)]


def test_kinds_are_compared_within_a_network_and_what_else_must_be_the_same() -> None:
    facts = product(("temporal", "appearance"), ("resnet18", "resnet50"), (1 / 4, 1 / 8), ("rgb", "flow"))
    every = [
        a_condition(
            dataset=kind, kind=kind, data=f"/{kind}", trained_on=kind, arch=arch, temporal_fraction=p,
            modality=modality,
            recipe={"data": {"label": kind}, "augment": {"flip_swaps": kind}, "preprocessing": {"mean": modality}},
        )
        for kind, arch, p, modality in facts
    ]  # fmt: skip
    pairs = pairs_of_kinds(every).compared
    assert len(pairs) == 8 and pairs[0].name == "resnet18 sth, p = 1/4, RGB: temporal less appearance"
    for pair in pairs:
        assert (pair.first["dataset"], pair.second["dataset"]) == ("temporal", "appearance")
        assert all(pair.first[fact] == pair.second[fact] for fact in ("network", "p", "modality"))
    pairs = pairs_of_modalities(every).compared
    assert len(pairs) == 8 and pairs[0].name == "resnet18 sth, temporal, p = 1/4: Flow less RGB"
    assert all(pair.first["modality"] == "Flow" and pair.second["modality"] == "RGB" for pair in pairs)
    assert all(pair.first[fact] == pair.second[fact] for pair in pairs for fact in ("network", "p", "dataset"))


VALUES = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.8}


def an_alpha(clips: str, more: float = 0.0, rise: float = 0.0) -> Alpha:
    """Two layers; each clip has its value of VALUES and `more`, and a little of its own, the layers `rise`."""
    table = pd.DataFrame({"clip_id": list(clips), "label": "x", "correct": True, "group": list(clips)})
    own = [VALUES[clip] + more * (1 + VALUES[clip]) for clip in clips]
    return Alpha(table, pd.DataFrame({"layer_index": [0, 1]}), np.array(own)[:, None] + np.array([-rise / 2, rise / 2]))


def compared(first: list[Alpha], second: list[Alpha], data: tuple[str, str] = ("/data", "/data")) -> Comparison:
    """`compare_pair` of a run for each alpha."""
    alphas = dict(enumerate([*first, *second]))
    runs = [a_run(str(i), data=data[i >= len(first)]) for i in alphas]
    sides = (tuple(runs[: len(first)]), tuple(runs[len(first) :]))
    a, b = (Condition((("data", of_side),), some) for of_side, some in zip(data, sides, strict=True))
    return compare_pair(Pair("", a, b), lambda run: alphas[int(run.name)])


def test_only_the_clips_that_both_have_are_compared_clip_by_clip() -> None:
    found = compared([an_alpha("abc", 0.1)], [an_alpha("bcd")])
    expected = mean_effect(np.array([[0.14, 0.12]]), np.arange(2))
    assert found.paired and vars(found.effect) == pytest.approx(vars(expected))
    assert (found.effect.value, found.effect.n) == pytest.approx((0.13, 2))


@pytest.mark.parametrize("more", [((0.1, 0.3), (0.0, 0.1)), ((0.1, 0.3), (0.0,)), ((0.2,), (0.0, 0.1, 0.1))])
def test_clips_are_compared_clip_by_clip_whatever_the_number_of_seeds(more: tuple[tuple[float, ...], ...]) -> None:
    found = compared(*([an_alpha("abcd", m) for m in of_side] for of_side in more))
    a, b = (np.array([[VALUES[c] + m * (1 + VALUES[c]) for c in "abcd"] for m in of_side]) for of_side in more)
    expected = paired_difference(a, b, np.arange(4))
    assert found.paired and list(vars(found.effect).values()) == pytest.approx(list(vars(expected).values()))
    assert found.effect.value == pytest.approx((np.mean(more[0]) - np.mean(more[1])) * 1.375)  # the mean of 1 + VALUES


def test_other_data_is_compared_unpaired() -> None:
    found = compared([an_alpha("abcd", 0.1)], [an_alpha("abcd")], ("/data", "/elsewhere"))
    a, b = (np.array([[VALUES[c] + m * (1 + VALUES[c]) for c in "abcd"]]) for m in (0.1, 0.0))
    expected = unpaired_difference(a, np.arange(4), b, np.arange(4))
    assert not found.paired and list(vars(found.effect).values()) == pytest.approx(list(vars(expected).values()))


def test_half_of_the_larger_set_in_common_is_too_little_for_pairs() -> None:
    assert not compared([an_alpha("abcd")], [an_alpha("ab")]).paired
    assert compared([an_alpha("abcd")], [an_alpha("abc")]).paired


def test_without_a_common_clip_nothing_is_paired() -> None:
    found = compared([an_alpha("ab", 0.1)], [an_alpha("cd")])
    assert not found.paired and found.effect.n == 4
    assert found.effect.value == pytest.approx(0.25 + 0.125 - 0.5)


def test_values_are_stacked_by_clip_in_whatever_order_they_stand() -> None:
    one = pd.DataFrame({"clip_id": [*"abc"], "group": [*"uvv"], "value": [1.0, 2, 3]})
    other = pd.DataFrame({"clip_id": [*"dcb"], "group": [*"vvv"], "value": [40.0, 30, 20]})
    values, groups = stack_values([one, other])
    assert dict(zip(groups.index, values.T.tolist(), strict=True)) == {"b": [2, 20], "c": [3, 30]}
    assert list(groups) == ["v", "v"]


def test_the_rise_with_depth_is_over_the_clips_and_all_seeds() -> None:
    alphas = {"0": an_alpha("abcd", rise=0.2), "1": an_alpha("abcd", rise=0.4)}
    condition = Condition((), (a_run("0"), a_run("1")))
    found = rise_with_depth(condition, lambda run: alphas[run.name])
    assert found is not None and found.effect.value == pytest.approx(0.3) and found.effect.seeds == 2


def an_effect(value: float, p: float, seeds: int = 3) -> Effect:
    return Effect(value, value - 1, value + 1, p, 10, seeds)


@pytest.mark.parametrize(
    ("effects", "verdicts"),
    [
        ([(1, 0.04)], ["holds"]),
        ([(1, 0.07)], ["undecided"]),
        ([(1, 0.05)], ["undecided"]),
        ([(-1, 0.04)], ["does not hold"]),
        ([(-1, 0.07)], ["undecided"]),
        ([(1, 0.03), (1, 0.03)], ["undecided", "undecided"]),  # 0.06 each, corrected for two
        ([(1, 0.03), (1, 0.001, 1)], ["holds", "these networks only"]),  # one training is not counted
        ([(1, np.nan)], ["undecided"]),
        ([(1, 0.024), (-1, 0.024)], ["holds", "does not hold"]),
        ([(1, 0.001), (-1, 0.04), (1, 0.6)], ["holds", "undecided", "undecided"]),
    ],
)
def test_a_verdict_is_that_of_the_corrected_p_and_the_sign(effects, verdicts) -> None:
    rows = judge_hypothesis(DEPTH, [Comparison(f"{i}", an_effect(*of), True) for i, of in enumerate(effects)], 0.01)
    assert [row["verdict"] for row in rows] == verdicts and all(row["paired"] is True for row in rows)
    assert [row["effect"] for row in rows] == [effect[0] for effect in effects]
    assert all(row["seeds_needed"] is None or row["verdict"] == "these networks only" for row in rows)


def test_how_many_seeds_would_decide() -> None:
    """4.303 x 0.01 / sqrt(3) = 0.0248 for one network, and sqrt(2) times that, 0.0351, for two."""
    assert seeds_needed(0.0249, 0.01, 1) == 3 and seeds_needed(-0.0247, 0.01, 1) == 4
    assert seeds_needed(0.0352, 0.01, 2) == 3 and seeds_needed(0.0350, 0.01, 2) == 4
    assert seeds_needed(0.0001, 0.01, 1) is None
    rows = judge_hypothesis(PROPORTION, [Comparison("", an_effect(0.03, 0.2), True)], 0.01)
    assert rows[0]["seeds_needed"] == 4


@pytest.mark.parametrize(
    ("p", "seeds", "spread", "needed"),
    [(0.2, 1, 0.01, 4), (0.2, 3, 0.01, 4), (0.2, 4, 0.01, None), (0.2, 5, 0.01, None), (np.nan, 1, 0.01, None),
     (0.2, 1, None, None)],
)  # fmt: skip
def test_no_seeds_are_named_that_would_not_help(p: float, seeds: int, spread: float | None, needed: int | None) -> None:
    """Without an interval, with as many seeds already, and with an unknown spread."""
    (row,) = judge_hypothesis(PROPORTION, [Comparison("", an_effect(0.03, p, seeds), True)], spread)
    assert row["seeds_needed"] == needed


def test_the_spread_of_trainings_is_that_of_all_networks_with_several_seeds() -> None:
    alphas = {
        name: an_alpha("abcd", more) for name, more in (("0", 0.0), ("1", 0.2), ("2", 0.1), ("3", 0.1), ("4", 0.4))
    }
    conditions = [Condition((), tuple(a_run(name) for name in names)) for names in ("01", "234", "0")]
    # means 0.375 + more x 1.375: squares around the mean of a network
    squares = 1.375**2 * (2 * 0.1**2 + (0.1**2 + 0.1**2 + 0.2**2))
    assert spread_of_seeds(conditions, lambda run: alphas[run.name]) == pytest.approx((squares / 3) ** 0.5)
    assert spread_of_seeds(conditions[2:], lambda run: alphas[run.name]) == 0.01
    assert spread_of_rises(conditions[2:], lambda run: alphas[run.name]) is None


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["holds", "holds"], ("holds", 2, 2, 0, 0, 0)),
        (["holds", "holds", "undecided"], ("holds", 3, 2, 0, 1, 0)),
        (["holds", "undecided"], ("undecided", 2, 1, 0, 1, 0)),
        (["holds", *["undecided"] * 7], ("undecided", 8, 1, 0, 7, 0)),
        (["does not hold", "undecided"], ("undecided", 2, 0, 1, 1, 0)),
        (["does not hold", *["undecided"] * 7], ("undecided", 8, 0, 1, 7, 0)),
        (["does not hold", "does not hold", "undecided"], ("does not hold", 3, 0, 2, 1, 0)),
        (["holds", "does not hold", "undecided"], ("mixed", 3, 1, 1, 1, 0)),
        (["these networks only"] * 2, ("these networks only", 2, 0, 0, 0, 2)),
        (["these networks only"] * 2 + ["holds"], ("holds", 3, 1, 0, 0, 2)),
        (["these networks only", "undecided"], ("undecided", 2, 0, 0, 1, 1)),
        ([], ("not tested", 0, 0, 0, 0, 0)),
    ],
)
def test_the_verdict_over_all_comparisons(verdicts: list[str], expected: tuple) -> None:
    tested = Tested(pd.DataFrame({"hypothesis": DEPTH, "verdict": verdicts}), {})
    assert tuple(hypothesis_verdicts(tested).iloc[0])[1:] == expected
