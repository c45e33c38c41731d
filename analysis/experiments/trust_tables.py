"""The results of `trust` as tables: means with 95 % intervals over clips, and a verdict for each.

Intervals and p-values are over source videos (docs/statistics.md); p-values are corrected over each table (Holm).
"""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd

from analysis.experiments.trust import CONTROLS, TABLES
from analysis.explain.alpha_replacement import EVERY_LAYER
from analysis.explain.faithfulness import DELETION
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL
from analysis.statistics.correlations import rank_correlation, rank_correlations
from analysis.statistics.effects import Effect, holm_correction, mean_effect
from analysis.statistics.shares import paired_effect
from sth_core.shards import Shards

NO_EFFECT = Effect(math.nan, math.nan, math.nan, math.nan, 0, 1)  # of no clips
PASSES, FAILS, OPEN = "passes", "fails", "undecided"
STILL_THERE = 0.5  # rank correlation with the true map from which on a randomized network's map counts as the same


class TrustResults:
    """The tables of a `trust` folder."""

    def __init__(self, folder: Path) -> None:
        shards = Shards(folder, TABLES)
        self.curves, self.frames, self.randomised, self.alpha, self.clips = (shards.read(kind) for kind in TABLES)
        self.groups = self.clips.set_index("clip_id")["group"] if len(self.clips) else pd.Series(dtype=str)

    @property
    def explanations(self) -> list[str]:
        """Those that are tested, without the controls."""
        return [name for name in self.curves["explanation"].unique() if name not in CONTROLS]

    def effect(self, values: pd.Series) -> Effect:
        """The mean of one value per clip, indexed by clip_id."""
        return mean_effect(values.to_numpy(float)[None], self.groups.loc[values.index].to_numpy())


