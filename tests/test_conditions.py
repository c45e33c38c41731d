"""Which runs a hypothesis compares, how, and what it concludes: each rule alone, with numbers by hand."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import Alpha
from analysis.attention.hypotheses import (
    DEPTH,
    Condition,
    compare_conditions,
    group_conditions,
    hypothesis_verdicts,
    judge_hypothesis,
    pairs_of_kinds,
    pairs_of_proportions,
    rise_with_depth,
    stack_values,
)
from analysis.runs.run_directory import Run
from analysis.statistics.uncertainty import Effect, mean_effect, unpaired_effect

META = {
    "arch": "resnet18", "conv": "sth", "width": 64, "frames": 8, "start": "", "data": "/data", "split": "val",
    "protocol": {"clips_per_video": 1}, "dataset": "jester", "temporal_fraction": 0.25, "modality": "rgb",
}  # fmt: skip
OTHER_FACTS = [
    *({"arch": "resnet50"}, {"conv": "sth_merge"}, {"width": 32}, {"frames": 16}, {"start": "ImageNet"}),
    *({"data": "/elsewhere"}, {"split": "test"}, {"protocol": {"clips_per_video": 2}}, {"dataset": "ucf101"}),
    *({"temporal_fraction": 0.5}, {"modality": "flow"}),
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


def a_condition(dataset: str = "jester", network: str = "r18", p: str = "1/4", modality: str = "RGB") -> Condition:
    return Condition(dataset, network, p, modality, ())


def test_a_proportion_is_compared_with_the_next_larger_one_of_the_same_network_dataset_and_modality() -> None:
    proportions = [a_condition(p=p) for p in ("1/8", "1/2", "1", "1/16", "1/4")]
    others = [
        a_condition("ucf101", p="1/2"),
        a_condition(network="r50", p="1/2"),
        a_condition(modality="Flow", p="1/2"),
    ]
    pairs = pairs_of_proportions([*proportions, *others])
    assert [(a.p, b.p) for _, a, b in pairs] == [("1/16", "1/8"), ("1/8", "1/4"), ("1/4", "1/2"), ("1/2", "1")]
    assert {(a.dataset, b.network) for _, a, b in pairs} == {("jester", "r18")}
    assert pairs[0][0] == "jester, r18, RGB: p = 1/16 less 1/8"
    assert pairs_of_proportions([a_condition(), a_condition()]) == []


def test_kinds_are_compared_within_a_network_and_what_else_must_be_the_same() -> None:
    every = [a_condition(*of) for of in product(("jester", "ucf101"), ("r18", "r50"), ("1/4", "1/8"), ("RGB", "Flow"))]
    pairs = pairs_of_kinds(every, lambda c: c.dataset, ("jester", "ucf101"), "p", "modality")
    assert len(pairs) == 8 and pairs[0][0] == "r18, p = 1/4, RGB: jester less ucf101"
    for _, a, b in pairs:
        assert (a.dataset, b.dataset) == ("jester", "ucf101")
        assert (a.network, a.p, a.modality) == (b.network, b.p, b.modality)
    pairs = pairs_of_kinds(every, lambda c: c.modality, ("Flow", "RGB"), "dataset", "p")
    assert len(pairs) == 8 and pairs[0][0] == "r18, jester, p = 1/4: Flow less RGB"
    assert all((a.modality, b.modality, a.dataset) == ("Flow", "RGB", b.dataset) for _, a, b in pairs)


VALUES = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.8}


def an_alpha(clips: str, more: float = 0.0, rise: float = 0.0) -> Alpha:
    """Two layers; each clip has its value of VALUES and `more`, and a little of its own, the layers `rise`."""
    table = pd.DataFrame({"clip_id": list(clips), "label": "x", "correct": True, "group": list(clips)})
    own = [VALUES[clip] + more * (1 + VALUES[clip]) for clip in clips]
    return Alpha(table, pd.DataFrame({"layer_index": [0, 1]}), np.array(own)[:, None] + np.array([-rise / 2, rise / 2]))


def compared(
    first: list[Alpha], second: list[Alpha], data: tuple[str, str] = ("/data", "/data")
) -> tuple[Effect, bool]:
    """`compare_conditions` of a run for each alpha."""
    alphas = dict(enumerate([*first, *second]))
    runs = [a_run(str(i), data=data[i >= len(first)]) for i in alphas]
    a, b = (Condition("jester", "r18", "1/4", "RGB", tuple(some)) for some in (runs[: len(first)], runs[len(first) :]))
    return compare_conditions(a, b, lambda run: alphas[int(run.name)])


def test_only_the_clips_that_both_have_are_compared_clip_by_clip() -> None:
    found, paired = compared([an_alpha("abc", 0.1)], [an_alpha("bcd")])
    expected = mean_effect(np.array([[0.14, 0.12]]), np.arange(2))
    assert (
        paired and vars(found) == pytest.approx(vars(expected)) and (found.value, found.n) == pytest.approx((0.13, 2))
    )


def test_several_seeds_are_compared_seed_by_seed() -> None:
    found, paired = compared([an_alpha("abcd", m) for m in (0.1, 0.3)], [an_alpha("abcd", m) for m in (0, 0.1)])
    assert paired and (found.n, found.seeds) == (4, 2)
    assert found.value == pytest.approx((0.1 + 0.2) / 2 * 1.375)  # the mean of 1 + VALUES is 1.375


@pytest.mark.parametrize(
    ("first", "second", "data"),
    [
        ([0.1, 0.2], [0.0], ("/data", "/data")),
        ([0.1], [0.0, 0.1, 0.2], ("/data", "/data")),
        ([0.1], [0.0], ("/data", "/elsewhere")),
    ],
    ids=["two seeds and one", "one seed and three", "other data"],
)
def test_what_cannot_be_paired_is_compared_unpaired(first, second, data) -> None:
    found, paired = compared([an_alpha("abcd", m) for m in first], [an_alpha("abcd", m) for m in second], data)
    a, b = ([[VALUES[c] + m * (1 + VALUES[c]) for c in "abcd"] for m in some] for some in (first, second))
    expected = unpaired_effect(np.array(a), np.arange(4), np.array(b), np.arange(4))
    assert not paired and found.seeds == min(len(first), len(second))
    assert list(vars(found).values()) == pytest.approx(list(vars(expected).values()))


def test_without_a_common_clip_nothing_is_paired() -> None:
    found, paired = compared([an_alpha("ab", 0.1)], [an_alpha("cd")])
    assert not paired and found.n == 4
    assert found.value == pytest.approx(0.25 + 0.125 - 0.5)


def test_values_are_stacked_by_clip_in_whatever_order_they_stand() -> None:
    one = pd.DataFrame({"clip_id": [*"abc"], "group": [*"uvv"], "value": [1.0, 2, 3]})
    other = pd.DataFrame({"clip_id": [*"dcb"], "group": [*"vvv"], "value": [40.0, 30, 20]})
    values, groups = stack_values([one, other])
    assert dict(zip(groups.index, values.T.tolist(), strict=True)) == {"b": [2, 20], "c": [3, 30]}
    assert list(groups) == ["v", "v"]


def test_the_rise_with_depth_is_over_the_clips_and_all_seeds() -> None:
    alphas = {"0": an_alpha("abcd", rise=0.2), "1": an_alpha("abcd", rise=0.4)}
    condition = Condition("jester", "r18", "1/4", "RGB", (a_run("0"), a_run("1")))
    found = rise_with_depth(condition, lambda run: alphas[run.name])
    assert found is not None and found.value == pytest.approx(0.3) and found.seeds == 2


def an_effect(value: float, p: float) -> Effect:
    return Effect(value, value - 1, value + 1, p, 10, 1)


@pytest.mark.parametrize(
    ("effects", "verdicts"),
    [
        ([(1, 0.04)], ["holds"]),
        ([(1, 0.07)], ["undecided"]),
        ([(1, 0.05)], ["undecided"]),
        ([(-1, 0.04)], ["does not hold"]),
        ([(-1, 0.07)], ["undecided"]),
        ([(1, 0.03), (1, 0.03)], ["undecided", "undecided"]),  # 0.06 each, corrected for two
        ([(1, 0.024), (-1, 0.024)], ["holds", "does not hold"]),
        ([(1, 0.001), (-1, 0.04), (1, 0.6)], ["holds", "undecided", "undecided"]),
    ],
)
def test_a_verdict_is_that_of_the_corrected_p_and_the_sign(effects, verdicts) -> None:
    rows = judge_hypothesis(DEPTH, [(f"{i}", an_effect(*of), True) for i, of in enumerate(effects)])
    assert [row["verdict"] for row in rows] == verdicts
    assert [row["effect"] for row in rows] == [value for value, _ in effects]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["holds", "holds"], ("holds", 2, 2, 0, 0)),
        (["holds", "undecided"], ("undecided", 2, 1, 0, 1)),
        (["does not hold", "undecided"], ("does not hold", 2, 0, 1, 1)),
        (["holds", "does not hold", "undecided"], ("mixed", 3, 1, 1, 1)),
        ([], ("not tested", 0, 0, 0, 0)),
    ],
)
def test_the_verdict_over_all_comparisons(verdicts: list[str], expected: tuple) -> None:
    table = pd.DataFrame({"hypothesis": DEPTH, "verdict": verdicts})
    assert tuple(hypothesis_verdicts(table).iloc[0])[1:] == expected
