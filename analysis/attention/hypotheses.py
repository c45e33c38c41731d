"""What Section 6.1 of the paper says of the learnt attention, put to the runs that are there.

Each of its four statements becomes one comparison or more: an effect in units of alpha_T with a 95 % interval,
and p-values corrected for all comparisons of the statement (Holm). A comparison "holds" if its corrected p is
below 0.05 and the effect has the sign that the paper says, "does not hold" if it has the other, else it
is "undecided". Runs that differ in their seed alone are one network trained several times (`uncertainty.effect`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pandas as pd

from analysis.attention.alpha_matrix import Alpha, read_alpha
from analysis.attention.alpha_tables import clip_table, depth_weights
from analysis.runs.run_directory import Run
from analysis.statistics.uncertainty import Effect, difference, effect, holm

Read = Callable[[Run], Alpha]

SIGNIFICANT = 0.05
DEPTH = "Temporal attention rises with depth (Figure 5)"
PROPORTION = "The smaller p, the higher α_T (Figure 6)"
DATASETS = "α_T is higher on temporal-related than on appearance-related datasets (Figure 7)"
MODALITY = "α_T is higher for Flow than for RGB (Figure 8)"
HYPOTHESES = (DEPTH, PROPORTION, DATASETS, MODALITY)
# Section 4.1 sorts its six datasets so; of the others, those that ask for the order of time in so many words.
TEMPORAL = ("something", "jester", "motion", "both directions")
APPEARANCE = ("kinetics", "ucf", "hmdb", "appearance")


@dataclass(frozen=True)
class Condition:
    """Runs of one network on one dataset, which differ in the seed of the training alone."""

    dataset: str
    network: str
    p: str
    modality: str
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.network}, p = {self.p}, {self.modality}"


@dataclass(frozen=True)
class Comparison:
    """One line of the table: what was compared, the effect, and what it says of the statement."""

    statement: str
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


def conditions(runs: list[Run]) -> list[Condition]:
    """The runs with attention; those together that are alike but for their seed, which all of them must know."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        m = run.meta
        network = f"{m.get('arch', '')} {m.get('conv', 'sth')}"
        apart = [str(m.get(key, "")) for key in ("width", "frames", "start", "data", "split", "protocol")]
        found.setdefault((m["dataset"], network, run.p, run.modality, *apart), []).append(run)
    result = []
    for (dataset, network, p, modality, *_), alike in found.items():
        seeds = [run.meta.get("seed") for run in alike]
        together = None not in seeds and len(set(seeds)) == len(seeds)
        for group in [tuple(alike)] if together else [(run,) for run in alike]:
            result.append(Condition(dataset, network, p, modality, group))
    return result


def kind_of(dataset: str) -> str:
    """ "temporal", "appearance", or "" for a dataset that nobody has sorted."""
    name = dataset.lower()
    if any(word in name for word in TEMPORAL):
        return "temporal"
    return "appearance" if any(word in name for word in APPEARANCE) else ""


def evaluate_hypotheses(runs: list[Run], read: Read = read_alpha) -> pd.DataFrame:
    """A row per `Comparison`; none for a statement that these runs cannot speak of. `read` gives a run's attention."""
    sets = conditions(runs)
    rises = [(c.name, rise(c, read), True) for c in sets]
    kinds = between(sets, lambda a: kind_of(a.dataset), ("temporal", "appearance"), "p", "modality")
    modalities = between(sets, lambda a: a.modality, ("Flow", "RGB"), "dataset", "p")
    found = [
        *corrected(DEPTH, [(name, found, paired) for name, found, paired in rises if found is not None]),
        *corrected(PROPORTION, compared(proportions(sets), read)),
        *corrected(DATASETS, compared(kinds, read)),
        *corrected(MODALITY, compared(modalities, read)),
    ]
    return pd.DataFrame([asdict(row) for row in found], columns=list(Comparison.__dataclass_fields__))


Compared = list[tuple[str, Effect, bool]]
Pairs = list[tuple[str, Condition, Condition]]


def rise(condition: Condition, read: Read = read_alpha) -> Effect | None:
    """How much alpha_T rises from the first layer to the last, by the straight line through all of them; None of a
    network that has one layer."""
    alphas = [read(run) for run in condition.runs]
    L = len(alphas[0].layers)
    return effect(*stacked([clip_table(alpha, depth_weights(L)) for alpha in alphas])) if L > 1 else None