def with_verdicts(rows: list[dict], verdict: Callable[[dict], str]) -> pd.DataFrame:
    """The rows of effects as a table, with p_holm and a verdict."""
    for row, p in zip(rows, holm_correction([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return pd.DataFrame([row | {"verdict": verdict(row)} for row in rows])


def effect_columns(found: Effect) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high, "p": found.p, "n": found.n}


def faithfulness_table(results: TrustResults) -> pd.DataFrame:
    """A row per explanation, test and control: by how much its area beats the control's, on the same clips.

    A smaller area is better in deletion, a larger one in insertion; value is in units of the softmax score.
    """
    rows = []
    for (way, direction, baseline), curves in results.curves.groupby(["way", "direction", "baseline"], sort=False):
        areas = curves.pivot(index="clip_id", columns="explanation", values="area")
        means = areas.mean()
        for name, control in product(results.explanations, CONTROLS):
            better = (areas[control] - areas[name]) * (1 if direction == DELETION else -1)
            row = {"explanation": name, "way": way, "direction": direction, "baseline": baseline, "control": control}
            row |= {"area": means[name], "area_control": means[control]}
            rows.append(row | effect_columns(results.effect(better)))
    return with_verdicts(rows, sign_verdict)


def sign_verdict(row: dict) -> str:
    if not row["p_holm"] < SIGNIFICANCE_LEVEL:  # also where it is nan
        return OPEN
    return PASSES if row["value"] > 0 else FAILS


def randomization_table(results: TrustResults) -> pd.DataFrame:
    """A row per explanation and randomized stage: the mean rank correlation with the map of the trained network."""
    rows = []
    depth = {part: i for i, part in enumerate(results.randomised["part"].unique())}
    for (name, part), some in results.randomised.groupby(["explanation", "part"], sort=False):
        found = results.effect(some.set_index("clip_id")["correlation"])
        rows.append({"explanation": name, "part": part, "depth": depth[part]} | effect_columns(found))

    def verdict(row: dict) -> str:
        if row["high"] < STILL_THERE:
            return PASSES
        return FAILS if row["low"] >= STILL_THERE else OPEN

    return with_verdicts(rows, verdict)


def frame_agreement_table(results: TrustResults) -> pd.DataFrame:
    """A row per explanation: the rank correlation of each frame's share of the CAM and the drop of the score when that
    frame is hidden, mean over clips."""
    rows = []
    for name, some in results.frames.groupby("explanation", sort=False):
        by_clip = some.groupby("clip_id")[["mass", "drop"]]
        ranks = by_clip.apply(lambda clip: rank_correlation(clip["mass"].to_numpy(), clip["drop"].to_numpy()))
        rows.append({"explanation": name} | effect_columns(results.effect(ranks)))
    return with_verdicts(rows, sign_verdict)


def replacement_effects(alpha: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """A row per place and kind of replaced alpha, from `replacement_rows` and the group of each clip_id: the change of
    accuracy (value), paired on the same clips, the mean changes of the true class's logit and score (n clips whose
    label the network knows; nan without any), and n_changed of all clips, those whose prediction changes. Empty without
    attention."""
    if "place" not in alpha:
        return pd.DataFrame()
    rows = []
    for (place, kind), some in alpha.groupby(["place", "kind"], sort=False):
        some = some.set_index("clip_id")
        known = some[some["score_label"].notna()]
        g = groups.loc[known.index].to_numpy()
        change = known["correct"].astype(float) - known["plain_correct"].astype(float)
        found = paired_effect(change.to_numpy(), g) if len(known) else NO_EFFECT
        row = {"place": place, "kind": kind} | effect_columns(found)
        for name in ("logit_label", "score_label"):
            found = mean_effect(known[name].to_numpy(float)[None], g) if len(known) else NO_EFFECT
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        changed = int((some["prediction"] != some["plain_prediction"]).sum())
        rows.append(row | {"n_changed": changed, "clips": len(some)})
    return with_verdicts(rows, lambda row: "matters" if row["p_holm"] < SIGNIFICANCE_LEVEL else OPEN)


def class_replacement_effects(alpha: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """`replacement_effects` everywhere, of each class that the network knows, with label."""
    by_class = alpha[(alpha["place"] == EVERY_LAYER) & alpha["score_label"].notna()].groupby("label")
    tables = [replacement_effects(some, groups).assign(label=label) for label, some in by_class]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def attention_and_drop(results: TrustResults) -> dict[str, float]:
    """Over clips, the rank correlation of alpha_T (mean over layers) and the drop of the score when single frames are
    hidden: value, low, high (95 %), n; nan without attention."""
    found = rank_correlations(results.clips, "alpha_temporal", "drop").set_index("over")
    return found.loc["clips"].to_dict()


def trust_verdicts(results: TrustResults) -> pd.DataFrame:
    """A row per explanation and question: explanation, question, verdict, detail (how many comparisons passed)."""
    rows = []
    faithful = faithfulness_table(results).set_index(["explanation", "way"])["verdict"].sort_index()
    sane, agrees = randomization_table(results), frame_agreement_table(results).set_index("explanation")
    for name in results.explanations:
        for way in results.curves["way"].unique():
            found = faithful.loc[name, way]
            rows.append((name, f"beats random and centre, {way}", overall_verdict(found), count_verdicts(found)))
        last = sane[sane["explanation"] == name].sort_values("depth").iloc[-1]
        rows.append((name, "depends on the weights", last["verdict"], f"correlation {last['value']:.2f}"))
        verdict, value = agrees.loc[name, ["verdict", "value"]]
        rows.append((name, "agrees with frame occlusion", verdict, f"correlation {value:+.2f}"))
    return pd.DataFrame(rows, columns=["explanation", "question", "verdict", "detail"])


def overall_verdict(found: pd.Series) -> str:
    """It fails if any comparison fails, and passes if most pass and none fails."""
    if (found == FAILS).any():
        return FAILS
    return PASSES if (found == PASSES).sum() > len(found) / 2 else OPEN


def count_verdicts(found: pd.Series) -> str:
    return ", ".join(f"{(found == v).sum()} {v}" for v in (PASSES, FAILS, OPEN) if (found == v).any())
