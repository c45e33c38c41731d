"""The four hypotheses on learnt attention in Section 6.1 of the paper, tested on the given runs.

Each hypothesis becomes one comparison or more: an effect in units of alpha_T with a 95 % interval and a p-value,
corrected for all comparisons of the hypothesis (Holm). A comparison "holds" if its corrected p is below 0.05 and its
effect has the sign that the paper gives, "does not hold" if it has the opposite sign, and is "undecided" otherwise.
Runs that differ only in their seed are one network trained several times (`uncertainty.mean_effect`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
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
# Section 4.1 sorts its six datasets so; the other words are those of our synthetic and direction datasets.
TEMPORAL_DATASETS = ("something", "jester", "motion", "both directions")
APPEARANCE_DATASETS = ("kinetics", "ucf", "hmdb", "appearance")


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


@dataclass(frozen=True)
class HypothesisComparison:
    """A row of the table: what is compared, the effect, and the verdict on the hypothesis."""

    hypothesis: str
    compared: str
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int
    seeds: int
    paired: bool
    verdict: str


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
    name = dataset.lower()
    if any(word in name for word in TEMPORAL_DATASETS):
        return "temporal"
    return "appearance" if any(word in name for word in APPEARANCE_DATASETS) else ""


def evaluate_hypotheses(runs: list[Run], read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """A row per `HypothesisComparison`; none for a hypothesis that these runs cannot test."""
    conditions = group_conditions(runs)
    rises = [(c.name, rise_with_depth(c, read)) for c in conditions]
    kinds = pairs_of_kinds(conditions, lambda c: dataset_kind(c.dataset), ("temporal", "appearance"), "p", "modality")
    modalities = pairs_of_kinds(conditions, lambda c: c.modality, ("Flow", "RGB"), "dataset", "p")
    rows = [
        *judge_hypothesis(DEPTH, [(name, rise, True) for name, rise in rises if rise is not None]),
        *judge_hypothesis(PROPORTION, compare_pairs(pairs_of_proportions(conditions), read)),
        *judge_hypothesis(DATASETS, compare_pairs(kinds, read)),
        *judge_hypothesis(MODALITY, compare_pairs(modalities, read)),
    ]
    return pd.DataFrame([asdict(row) for row in rows], columns=list(HypothesisComparison.__dataclass_fields__))


def rise_with_depth(condition: Condition, read: ReadAlpha = read_alpha) -> Effect | None:
    """The rise of alpha_T from the first layer to the last, on the straight line through all layers; None for a network
    of one layer."""
    alphas = [read(run) for run in condition.runs]
    L = len(alphas[0].layers)
    if L < 2:
        return None
    return mean_effect(*stack_values([alpha_clip_table(alpha, depth_weights(L)) for alpha in alphas]))


def compare_pairs(pairs: NamedPairs, read: ReadAlpha) -> NamedEffects:
    return [(name, *compare_conditions(a, b, read)) for name, a, b in pairs]


def pairs_of_proportions(conditions: list[Condition]) -> NamedPairs:
    """Each p with the next larger p, of the same dataset, network and modality."""
    groups: dict[tuple[str, ...], list[Condition]] = {}
    for c in conditions:
        groups.setdefault((c.dataset, c.network, c.modality), []).append(c)
    pairs: NamedPairs = []
    for group in groups.values():
        ordered = sorted(group, key=lambda c: Fraction(c.p))
        for smaller, larger in pairwise(ordered):
            if smaller.p != larger.p:
                name = f"{smaller.dataset}, {smaller.network}, {smaller.modality}: p = {smaller.p} less {larger.p}"
                pairs.append((name, smaller, larger))
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
    shared = tables  # each ordered by clip
    if not all(table["clip_id"].equals(tables[0]["clip_id"]) for table in tables):
        common = sorted(set.intersection(*(set(table["clip_id"]) for table in tables)))
        shared = [table.set_index("clip_id").loc[common] for table in tables]
    return np.stack([table["value"].to_numpy(float) for table in shared]), shared[0]["group"]


def judge_hypothesis(hypothesis: str, effects: NamedEffects) -> list[HypothesisComparison]:
    """The comparisons of one hypothesis with their verdicts, the p-values corrected together."""
    corrected = holm_correction([e.p for _, e, _ in effects])
    rows = []
    for (name, e, paired), p_holm in zip(effects, corrected, strict=True):
        verdict = "undecided"
        if p_holm < SIGNIFICANCE_LEVEL:
            verdict = "holds" if e.value > 0 else "does not hold"
        comparison = HypothesisComparison(
            hypothesis=hypothesis, compared=name, effect=e.value, low=e.low, high=e.high, p=e.p, p_holm=p_holm,
            n=e.n, seeds=e.seeds, paired=paired, verdict=verdict,
        )  # fmt: skip
        rows.append(comparison)
    return rows


def hypothesis_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A row per hypothesis, from the table of `evaluate_hypotheses`.

    Returns:
        hypothesis, verdict (over all comparisons: "holds", "does not hold", "mixed", "undecided", or "not tested"),
        comparisons, holds, does_not_hold, undecided (how many).
    """
    rows = []
    for hypothesis in HYPOTHESES:
        counts = table.loc[table["hypothesis"] == hypothesis, "verdict"].value_counts()
        holds, fails, undecided = (int(counts.get(v, 0)) for v in ("holds", "does not hold", "undecided"))
        verdict = "holds" if holds else "not tested"
        if fails:
            verdict = "mixed" if holds else "does not hold"
        elif undecided:
            verdict = "undecided"
        rows.append((hypothesis, verdict, holds + fails + undecided, holds, fails, undecided))
    columns = ["hypothesis", "verdict", "comparisons", "holds", "does_not_hold", "undecided"]
    return pd.DataFrame(rows, columns=columns)
