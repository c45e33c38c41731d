"""The four hypotheses on learnt attention in Section 6.1 of the paper, tested on the given runs.

Each hypothesis becomes one comparison or more: an effect in units of alpha_T with a 95 % interval. What is tested is
whether trained networks differ, so that it takes several seeds of each: with one, the comparison is of "these networks
only", however many clips they saw. The p-values of the others are corrected for their number (Holm). A comparison
"holds" if its corrected p is below 0.05 and its effect has the sign that the paper gives, "does not hold" if it has the
opposite sign, and is "undecided" otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.attention.alpha_matrix import ReadAlpha, read_alpha, read_once
from analysis.attention.alpha_tables import alpha_clip_table, depth_weights
from analysis.attention.conditions import (
    Condition,
    Pair,
    group_conditions,
    pairs_of_kinds,
    pairs_of_modalities,
    pairs_of_proportions,
    recorded_again,
)
from analysis.runs.run_directory import Run
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL
from analysis.statistics.effects import (
    Effect,
    Spread,
    half_widths,
    holm_correction,
    mean_effect,
    paired_difference,
    unpaired_difference,
)

DEPTH = "Temporal attention rises with depth (Figure 5)"
PROPORTION = "The smaller p, the higher α_T (Figure 6)"
DATASETS = "α_T is higher on temporal-related than on appearance-related datasets (Figure 7)"
MODALITY = "α_T is higher for Flow than for RGB (Figure 8)"
HYPOTHESES = (DEPTH, PROPORTION, DATASETS, MODALITY)
COMPARISON = [
    "hypothesis", "compared", "effect", "low", "high", "p", "p_holm", "n", "seeds", "seeds_needed", "paired", "verdict",
]  # fmt: skip
HOLDS, FAILS, UNDECIDED, THESE_ONLY = "holds", "does not hold", "undecided", "these networks only"
NOT_TESTED, MIXED = "not tested", "mixed"
SPREAD_OF_SEEDS = 0.01  # assumed standard deviation of alpha_T over trainings, where no run tells
MOST_SEEDS = 50
HOW_JUDGED = (
    "A comparison holds if its effect on α_T has the sign that the paper reports and p < 0.05, corrected for all "
    "comparisons of the hypothesis (Holm). The test is over trained networks, so each needs several seeds: with one, "
    "the interval is over clips (source videos, if known), and the result is about these networks only. Only networks "
    "that are alike but for the one thing are compared. Seeds needed: how many of each network would decide an effect "
    "of this size, with the spread of the networks that were trained more than once (if there are none, "
    f"{SPREAD_OF_SEEDS} is assumed for α_T, and of a rise with depth no number is named); none where there is no "
    "interval, or where there are as many already."
)


@dataclass(frozen=True)
class Comparison:
    """What is compared, the effect, and whether it is paired, clip by clip."""

    name: str
    effect: Effect
    paired: bool


@dataclass(frozen=True)
class Tested:
    """A row per comparison (`COMPARISON`), and for each hypothesis {what was not compared: why}."""

    comparisons: pd.DataFrame
    left_out: dict[str, dict[str, str]]

    def of(self, hypothesis: str) -> pd.DataFrame:
        """The comparisons of one hypothesis."""
        return self.comparisons[self.comparisons["hypothesis"] == hypothesis].drop(columns="hypothesis")


def evaluate_hypotheses(runs: list[Run], read: ReadAlpha | None = None) -> Tested:
    """Test what these runs can: a hypothesis without comparisons has no row. `read` gives a run's attention, several
    times; by default that of `read_once`."""
    read = read or read_once()
    conditions = group_conditions(runs)
    spread = spread_of_seeds(conditions, read)
    rises = [rise for c in conditions if (rise := rise_with_depth(c, read))]
    rows = judge_hypothesis(DEPTH, rises, spread_of_rises(conditions, read))
    left_out = {DEPTH: recorded_again(conditions)}
    for hypothesis, pair_up in (
        (PROPORTION, pairs_of_proportions),
        (DATASETS, pairs_of_kinds),
        (MODALITY, pairs_of_modalities),
    ):
        pairs = pair_up(conditions)
        rows += judge_hypothesis(hypothesis, [compare_pair(pair, read) for pair in pairs.compared], spread)
        compared = [c for pair in pairs.compared for c in (pair.first, pair.second)]
        left_out[hypothesis] = pairs.left_out | recorded_again(compared)
    return Tested(named_apart(pd.DataFrame(rows, columns=COMPARISON)), left_out)


def named_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a number after names that stand twice in a hypothesis: networks that differ in other facts."""
    by_name = table.groupby(["hypothesis", "compared"])
    number, of = by_name.cumcount() + 1, by_name["compared"].transform("size")
    return table.assign(compared=table["compared"].mask(of > 1, table["compared"] + " (" + number.astype(str) + ")"))


def spread_of_seeds(conditions: list[Condition], read: ReadAlpha = read_alpha) -> float:
    """The standard deviation over trainings of alpha_T, mean over layers and clips, of all networks that were trained
    more than once; `SPREAD_OF_SEEDS` if there are none."""
    several = [c for c in conditions if len(c.runs) > 1]
    found = pooled_spread([np.array([float(read(run).mean.mean()) for run in c.runs]) for c in several])
    return SPREAD_OF_SEEDS if found is None else found


def spread_of_rises(conditions: list[Condition], read: ReadAlpha = read_alpha) -> float | None:
    """As `spread_of_seeds`, of the rise of alpha_T with depth; None if no network was trained more than once."""
    several = [rises_by_clip(c, read) for c in conditions if len(c.runs) > 1]
    return pooled_spread([found[0].mean(1) for found in several if found])


