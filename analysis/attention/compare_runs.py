"""Runs compared on the same clips: two side by side, or several together, in accuracy and in attention."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, alpha_profile, layer_intervals
from analysis.runs.correctness import is_correct
from analysis.statistics.accuracy import group_numbers
from analysis.statistics.effects import Effect, holm_correction
from analysis.statistics.shares import paired_effect, share_interval

LOST, GAINED, *_ = OUTCOMES = ("lost", "gained", "both correct", "both misclassified")


def find_rows(clip_ids: pd.Series, clips: pd.DataFrame) -> NDArray[np.intp]:
    """The row of each clip_id in `clips`, which is ordered by clip_id; -1 where it is missing."""
    if clip_ids.equals(clips["clip_id"]):
        return np.arange(len(clips))
    return pd.Index(clips["clip_id"]).get_indexer(clip_ids)


def side_by_side(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """A row per clip that two runs' overviews (`clip_overview`) have: its rows there, and its outcome (`OUTCOMES`),
    which is missing where one of the networks does not know the label."""
    rows_in_b = find_rows(a["clip_id"], b)
    row_a = np.flatnonzero(rows_in_b >= 0)
    row_b = rows_in_b[row_a]
    was, now = is_correct(a)[row_a], is_correct(b)[row_b]
    counted = a["correct"].notna().to_numpy()[row_a] & b["correct"].notna().to_numpy()[row_b]
    codes = np.select([~counted, was & ~now, ~was & now, was & now], [-1, 0, 1, 2], 3)
    outcome = pd.Categorical.from_codes(codes, OUTCOMES)
    return pd.DataFrame({"row_a": row_a, "row_b": row_b, "correct_a": was, "correct_b": now, "outcome": outcome})


def accuracy_change(both: pd.DataFrame, groups: NDArray | pd.Series) -> Effect:
    """Accuracy of b minus accuracy of a, from the rows of `side_by_side` that have an outcome, and the groups
    of their clips."""
    return paired_effect(both["correct_b"].to_numpy(float) - both["correct_a"].to_numpy(float), groups)


def alpha_change(a: Alpha, b: Alpha) -> pd.DataFrame:
    """`layer_intervals` of the change of alpha_T from a to b, as `change`, on the layers and clips that both have."""
    in_b = pd.Index(b.layers["layer"]).get_indexer(a.layers["layer"])  # by name: depths differ
    layers_a, layers_b = np.flatnonzero(in_b >= 0), in_b[in_b >= 0]
    rows_in_b = find_rows(a.clips["clip_id"], b.clips)
    both = np.flatnonzero(rows_in_b >= 0)
    change = b.temporal[np.ix_(rows_in_b[both], layers_b)] - a.temporal[np.ix_(both, layers_a)]
    table = layer_intervals(a.layers.iloc[layers_a], change, a.clips["group"].iloc[both])
    return table.rename(columns={"alpha_temporal": "change"})


@dataclass(frozen=True)
class SharedClips:
    """N runs on the K clips that all of them have, and whose labels all of the networks know."""

    names: tuple[str, ...]
    disjoint: tuple[str, ...]  # names of the runs that are left out: they share no clip with all runs before them
    rows: NDArray[np.intp]  # (K,) of these clips in the first run's table
    groups: NDArray[np.intp]  # (K,) the number of each clip's source video, as the first run knows it
    correct: NDArray[np.bool_]  # (K, N) whether the run predicts the clip correctly
    alpha: NDArray[np.float64]  # (N,) mean alpha_T over layers and clips, nan for a run without attention
    same_labels: NDArray[np.float64]  # (N,) the share of the clips whose label is that in the first run
    uncounted: tuple[str, ...] = ()  # names of the runs that are left out: their network knows none of the labels
    all_rows: NDArray[np.intp] | None = None  # of all common clips, also those that do not count, if there are any

    @property
    def correct_count(self) -> NDArray[np.intp]:
        """(K,): how many of the runs predict the clip correctly."""
        return self.correct.sum(1)


def shared_clips(tables: dict[str, pd.DataFrame]) -> SharedClips:
    """Reduce the runs' overviews (`clip_overview`), by name, to the clips that all of them have.

    Where some networks know labels, those that know none are left out."""
    knowing = {name: table for name, table in tables.items() if table["correct"].notna().any()}
    uncounted = tuple(name for name in tables if name not in knowing) if knowing else ()
    tables = knowing or tables
    first = next(iter(tables.values()))
    shared, rows_in = np.ones(len(first), bool), {}
    for name, table in tables.items():
        found = find_rows(first["clip_id"], table)
        if (shared & (found >= 0)).any():
            shared &= found >= 0
            rows_in[name] = found
    rows = np.flatnonzero(shared)
    same = [tables[name].iloc[found[rows]] for name, found in rows_in.items()]  # each run's rows of the shared clips
    alpha = [table["alpha_temporal"].mean() if "alpha_temporal" in table else np.nan for table in same]
    counted = np.logical_and.reduce([table["correct"].notna().to_numpy() for table in same])
    return SharedClips(
        names=tuple(rows_in),
        disjoint=tuple(name for name in tables if name not in rows_in),
        rows=rows[counted],
        groups=group_numbers(first)[rows[counted]],
        correct=np.stack([is_correct(table)[counted] for table in same], 1),
        alpha=np.array(alpha, float),
        same_labels=np.array([label_agreement(first["label"].iloc[rows], table["label"]) for table in same]),
        uncounted=uncounted,
        all_rows=rows,
    )


def label_agreement(a: pd.Series, b: pd.Series) -> float:
    """The share of clips whose labels are equal in two categorical columns, which may have different categories."""
    return float((a.cat.codes.to_numpy() == b.cat.set_categories(a.cat.categories).cat.codes.to_numpy()).mean())


def shared_accuracy(runs: SharedClips) -> pd.DataFrame:
    """A row per run; only_correct and only_wrong count the clips that this run alone predicts correctly, or wrongly.
    Intervals are 95 % (`share_interval`)."""
    K, N = runs.correct.shape
    count = runs.correct_count[:, None]
    low, high = zip(*(share_interval(correct, runs.groups) for correct in runs.correct.T), strict=True)
    alone = {"only_correct": runs.correct & (count == 1), "only_wrong": ~runs.correct & (count == N - 1)}
    table = pd.DataFrame({"run": runs.names, "n": K, "accuracy": runs.correct.sum(0) / K, "low": low, "high": high})
    return table.assign(**{name: clips.sum(0) for name, clips in alone.items()}, alpha_temporal=runs.alpha)


def pairwise_differences(runs: SharedClips) -> pd.DataFrame:
    """A row per pair of runs: only_a and only_b count the clips that only this one of the two predicts correctly,
    difference is the accuracy of a minus that of b, with the 95 % interval (low, high) of this pair alone; p is that of
    `paired_effect`, corrected for all pairs by Holm."""
    correct = runs.correct.astype(float)
    only = (correct.T @ (1 - correct)).astype(int)  # N N: the run of the row is correct, that of the column wrong
    i, j = np.array(list(combinations(range(len(runs.names)), 2))).T
    names = np.array(runs.names, object)
    table = pd.DataFrame({"a": names[i], "b": names[j], "only_a": only[i, j], "only_b": only[j, i]})
    effects = [paired_effect(correct[:, a] - correct[:, b], runs.groups) for a, b in zip(i, j, strict=True)]
    return table.assign(
        difference=[effect.value for effect in effects], low=[effect.low for effect in effects],
        high=[effect.high for effect in effects], p=holm_correction([effect.p for effect in effects]),
    )  # fmt: skip


def correct_sets(runs: SharedClips, count: int) -> list[tuple[tuple[str, ...], int]]:
    """The clips that exactly `count` runs predict correctly, by runs: (runs, number of clips), most clips first."""
    bits = 1 << np.arange(len(runs.names))
    found, n = np.unique(runs.correct[runs.correct_count == count] @ bits, return_counts=True)
    return [
        (tuple(name for name, bit in zip(runs.names, bits, strict=True) if found[i] & bit), int(n[i]))
        for i in np.argsort(-n, kind="stable")
    ]


def shared_alpha_by_layer(runs: dict[str, Alpha], clips: pd.Series) -> pd.DataFrame:
    """`alpha_profile` of these clips, which all runs have, in the layers that all runs have, and run."""
    shared = set.intersection(*(set(alpha.layers["layer"]) for alpha in runs.values()))
    tables = []
    for name, alpha in runs.items():
        table = alpha_profile(alpha, find_rows(clips, alpha.clips))
        tables.append(table[table["layer"].isin(shared)].assign(run=name))
    return pd.concat(tables, ignore_index=True)
