"""The four hypotheses on learnt attention in Section 6.1 of the paper, tested on the given runs.

Each hypothesis becomes one comparison or more: an effect in units of alpha_T with a 95 % interval and a p-value,
corrected for all comparisons of the hypothesis (Holm). A comparison "holds" if its corrected p is below 0.05 and its
effect has the sign that the paper gives, "does not hold" if it has the opposite sign, and is "undecided" otherwise.
Runs that differ only in their seed are one network trained several times (`uncertainty.mean_effect`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pandas as pd

from analysis.attention.alpha_matrix import Alpha, read_alpha
from analysis.attention.alpha_tables import alpha_clip_table, depth_weights
from analysis.runs.run_directory import Run
from analysis.statistics.uncertainty import SIGNIFICANCE_LEVEL, Effect, holm_correction, mean_effect, unpaired_effect

DEPTH = "Temporal attention rises with depth (Figure 5)"
PROPORTION = "The smaller p, the higher α_T (Figure 6)"
DATASETS = "α_T is higher on temporal-related than on appearance-related datasets (Figure 7)"
MODALITY = "α_T is higher for Flow than for RGB (Figure 8)"
HYPOTHESES = (DEPTH, PROPORTION, DATASETS, MODALITY)
COMPARISON = ["hypothesis", "compared", "effect", "low", "high", "p", "p_holm", "n", "seeds", "paired", "verdict"]
VERDICTS = ("does not hold", "undecided", "holds")  # the first that any comparison has is the hypothesis's
DATASET_KINDS = {  # as Section 4.1 sorts its six datasets; the other words are those of our own datasets
    "temporal": ("something", "jester", "motion", "both directions"),
    "appearance": ("kinetics", "ucf", "hmdb", "appearance"),
}


@dataclass(frozen=True)
class Condition:
    """Runs of one network on one dataset, which differ only in the seed of their training."""

    dataset: str
    network: str
    p: str
    modality: str
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.network}, p = {self.p}, {self.modality}"


ReadAlpha = Callable[[Run], Alpha]
NamedEffects = list[tuple[str, Effect, bool]]  # what is compared, the effect, whether it is paired
NamedPairs = list[tuple[str, Condition, Condition]]


def group_conditions(runs: list[Run]) -> list[Condition]:
    """Group the runs that differ only in their seed; a run whose seed is unknown is a condition of its own."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        m = run.meta
        network = f"{m.get('arch', '')} {m.get('conv', 'sth')}"
        other_facts = [str(m.get(key, "")) for key in ("width", "frames", "start", "data", "split", "protocol")]
        groups.setdefault((m["dataset"], network, run.p, run.modality, *other_facts), []).append(run)
    result = []
    for (dataset, network, p, modality, *_), group in groups.items():
        seeds = [run.meta.get("seed") for run in group]
        only_seeds_differ = None not in seeds and len(set(seeds)) == len(seeds)
        for members in [tuple(group)] if only_seeds_differ else [(run,) for run in group]:
            result.append(Condition(dataset, network, p, modality, members))
    return result


def dataset_kind(dataset: str) -> str:
    """ "temporal", "appearance", or "" if it is unknown."""
    return next((kind for kind, words in DATASET_KINDS.items() if any(w in dataset.lower() for w in words)), "")


