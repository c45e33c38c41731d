"""Runs on the same clips: two side by side, or more together; which differ in accuracy, and in attention."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, with_interval
from analysis.attention.browsing import of_clips
from analysis.statistics.accuracy import groups_of, share_interval
from analysis.statistics.uncertainty import Effect, group_sums, holm, p_value, paired, paired_p, standard_error

WRONG_NOW, RIGHT_NOW, BOTH_RIGHT, BOTH_WRONG = OUTCOMES = ("lost", "gained", "both right", "both wrong")


def rows_of(clip_ids: pd.Series, clips: pd.DataFrame) -> NDArray[np.intp]:
    """In which row of `clips`, ordered by clip_id, each of these is; -1 where it is not there."""
    if clip_ids.equals(clips["clip_id"]):
        return np.arange(len(clips))
    return pd.Index(clips["clip_id"]).get_indexer(clip_ids)


def side_by_side(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Two runs' overviews on the clips that both have: row_a, row_b (where a clip is in a and in b), correct_a,
    correct_b, outcome (from a to b: one of `OUTCOMES`)."""
    there = rows_of(a["clip_id"], b)
    row_a = np.flatnonzero(there >= 0)
    row_b = there[row_a]
    was, now = a["correct"].to_numpy(bool)[row_a], b["correct"].to_numpy(bool)[row_b]
    outcome = pd.Categorical.from_codes(np.select([was & ~now, ~was & now, was & now], [0, 1, 2], 3), OUTCOMES)
    return pd.DataFrame({"row_a": row_a, "row_b": row_b, "correct_a": was, "correct_b": now, "outcome": outcome})


def accuracy_change(both: pd.DataFrame, groups: NDArray | pd.Series) -> Effect:
    """Accuracy of b less that of a, of clips in these groups (`uncertainty.paired`)."""
    return paired(both["correct_b"].to_numpy(float) - both["correct_a"].to_numpy(float), groups)


def alpha_change(a: Alpha, b: Alpha) -> pd.DataFrame:
    """alpha_T of b less that of a by layer, in the layers and on the clips that both have: `with_interval`'s columns,
    in which the mean is called change; over a's groups."""
    _, of_a, of_b = np.intersect1d(a.layers["layer_index"], b.layers["layer_index"], return_indices=True)
    there = rows_of(a.clips["clip_id"], b.clips)
    both = np.flatnonzero(there >= 0)
    change = b.temporal[np.ix_(there[both], of_b)] - a.temporal[np.ix_(both, of_a)]
    table = with_interval(a.layers.iloc[of_a], change, a.clips["group"].iloc[both])
    return table.rename(columns={"alpha_temporal": "change"})


@dataclass(frozen=True)
class Together:
    """N runs on the K clips that all of them have.

    Attributes:
        names: (N,) of the runs.
        strangers: of runs that are left out, as they have none of the clips that those before them all have.
        rows: (K,) where the clips are in the first run's table.
        groups: (K,) a number for the source video of each clip, as the first run knows it.
        right: (K, N) whether the run is right.
        alpha: (N,) mean alpha_T over layers and clips, nan where a run has no attention.
        same_labels: (N,) the share of the clips that have the first run's label.
    """

    names: tuple[str, ...]
    strangers: tuple[str, ...]
    rows: NDArray[np.intp]
    groups: NDArray[np.intp]
    right: NDArray[np.bool_]
    alpha: NDArray[np.float64]
    same_labels: NDArray[np.float64]

    @property
    def right_in(self) -> NDArray[np.intp]:
        """(K,): how many of the runs are right."""
        return self.right.sum(1)


