"""The results of `trust` as tables: means with 95 % intervals over clips, and a verdict for each.

Intervals and p-values are over source videos (docs/statistics.md); p-values are corrected over each table (Holm).
"""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.experiments.clip_tests import CONTROLS
from analysis.experiments.trust import TABLES
from analysis.explain.alpha_replacement import EVERY_LAYER
from analysis.explain.faithfulness import DELETION
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, describe_interval
from analysis.statistics.correlations import FEW_VIDEOS, rank_correlation, rank_correlations
from analysis.statistics.effects import Effect, holm_correction, mean_effect
from analysis.statistics.shares import paired_effect
from sth_core.shards import Shards

NO_EFFECT = Effect(math.nan, math.nan, math.nan, math.nan, 0, 1)  # of no clips
PASSES, FAILS, OPEN = "passes", "fails", "undecided"
BEATS, ON_WEIGHTS = "beats random and centre", "depends on the weights"  # two of the questions
BELIEVED, NOT_BELIEVED, UNDECIDED = "yes", "no", "undecided"
STILL_THERE = 0.5  # rank correlation with the true map from which on a randomized network's map counts as the same


class TrustResults:
    """The tables of a `trust` folder."""

    def __init__(self, folder: Path) -> None:
        shards = Shards(folder, TABLES)
        self.curves, self.frames, self.randomised, self.alpha, self.costs, self.clips = map(shards.read, TABLES)
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


def defined_columns(results: TrustResults, values: pd.Series) -> dict[str, float]:
    """`effect_columns` of the clips whose value is not nan, and `undefined`, how many others there are."""
    defined = values.dropna()
    found = results.effect(defined) if len(defined) else NO_EFFECT
    return effect_columns(found) | {"undefined": len(values) - len(defined)}


def undefined_sentence(table: pd.DataFrame) -> str:
    """How many clips `defined_columns` left out at most of each explanation, after a space; "" if there are none."""
    most = table.groupby("explanation", sort=False)["undefined"].max()
    counts = ", ".join(f"{name} ({count})" for name, count in most.items() if count)
    return f" Left out are clips of which one side is the same everywhere and has no ranks: {counts}." * bool(counts)


def faithfulness_table(results: TrustResults) -> pd.DataFrame:
    """A row per explanation, test and control: by how much its area beats the control's, on the same clips.

    A smaller area is better in deletion, a larger one in insertion; value is in units of the softmax score.
    """
    rows = []
    for (way, direction, baseline), curves in results.curves.groupby(["way", "direction", "baseline"], sort=False):
        areas = curves.pivot(index="clip_id", columns="explanation", values="area")
        means = areas.mean()
        for name, control in product([name for name in results.explanations if name in areas], CONTROLS):
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
    """A row per explanation and randomized stage: the mean rank correlation with the map of the trained network,
    over the n clips in which neither map is the same everywhere; `undefined` are the others."""
    rows = []
    depth = {part: i for i, part in enumerate(results.randomised["part"].unique())}
    for (name, part), some in results.randomised.groupby(["explanation", "part"], sort=False):
        row = {"explanation": name, "part": part, "depth": depth[part]}
        rows.append(row | defined_columns(results, some.set_index("clip_id")["correlation"]))

    def verdict(row: dict) -> str:
        if row["high"] < STILL_THERE:
            return PASSES
        return FAILS if row["low"] >= STILL_THERE else OPEN

    return with_verdicts(rows, verdict)


def frame_agreement_table(results: TrustResults) -> pd.DataFrame:
    """A row per explanation: the rank correlation of each frame's share of the CAM and the drop of the score when that
    frame is hidden, mean over the n clips in which neither is the same in all frames; `undefined` are the others."""
    rows = []
    for name, some in results.frames.groupby("explanation", sort=False):
        by_clip = some.groupby("clip_id")[["mass", "drop"]]
        ranks = by_clip.apply(lambda clip: rank_correlation(clip["mass"].to_numpy(), clip["drop"].to_numpy()))
        rows.append({"explanation": name} | defined_columns(results, ranks))
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
            if (name, way) not in faithful.index:  # it says nothing of places
                continue
            found = faithful.loc[name, way]
            rows.append((name, f"{BEATS}, {way}", overall_verdict(found), count_verdicts(found)))
        last = sane[sane["explanation"] == name].sort_values("depth").iloc[-1]
        rows.append((name, ON_WEIGHTS, last["verdict"], describe_correlation(last, ".2f")))
        frames = agrees.loc[name]
        rows.append((name, "agrees with frame occlusion", frames["verdict"], describe_correlation(frames, "+.2f")))
    return pd.DataFrame(rows, columns=["explanation", "question", "verdict", "detail"])


