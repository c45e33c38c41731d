"""Runs compared on the same clips: the numbers by hand, and their drawings."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.attention.alpha_matrix import Alpha, read_alpha
from analysis.attention.clip_profiles import clip_overview
from analysis.attention.compare_runs import (
    SharedClips,
    accuracy_change,
    alpha_change,
    correct_sets,
    pairwise_differences,
    shared_accuracy,
    shared_alpha_by_layer,
    shared_clips,
    side_by_side,
)
from analysis.runs.run_directory import open_run
from analysis.runs.signals import ALPHA
from analysis.statistics.clusters import cluster_means
from analysis.statistics.effects import holm_correction
from tests.tiny import write_run
from workbench.components.compare_views import alpha_by_layer_figure, run_letter
from workbench.components.difference_map import pairwise_differences_figure


def table(right: dict[str, bool], labels: str = "", **more: Any) -> pd.DataFrame:
    """An overview of clips that are named by a letter."""
    columns = {"clip_id": list(right), "label": list(labels or "k" * len(right)), "correct": list(right.values())}
    return pd.DataFrame(columns | more).astype({"label": "category"})


def of_matrix(right: list[str]) -> SharedClips:
    """Runs r0, r1, ... from a string of 0 and 1 each."""
    matrix, N = np.array([[mark == "1" for mark in run] for run in right]).T, len(right)
    names, clips = tuple(f"r{i}" for i in range(N)), np.arange(len(matrix))
    return SharedClips(names, (), clips, clips, matrix, np.full(N, np.nan), np.ones(N))


def test_two_runs_on_the_same_clips(tmp_path: Path) -> None:
    alphas = [[0.5, 0.6], [0.4, 0.4], [0.5, 0.7], [0.4, 0.5], [0.9, 0.1]]  # labels a b a b a, all said "a"
    a = open_run(write_run(tmp_path / "a", alphas))
    b = open_run(write_run(tmp_path / "b", [[x + 0.1, y - 0.2] for x, y in alphas[:4]]))
    for file in (b.path / "predictions").iterdir():
        pd.read_parquet(file).assign(correct=[False, True, True, True]).to_parquet(file)
    both = side_by_side(clip_overview(a), clip_overview(b))
    assert list(both["outcome"]) == ["lost", "gained", "both correct", "gained"] and len(both) == 4
    change = accuracy_change(both, clip_overview(a)["group"][:4])
    assert change.value == 0.25 and change.p == pytest.approx(2 * stats.norm.sf(1 / 3**0.5))  # 2 gained, 1 lost
    by_layer = alpha_change(read_alpha(a), read_alpha(b))
    np.testing.assert_allclose(by_layer["change"], [0.1, -0.2])
    np.testing.assert_allclose(by_layer["low"], by_layer["high"], atol=1e-6)  # all clips changed alike
    assert list(by_layer["n"]) == [4, 4]


def test_layers_are_compared_by_their_names() -> None:
    """Of networks of different depth, the third layer of one is another one than that of the other."""

    def alpha(layers: list[str], values: list[float]) -> Alpha:
        clips = pd.DataFrame({"clip_id": ["p", "q"], "group": ["p", "q"]})
        named = pd.DataFrame({"layer_index": range(len(layers)), "layer": layers, "stage": [x[:6] for x in layers]})
        return Alpha(clips, named, np.array([values, values], np.float32), ALPHA)

    a = alpha(["layer1.0.c", "layer1.1.c", "layer2.0.c"], [0.1, 0.2, 0.3])
    b = alpha(["layer1.0.c", "layer1.1.c", "layer1.2.c", "layer2.0.c"], [0.2, 0.4, 0.9, 0.7])
    found = alpha_change(a, b)
    assert found["layer"].tolist() == ["layer1.0.c", "layer1.1.c", "layer2.0.c"]
    np.testing.assert_allclose(found["change"], [0.1, 0.2, 0.4], rtol=1e-5)
    np.testing.assert_allclose(alpha_change(b, a)["change"], [-0.1, -0.2, -0.4], rtol=1e-5)


def test_only_the_clips_that_all_have_count_in_whatever_order_they_stand() -> None:
    a = table({"p": True, "q": False, "r": True, "s": True}, alpha_temporal=[0.1, 0.2, 0.3, 0.4])
    b = table({"s": False, "r": True, "p": True, "x": False})
    c = table({"y": True, "r": False, "s": True, "q": True}, alpha_temporal=[0.9, 0.5, 0.6, 0.9])
    found = shared_clips({"a": a, "b": b, "c": c})
    assert found.names == ("a", "b", "c") and found.disjoint == ()
    assert a["clip_id"].iloc[found.rows].tolist() == ["r", "s"]
    assert found.correct.tolist() == [[True, True, False], [True, False, True]]
    np.testing.assert_allclose(found.alpha, [0.35, math.nan, 0.55])
    assert found.correct_count.tolist() == [2, 2]


def test_a_run_of_other_clips_is_left_out_and_the_others_stay() -> None:
    a, b, c = (table(dict.fromkeys(names, True)) for names in ("pqr", "xyz", "qrs"))
    found = shared_clips({"a": a, "b": b, "c": c})
    assert (found.names, found.disjoint) == (("a", "c"), ("b",))
    assert a["clip_id"].iloc[found.rows].tolist() == ["q", "r"] and found.correct.shape == (2, 2)


def test_labels_are_compared_by_name_though_the_categories_differ() -> None:
    clips = {"p": True, "q": True, "r": True, "s": True}
    found = shared_clips({"a": table(clips, "mmno"), "b": table(clips, "mmno"), "c": table(clips, "lmno")})
    assert found.same_labels.tolist() == [1, 1, 0.75]


def test_what_a_run_alone_gets_right_and_wrong() -> None:
    found = shared_accuracy(of_matrix(["11100110", "10110000", "10110101"])).set_index("run")
    # Right in: 3, 1, 3, 2, 0, 2, 1, 1 of the runs.
    assert found["only_correct"].to_dict() == {"r0": 2, "r1": 0, "r2": 1}
    assert found["only_wrong"].to_dict() == {"r0": 1, "r1": 1, "r2": 0}
    assert found["accuracy"].tolist() == [5 / 8, 3 / 8, 5 / 8] and set(found["n"]) == {8}
    exact = stats.binomtest(3, 8).proportion_ci(method="exact")
    assert (found.loc["r1", "low"], found.loc["r1", "high"]) == pytest.approx((exact.low, exact.high), abs=1e-4)


def test_differences_are_those_of_a_loop_over_the_clips() -> None:
    right = np.random.default_rng(0).random((200, 5)) < [0.2, 0.5, 0.5, 0.7, 0.9]
    found = pairwise_differences(of_matrix(["".join("01"[int(x)] for x in run) for run in right.T]))
    expected = []
    for i, j in combinations(range(5), 2):
        only_a = sum(bool(clip[i] and not clip[j]) for clip in right)
        only_b = sum(bool(clip[j] and not clip[i]) for clip in right)
        expected.append((f"r{i}", f"r{j}", only_a, only_b, (only_a - only_b) / 200))
    columns = ["a", "b", "only_a", "only_b", "difference"]
    assert list(found[columns].itertuples(index=False, name=None)) == expected


def test_p_is_mcnemar_s_corrected_by_holm_for_all_pairs() -> None:
    # r0 against r1: 8 clips against none; r0 against r2: 4 against none; r1 against r2: none against 4.
    found = pairwise_differences(of_matrix(["1111111100", "0000000000", "0001111000"])).set_index(["a", "b"])
    assert found[["only_a", "only_b"]].to_numpy().tolist() == [[8, 0], [4, 0], [0, 4]]
    # Alone: 8 / sqrt(8) standard errors, 2, 2. Holm: times 3, times 2, and the last no smaller than the one before.
    alone = [2 * stats.norm.sf(z) for z in (8**0.5, 2, 2)]
    assert found["p"].tolist() == pytest.approx([3 * alone[0], 2 * alone[1], 2 * alone[1]])


def test_of_clips_that_share_source_videos_p_is_over_these() -> None:
    """Each pair as `accuracy_change` has it, and corrected."""
    alone = of_matrix(["1111111100", "0000000000", "0001111000"])
    runs = replace(alone, groups=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2]))
    p = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        a, b = (table(dict(zip("abcdefghij", runs.correct[:, k], strict=True))) for k in (i, j))
        p.append(accuracy_change(side_by_side(a, b), runs.groups).p)
    found = pairwise_differences(runs)
    assert found["p"].tolist() == pytest.approx(holm_correction(p))
    assert not np.allclose(found["p"], pairwise_differences(alone)["p"])
    # r0 less r1, by source video: 3, 3 and 2 of 3, 3 and 4 clips. Mean 0.8; residual sums 0.6, 0.6 and -1.2, whose
    # squares are weighed by 1 / 0.7, 1 / 0.7 and 1 / 0.6; ten independent clips: variance 0.8 x 0.2 / 10.
    clustered = (0.36 / 0.7 + 0.36 / 0.7 + 1.44 / 0.6) / 100
    df = cluster_means(np.array([[3.0], [3], [2]]), np.array([3.0, 3, 4])).df
    assert p[0] == pytest.approx(2 * stats.t.sf(8**0.5 / (clustered / 0.016) ** 0.5, df))


def test_sets_of_runs_that_are_right() -> None:
    runs = of_matrix(["110010", "110101", "001101"])
    assert correct_sets(runs, 2) == [(("r0", "r1"), 2), (("r1", "r2"), 2)]
    assert correct_sets(runs, 1) == [(("r0",), 1), (("r2",), 1)]
    assert correct_sets(runs, 3) == []


def test_alpha_by_layer_is_over_the_clips_and_layers_that_all_have(tmp_path: Path) -> None:
    a = open_run(write_run(tmp_path / "a", [[0.1, 0.5], [0.3, 0.7], [0.9, 0.9]], parts=2))
    b = open_run(write_run(tmp_path / "b", [[0.2], [0.2]]))
    found = shared_alpha_by_layer({"a": read_alpha(a), "b": read_alpha(b)}, pd.Series(["c0", "c1"]))
    assert found[["run", "layer", "n"]].to_numpy().tolist() == [["a", "layer0.0.conv1", 2], ["b", "layer0.0.conv1", 2]]
    half = stats.t.ppf(0.975, 1) * np.std([0.1, 0.3], ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(
        found[["alpha_temporal", "low", "high"]], [[0.2, 0.2 - half, 0.2 + half], [0.2, 0.2, 0.2]]
    )
    everything = shared_alpha_by_layer({"a": read_alpha(a)}, clip_overview(a)["clip_id"])
    np.testing.assert_allclose(everything["alpha_temporal"], [1.3 / 3, 2.1 / 3])
    assert everything["n"].tolist() == [3, 3]


def test_the_map_says_row_less_column_and_marks_what_is_told_apart() -> None:
    pairs = pairwise_differences(of_matrix(["1111111100", "0000000000", "0001111000"]))
    figure = pairwise_differences_figure(pairs, {f"r{i}": f"{run_letter(i)}: r{i}" for i in range(3)})
    square, points = figure.data
    assert figure.layout.xaxis.categoryarray == ("A", "B", "C")
    assert figure.layout.yaxis.categoryarray == ("A: r0", "B: r1", "C: r2")
    assert list(zip(square.y, square.x, square.text, strict=True)) == [
        ("A: r0", "B", "+80.0 *"), ("A: r0", "C", "+40.0"), ("B: r1", "C", "-40.0"),
        ("B: r1", "A", "-80.0 *"), ("C: r2", "A", "-40.0"), ("C: r2", "B", "+40.0"),
    ]  # fmt: skip
    np.testing.assert_allclose(square.z, [80, 40, -40, -80, -40, 40])
    low, high = 100 * pairs["low"][0], 100 * pairs["high"][0]
    assert 0 < low < 80 < high  # the interval of A minus B excludes 0, as p does
    assert tuple(points.customdata[3]) == (
        "-80.0", f"{-high:+.1f} to {-low:+.1f}", f"{6 * stats.norm.sf(8**0.5):.2g}", 0, 8, "r1", "r0",
    )  # of B minus A: points, interval, p, correct in B only, in A only, the runs  # fmt: skip
    assert square.zmin == -square.zmax


def test_every_run_has_a_line_of_its_own() -> None:
    called = {f"r{i}": f"{run_letter(i)}: r{i}" for i in range(9)}
    some = pd.DataFrame({"run": list(called), "layer": "conv", "alpha_temporal": 0.5, "low": 0.4, "high": 0.6})
    traces = alpha_by_layer_figure(some[some["run"] != "r3"], called).data
    assert [trace.name for trace in traces] == [shown for name, shown in called.items() if name != "r3"]
    assert len({(trace.line.color, trace.line.dash) for trace in traces}) == 8
    assert traces[0].error_y.array.tolist() == pytest.approx([0.1])


def test_letters_do_not_end() -> None:
    assert [run_letter(i) for i in (0, 2, 25, 26, 27, 52)] == ["A", "C", "Z", "AA", "AB", "BA"]