def evaluate_hypotheses(runs: list[Run], read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """A row per comparison: what is compared, the effect and its verdict; none for a hypothesis that these runs cannot
    test."""
    conditions = group_conditions(runs)
    kinds, modalities = ("temporal", "appearance"), ("Flow", "RGB")
    pairs = {
        PROPORTION: pairs_of_proportions(conditions),
        DATASETS: pairs_of_kinds(conditions, lambda c: dataset_kind(c.dataset), kinds, "p", "modality"),
        MODALITY: pairs_of_kinds(conditions, lambda c: c.modality, modalities, "dataset", "p"),
    }
    rises = [(c.name, rise, True) for c in conditions if (rise := rise_with_depth(c, read))]
    rows = judge_hypothesis(DEPTH, rises)
    for hypothesis, compared in pairs.items():
        rows += judge_hypothesis(hypothesis, [(name, *compare_conditions(a, b, read)) for name, a, b in compared])
    return pd.DataFrame(rows, columns=COMPARISON)


def rise_with_depth(condition: Condition, read: ReadAlpha = read_alpha) -> Effect | None:
    """The rise of alpha_T from the first layer to the last, on the straight line through all layers; None for a network
    of one layer."""
    alphas = [read(run) for run in condition.runs]
    L = len(alphas[0].layers)
    if L < 2:
        return None
    return mean_effect(*stack_values([alpha_clip_table(alpha, depth_weights(L)) for alpha in alphas]))


def pairs_of_proportions(conditions: list[Condition]) -> NamedPairs:
    """Each p with the next larger p, of the same dataset, network and modality."""
    groups: dict[str, list[Condition]] = {}
    for c in conditions:
        groups.setdefault(f"{c.dataset}, {c.network}, {c.modality}", []).append(c)
    pairs: NamedPairs = []
    for name, group in groups.items():
        for smaller, larger in pairwise(sorted(group, key=lambda c: Fraction(c.p))):
            if smaller.p != larger.p:
                pairs.append((f"{name}: p = {smaller.p} less {larger.p}", smaller, larger))
    return pairs


def pairs_of_kinds(
    conditions: list[Condition], kind: Callable[[Condition], str], kinds: tuple[str, str], *same: str
) -> NamedPairs:
    """Each condition of the first kind with each of the second, of one network and with equal attributes `same`."""
    first, second = ([c for c in conditions if kind(c) == k] for k in kinds)
    pairs: NamedPairs = []
    for a, b in product(first, second):
        if a.network == b.network and all(getattr(a, key) == getattr(b, key) for key in same):
            fixed = ", ".join([a.network, *(f"p = {a.p}" if key == "p" else getattr(a, key) for key in same)])
            one, other = (a.dataset, b.dataset) if a.dataset != b.dataset else kinds
            pairs.append((f"{fixed}: {one} less {other}", a, b))
    return pairs


def compare_conditions(a: Condition, b: Condition, read: ReadAlpha = read_alpha) -> tuple[Effect, bool]:
    """alpha_T (mean over layers) of `a` minus that of `b`, and whether the comparison is paired, clip by clip.

    It is paired if both have the same clips and equally many seeds: the variance that the clips share then cancels.
    """
    tables_a, tables_b = ([alpha_clip_table(read(run)) for run in c.runs] for c in (a, b))
    if len(a.runs) == len(b.runs) and a.runs[0].meta.get("data") == b.runs[0].meta.get("data"):
        values, groups = stack_values([*tables_a, *tables_b])
        if len(groups):
            return mean_effect(values[: len(a.runs)] - values[len(a.runs) :], groups), True
    return unpaired_effect(*stack_values(tables_a), *stack_values(tables_b)), False


def stack_values(tables: list[pd.DataFrame]) -> tuple[np.ndarray, pd.Series]:
    """The values (S, N) of the clips that all S tables have, and their groups (N,)."""
    by_clip = [table.set_index("clip_id") for table in tables]
    values = pd.concat([table["value"] for table in by_clip], axis=1, join="inner")
    return values.to_numpy(float).T, by_clip[0]["group"].loc[values.index]


def judge_hypothesis(hypothesis: str, effects: NamedEffects) -> list[dict[str, object]]:
    """The comparisons of one hypothesis with their verdicts, the p-values corrected together."""
    rows = []
    for (name, e, paired), p_holm in zip(effects, holm_correction([e.p for _, e, _ in effects]), strict=True):
        sign = "holds" if e.value > 0 else "does not hold"
        verdict = sign if p_holm < SIGNIFICANCE_LEVEL else "undecided"
        row = {"hypothesis": hypothesis, "compared": name, "effect": e.value, "p_holm": p_holm, "paired": paired}
        rows.append(vars(e) | row | {"verdict": verdict})
    return rows


def hypothesis_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A row per hypothesis, from the table of `evaluate_hypotheses`: the verdict over all comparisons (also "mixed" or
    "not tested"), and how many hold, do not hold and are undecided."""
    rows = []
    for hypothesis in HYPOTHESES:
        found = list(table.loc[table["hypothesis"] == hypothesis, "verdict"])
        fails, undecided, holds = (found.count(verdict) for verdict in VERDICTS)
        verdict = "mixed" if holds and fails else next((v for v in VERDICTS if v in found), "not tested")
        rows.append((hypothesis, verdict, len(found), holds, fails, undecided))
    return pd.DataFrame(rows, columns=["hypothesis", "verdict", "comparisons", "holds", "does_not_hold", "undecided"])