def describe_correlation(row: pd.Series, form: str) -> str:
    """ "correlation 0.25"; where some clips have none, with how many have one."""
    if not row["n"]:
        return "correlation not defined in any clip"
    some = f" in {row['n']} of {row['n'] + row['undefined']} clips" if row["undefined"] else ""
    return f"correlation {row['value']:{form}}{some}"


def ranking_table(results: TrustResults, verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per explanation, the best first: how many of its tests it passes and fails, whether to believe it, by how
    much its areas beat those of the controls (mean over tests and controls, 95 % over clips), and what its map costs.

    Believe one that fails no test, depends on the weights, and beats the controls in space, in time or in both; do not
    believe one that fails a test. Within these, more passed tests come first, then the larger advantage.
    """
    rows = []
    costs = results.costs.groupby("explanation")[["forwards", "backwards", "seconds"]].median()
    for name, found in verdicts.groupby("explanation", sort=False):
        passed = set(found.loc[found["verdict"] == PASSES, "question"])
        fails, beats = int((found["verdict"] == FAILS).sum()), any(q.startswith(BEATS) for q in passed)
        belief = NOT_BELIEVED if fails else BELIEVED if beats and ON_WEIGHTS in passed else UNDECIDED
        row = {"explanation": name, "belief": belief, "passes": len(passed), "fails": fails, "tests": len(found)}
        rows.append(row | effect_columns(results.effect(advantages(results, str(name)))) | costs.loc[name].to_dict())
    order = (BELIEVED, UNDECIDED, NOT_BELIEVED)
    table = pd.DataFrame(rows).assign(place=[order.index(row["belief"]) for row in rows])
    table["net"] = table["passes"] - table["fails"]
    ranked = table.sort_values(["place", "net", "value"], ascending=[True, False, False], kind="stable")
    return ranked.drop(columns=["place", "net"]).reset_index(drop=True)


def advantages(results: TrustResults, name: str) -> pd.Series:
    """By how much the areas of an explanation beat those of the controls: of each clip, the mean over its tests."""
    areas = results.curves.pivot_table(
        index=["clip_id", "way", "direction", "baseline"], columns="explanation", values="area", sort=False
    ).dropna(subset=[name])
    better = areas[list(CONTROLS)].mean(axis=1) - areas[name]
    signs = np.where(areas.index.get_level_values("direction") == DELETION, 1, -1)
    return (better * signs).groupby(level="clip_id").mean()


def conclusion(ranking: pd.DataFrame, clips: int) -> str:
    """Which explanations to believe and which not, each with its count of tests or its interval."""
    said = {BELIEVED: "believe", NOT_BELIEVED: "do not believe", UNDECIDED: "undecided, for want of evidence"}
    parts = []
    for belief, words in said.items():
        rows = ranking[ranking["belief"] == belief].itertuples()
        if names := "; ".join(f"{row.explanation} ({reasons(row)})" for row in rows):
            parts.append(f"{words}: {names}")
    if not (ranking["belief"] == BELIEVED).any():
        parts = ["no explanation can be believed yet", *parts]
    return f"On {clips} clips, {'. '.join(part[0].upper() + part[1:] if i else part for i, part in enumerate(parts))}."


def reasons(row: Any) -> str:
    interval = describe_interval(row.low, row.high, "+.3f", FEW_VIDEOS)
    return (
        f"passes {row.passes} and fails {row.fails} of {row.tests} tests, areas {row.value:+.3f} better than the "
        f"controls', 95 %: {interval}"
    )


def overall_verdict(found: pd.Series) -> str:
    """It fails if any comparison fails, and passes if most pass and none fails."""
    if (found == FAILS).any():
        return FAILS
    return PASSES if (found == PASSES).sum() > len(found) / 2 else OPEN


def count_verdicts(found: pd.Series) -> str:
    return ", ".join(f"{(found == v).sum()} {v}" for v in (PASSES, FAILS, OPEN) if (found == v).any())