def pooled_spread(trainings: Sequence[np.ndarray]) -> float | None:
    """The standard deviation over the trainings of a network, pooled over networks, from an array of one value of each
    training for each network; None if all are of one training."""
    df = sum(len(values) - 1 for values in trainings)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in trainings)
    return float(np.sqrt(squares / df)) if df else None


def rise_with_depth(condition: Condition, read: ReadAlpha = read_alpha) -> Comparison | None:
    """The rise of alpha_T from the first layer to the last, on the straight line through all layers; None for a network
    of one layer."""
    found = rises_by_clip(condition, read)
    return Comparison(condition.name, mean_effect(*found), True) if found else None


def rises_by_clip(condition: Condition, read: ReadAlpha = read_alpha) -> tuple[np.ndarray, pd.Series] | None:
    """The rises of alpha_T with depth (S, N) of S trainings and their N common clips, and the clips' groups (N,); None
    for a network of one layer."""
    alphas = [read(run) for run in condition.runs]
    L = len(alphas[0].layers)
    return stack_values([alpha_clip_table(alpha, depth_weights(L)) for alpha in alphas]) if L > 1 else None


def compare_pair(pair: Pair, read: ReadAlpha = read_alpha) -> Comparison:
    """alpha_T (mean over layers) of the first condition minus that of the second.

    It is paired if both have the same clips (most of them, as some may be unreadable): the variance that the clips
    share then cancels. Two questions about the same videos may hold out other ones; then it is not.
    """
    first, second = ([alpha_clip_table(read(run)) for run in c.runs] for c in (pair.first, pair.second))
    if pair.first["data"] == pair.second["data"]:
        values, groups = stack_values([*first, *second])
        if 2 * len(groups) > max(map(len, (*first, *second))):
            S = len(first)
            return Comparison(pair.name, paired_difference(values[:S], values[S:], groups), True)
    return Comparison(pair.name, unpaired_difference(*stack_values(first), *stack_values(second)), False)


def stack_values(tables: list[pd.DataFrame]) -> tuple[np.ndarray, pd.Series]:
    """The values (S, N) of the clips that all S tables have, and their groups (N,)."""
    by_clip = [table.set_index("clip_id") for table in tables]
    values = pd.concat([table["value"] for table in by_clip], axis=1, join="inner")
    return values.to_numpy(float).T, by_clip[0]["group"].loc[values.index]


def judge_hypothesis(hypothesis: str, found: Sequence[Comparison], spread: float | None) -> list[dict[str, object]]:
    """The comparisons of one hypothesis with their verdicts; the p-values of those over several seeds are corrected
    together. `spread` is that of the compared value over trainings, None if it is not known."""
    rows = []
    over_seeds = [c.effect.p if c.effect.seeds > 1 else np.nan for c in found]
    for c, p_holm in zip(found, holm_correction(over_seeds), strict=True):
        sign = HOLDS if c.effect.value > 0 else FAILS
        verdict = THESE_ONLY if c.effect.seeds == 1 else sign if p_holm < SIGNIFICANCE_LEVEL else UNDECIDED
        of_networks = 1 if hypothesis == DEPTH else 2
        needed = more_seeds(c.effect, spread, of_networks) if verdict in (THESE_ONLY, UNDECIDED) else None
        row = {"hypothesis": hypothesis, "compared": c.name, "effect": c.effect.value, "p_holm": p_holm}
        rows.append(vars(c.effect) | row | {"seeds_needed": needed, "paired": c.paired, "verdict": verdict})
    return rows


def more_seeds(effect: Effect, spread: float | None, networks: int) -> int | None:
    """`seeds_needed` of an effect; None if the spread is not known, if the effect has no interval, which no seed helps,
    and if there are as many seeds already."""
    if spread is None or np.isnan(effect.p):
        return None
    needed = seeds_needed(effect.value, spread, networks)
    return needed if needed and needed > effect.seeds else None


def seeds_needed(effect: float, spread: float, networks: int) -> int | None:
    """How many seeds of each network would decide an effect of this size, if trainings spread by `spread` (a standard
    deviation) and clips are many; None if more than 50."""
    for S in range(2, MOST_SEEDS + 1):
        if half_widths([Spread(np.array([spread**2 / S]), S - 1)] * networks).item() < abs(effect):
            return S
    return None


def hypothesis_verdicts(tested: Tested) -> pd.DataFrame:
    """A row per hypothesis: the verdict over all comparisons, how many hold, do not hold and are undecided, and how
    many are of networks that were trained once (these_only).

    It holds (or does not) if more than half of the comparisons over seeds do and none says the opposite; it is mixed if
    some hold and others do not, and else undecided."""
    rows = []
    for hypothesis in HYPOTHESES:
        found = list(tested.of(hypothesis)["verdict"])
        holds, fails, undecided, these = (found.count(v) for v in (HOLDS, FAILS, UNDECIDED, THESE_ONLY))
        most = (len(found) - these) / 2
        verdict = NOT_TESTED if not found else THESE_ONLY if these == len(found) else UNDECIDED
        if holds and fails:
            verdict = MIXED
        elif max(holds, fails) > most:
            verdict = HOLDS if holds else FAILS
        rows.append((hypothesis, verdict, len(found), holds, fails, undecided, these))
    columns = ["hypothesis", "verdict", "comparisons", "holds", "does_not_hold", "undecided", "these_only"]
    return pd.DataFrame(rows, columns=columns)