def together(tables: dict[str, pd.DataFrame]) -> Together:
    """The runs' overviews (`browsing.overview`), by name, on the clips that all have."""
    first = next(iter(tables.values()))
    everywhere = np.ones(len(first), bool)
    where, strangers = {}, []  # where: of each run, the row of each clip of the first run; -1 where it has not the clip
    for name, table in tables.items():
        at = rows_of(first["clip_id"], table)
        if not (everywhere & (at >= 0)).any():
            strangers.append(name)
            continue
        everywhere &= at >= 0
        where[name] = at
    rows = np.flatnonzero(everywhere)

    def column(name: str, of: str) -> pd.Series:
        return tables[of][name].iloc[where[of][rows]]

    return Together(
        names=tuple(where),
        strangers=tuple(strangers),
        rows=rows,
        groups=groups_of(first)[rows],
        right=np.stack([column("correct", of).to_numpy(bool) for of in where], 1),
        alpha=np.array(
            [float(column("alpha_temporal", of).mean()) if "alpha_temporal" in tables[of] else np.nan for of in where]
        ),
        same_labels=np.array([agreement(first["label"].iloc[rows], column("label", of)) for of in where]),
    )


def agreement(a: pd.Series, b: pd.Series) -> float:
    """The share of rows in which two columns of categories, which need not be the same ones, agree."""
    return float((a.cat.codes.to_numpy() == b.cat.set_categories(a.cat.categories).cat.codes.to_numpy()).mean())


def accuracy_table(runs: Together) -> pd.DataFrame:
    """A row per run: run, n, accuracy, low, high (95 %, `share_interval`), only_right and only_wrong (clips that it
    alone gets right, or wrong), alpha_temporal."""
    K, N = runs.right.shape
    right, count = runs.right.sum(0), runs.right_in[:, None]
    low, high = zip(*(share_interval(of_run, runs.groups) for of_run in runs.right.T), strict=True)
    return pd.DataFrame(
        {
            "run": runs.names, "n": K, "accuracy": right / K, "low": low, "high": high,
            "only_right": (runs.right & (count == 1)).sum(0), "only_wrong": (~runs.right & (count == N - 1)).sum(0),
            "alpha_temporal": runs.alpha,
        }
    )  # fmt: skip


def differences(runs: Together) -> pd.DataFrame:
    """A row per pair of runs: a, b, only_a and only_b (clips that this one of the two gets right), difference (accuracy
    of a less that of b), p (`uncertainty.paired_p`, corrected for all the pairs by Holm)."""
    right = runs.right.astype(float)
    only = (right.T @ (1 - right)).astype(int)  # N N: the run of the row is right, that of the column wrong
    i, j = np.array(list(combinations(range(len(runs.names)), 2))).T
    names = np.array(runs.names, object)
    change = (only[i, j] - only[j, i]) / len(right)
    sums, counts = group_sums(right, runs.groups)
    pairs = zip(change, standard_error(sums[:, i] - sums[:, j], counts), only[i, j], only[j, i], strict=True)
    p = holm([paired_p(p_value(float(d), float(e), len(counts)), int(a), int(b)) for d, e, a, b in pairs])
    return pd.DataFrame(
        {"a": names[i], "b": names[j], "only_a": only[i, j], "only_b": only[j, i], "difference": change, "p": p}
    )


def right_sets(runs: Together, count: int) -> list[tuple[tuple[str, ...], int]]:
    """Of the clips that are right in exactly so many runs: in which ones, and how many clips; most clips first."""
    bits = 1 << np.arange(len(runs.names))
    found, n = np.unique(runs.right[runs.right_in == count] @ bits, return_counts=True)
    return [
        (tuple(name for name, bit in zip(runs.names, bits, strict=True) if found[i] & bit), int(n[i]))
        for i in np.argsort(-n, kind="stable")
    ]


def alpha_by_layer(runs: dict[str, Alpha], clips: pd.Series) -> pd.DataFrame:
    """Mean alpha_T over these clips, which all the runs have, in the layers that all of them have: run, layer_index,
    layer, stage, n, groups, alpha_temporal, low, high (95 % over groups)."""
    shared = set.intersection(*(set(alpha.layers["layer"]) for alpha in runs.values()))
    tables = []
    for name, alpha in runs.items():
        rows = rows_of(clips, alpha.clips)
        table = of_clips(alpha, rows)
        tables.append(table[table["layer"].isin(shared)].assign(run=name))
    return pd.concat(tables, ignore_index=True)