def compared(pairs: Pairs, read: Read) -> Compared:
    return [(name, *compare(a, b, read)) for name, a, b in pairs]


def proportions(sets: list[Condition]) -> Pairs:
    """Each p against the next larger one, on the same dataset and modality."""
    groups: dict[tuple[str, ...], list[Condition]] = {}
    for c in sets:
        groups.setdefault((c.dataset, c.network, c.modality), []).append(c)
    rows: Pairs = []
    for group in groups.values():
        ordered = sorted(group, key=lambda c: Fraction(c.p))
        for smaller, larger in pairwise(ordered):
            if smaller.p != larger.p:
                name = f"{smaller.dataset}, {smaller.network}, {smaller.modality}: p = {smaller.p} less {larger.p}"
                rows.append((name, smaller, larger))
    return rows


def between(sets: list[Condition], kind: Callable[[Condition], str], kinds: tuple[str, str], *alike: str) -> Pairs:
    """Each condition of the first kind against each of the second, of one network, alike in these attributes."""
    first, second = ([c for c in sets if kind(c) == k] for k in kinds)
    rows: Pairs = []
    for a, b in product(first, second):
        if a.network == b.network and all(getattr(a, key) == getattr(b, key) for key in alike):
            fixed = ", ".join([a.network, *(f"p = {a.p}" if key == "p" else getattr(a, key) for key in alike)])
            name = (
                f"{fixed}: {a.dataset} less {b.dataset}"
                if a.dataset != b.dataset
                else f"{fixed}: {kinds[0]} less {kinds[1]}"
            )
            rows.append((name, a, b))
    return rows


def compare(a: Condition, b: Condition, read: Read = read_alpha) -> tuple[Effect, bool]:
    """alpha_T (mean over layers) of `a` less that of `b`, and whether it was compared clip by clip.

    It is where both saw the same clips and were trained with as many seeds: what is common to both then drops out.
    """
    tables_a, tables_b = ([clip_table(read(run)) for run in c.runs] for c in (a, b))
    if len(a.runs) == len(b.runs) and a.runs[0].meta.get("data") == b.runs[0].meta.get("data"):
        values, groups = stacked([*tables_a, *tables_b])
        if len(groups):
            return effect(values[: len(a.runs)] - values[len(a.runs) :], groups), True
    return difference(*stacked(tables_a), *stacked(tables_b)), False


def stacked(tables: list[pd.DataFrame]) -> tuple[np.ndarray, pd.Series]:
    """The values (S, N) of the clips that all have, and their groups (N,)."""
    chosen = tables  # each ordered by clip
    if not all(table["clip_id"].equals(tables[0]["clip_id"]) for table in tables):
        common = sorted(set.intersection(*(set(table["clip_id"]) for table in tables)))
        chosen = [table.set_index("clip_id").loc[common] for table in tables]
    return np.stack([table["value"].to_numpy(float) for table in chosen]), chosen[0]["group"]


def corrected(statement: str, compared: Compared) -> list[Comparison]:
    """The comparisons of one statement, their p-values corrected together."""
    adjusted = holm([found.p for _, found, _ in compared])
    rows = []
    for (name, found, paired), p_holm in zip(compared, adjusted, strict=True):
        verdict = "undecided"
        if p_holm < SIGNIFICANT:
            verdict = "holds" if found.value > 0 else "does not hold"
        e = found
        rows.append(Comparison(statement, name, e.value, e.low, e.high, e.p, p_holm, e.n, e.seeds, paired, verdict))
    return rows


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """A row per statement: statement, verdict (of all its comparisons together), comparisons, holds, does_not_hold,
    undecided; the verdict of one that was not compared is "not asked"."""
    rows = []
    for statement in HYPOTHESES:
        counts = table.loc[table["statement"] == statement, "verdict"].value_counts()
        holds, fails, open_ = (int(counts.get(v, 0)) for v in ("holds", "does not hold", "undecided"))
        total = holds + fails + open_
        verdict = "holds" if holds else "not asked"
        if fails:
            verdict = "mixed" if holds else "does not hold"
        elif open_:
            verdict = "undecided"
        rows.append((statement, verdict, total, holds, fails, open_))
    columns = ["statement", "verdict", "comparisons", "holds", "does_not_hold", "undecided"]
    return pd.DataFrame(rows, columns=columns)
