"""What the probes of a run say: what each costs, which classes need the order of time, and whether alpha_T knows."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention import class_table, clip_table
from analysis.probes import KIND, PLAIN, PROBES, REVERSED, SHUFFLED, results_in
from analysis.runs import Run, parts, predictions
from analysis.sanity import rank_agreement
from analysis.trust_tables import mcnemar
from analysis.uncertainty import Effect, effect, holm
from sth_core.errors import UserError

RESAMPLES = 1000
FEWEST = 3  # values that a rank correlation is taken of


def known_rows(run: Run) -> pd.DataFrame:
    """The rows of all clips whose label the network knows, with their group.

    Raises:
        UserError: there are none.
    """
    rows = results_in(run.path).read(KIND)
    if rows.empty:
        raise UserError(f"{run.path} holds no probes; `sth probe` makes them")
    rows = rows[rows["score_label"].notna()]
    if rows.empty:
        raise UserError(f"the network knows the label of no clip of {run.path}: what a probe costs cannot be said")
    return rows.merge(predictions(run)[["clip_id", "group"]], on="clip_id")


def by_clip(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row per clip, a column per probe: the mean over repeats."""
    return rows.assign(value=rows[column].astype(float)).pivot_table(index="clip_id", columns="probe", values="value")


def mean_effect(values: pd.Series, groups: NDArray) -> Effect:
    """The mean of one number a clip; of one source video alone there is no interval."""
    found = effect(values.to_numpy(float)[None], groups)
    return found if len(set(groups)) > 1 else Effect(found.value, np.nan, np.nan, 1.0, found.n, 1)


def probe_table(run: Run) -> pd.DataFrame:
    """A row per probe, plain first.

    Returns:
        probe, n (clips), accuracy, accuracy_low, accuracy_high; change (of accuracy, against plain on the same clips),
        low, high, p, p_holm; score_change (of the true class's softmax), score_low, score_high; changed (the share of
        clips whose prediction is another). Shuffled: means over its repeats. Intervals are 95 % over source videos.
    """
    rows = known_rows(run)
    plain_said = rows[rows["probe"] == PLAIN].set_index("clip_id")["prediction"]
    rows = rows.assign(changed=rows["prediction"] != rows["clip_id"].map(plain_said))
    correct, score, changed = (by_clip(rows, column) for column in ("correct", "score_label", "changed"))
    groups = rows.groupby("clip_id")["group"].first().to_numpy()  # by clip_id, as those are
    found: list[dict[str, Any]] = []
    for name in PROBES:
        accuracy, change = mean_effect(correct[name], groups), correct[name] - correct[PLAIN]
        cost, moved = mean_effect(change, groups), mean_effect(score[name] - score[PLAIN], groups)
        p = max(cost.p, mcnemar(int((change > 0).sum()), int((change < 0).sum())))
        row = {"probe": name, "n": accuracy.n, "accuracy": accuracy.value}
        row |= {"accuracy_low": accuracy.low, "accuracy_high": accuracy.high}
        row |= {"change": cost.value, "low": cost.low, "high": cost.high, "p": p}
        row |= {"score_change": moved.value, "score_low": moved.low, "score_high": moved.high}
        found.append(row | {"changed": float(changed[name].mean())})
    corrected = holm([row["p"] for row in found if row["probe"] != PLAIN])
    return pd.DataFrame(found).assign(p_holm=[np.nan, *corrected])


def order_by_clip(run: Run) -> pd.DataFrame:
    """A row per clip: clip_id, label, group, correct (plain), drop (of the true class's softmax under shuffling, mean
    over repeats), changed (whether its prediction is another when it is reversed), and alpha_temporal (mean over
    layers; NaN without attention)."""
    rows = known_rows(run)
    score = by_clip(rows, "score_label")
    plain, back = (rows[rows["probe"] == name].set_index("clip_id").loc[score.index] for name in (PLAIN, REVERSED))
    alpha = clip_table(run).set_index("clip_id")["value"] if parts(run.path, "attention") else pd.Series(dtype=float)
    changed, drop = plain["prediction"] != back["prediction"], score[PLAIN] - score[SHUFFLED]
    table = plain[["label", "group", "correct"]].assign(drop=drop, changed=changed)
    return table.assign(alpha_temporal=alpha.reindex(score.index)).reset_index()


def order_dependence(run: Run) -> pd.DataFrame:
    """A row per class, the one that needs order most first.

    Returns:
        label, n, accuracy, drop, low, high (95 %), changed (share), alpha_temporal, alpha_low, alpha_high (NaN without
        attention).
    """
    found = []
    for label, some in order_by_clip(run).groupby("label"):
        drop = mean_effect(some["drop"], some["group"].to_numpy())
        row = {"label": label, "n": drop.n, "accuracy": float(some["correct"].mean()), "drop": drop.value}
        found.append(row | {"low": drop.low, "high": drop.high, "changed": float(some["changed"].mean())})
    table = pd.DataFrame(found).sort_values("drop", ascending=False, ignore_index=True)
    if not parts(run.path, "attention"):
        return table.assign(alpha_temporal=np.nan, alpha_low=np.nan, alpha_high=np.nan)
    alpha = class_table(run)[["label", "alpha_temporal", "low", "high"]]
    return table.merge(alpha.rename(columns={"low": "alpha_low", "high": "alpha_high"}), on="label", how="left")


def agreement(run: Run) -> pd.DataFrame:
    """Spearman's rank correlation of alpha_T and the drop under shuffling: `rank_correlations` of the run's clips."""
    return rank_correlations(order_by_clip(run))


def rank_correlations(clips: pd.DataFrame) -> pd.DataFrame:
    """Over classes (their means) and over clips; `clips` has label, group, alpha_temporal and drop.

    Returns:
        over ("classes", "clips"), value, low, high (95 % bootstrap over groups), n. NaN with fewer than three values,
        or without attention; the interval is NaN with a single group.
    """
    clips = clips.dropna(subset=["alpha_temporal"])
    a, b = clips["alpha_temporal"].to_numpy(float), clips["drop"].to_numpy(float)
    which, labels = pd.factorize(clips["label"])
    members = [np.flatnonzero(clips["group"].to_numpy() == g) for g in clips["group"].unique()]

    def over_clips(rows: NDArray) -> float:
        return rank_agreement(a[rows], b[rows])

    def over_classes(rows: NDArray) -> float:
        n = np.bincount(which[rows], minlength=len(labels))
        sums = (np.bincount(which[rows], x[rows], len(labels)) for x in (a, b))
        return rank_agreement(*(total[n > 0] / n[n > 0] for total in sums))

    random, found = np.random.default_rng(0), []
    for name, n, of_rows in (("classes", len(labels), over_classes), ("clips", len(clips), over_clips)):
        row = {"over": name, "value": np.nan, "low": np.nan, "high": np.nan, "n": n}
        if n >= FEWEST:
            row["value"] = of_rows(np.arange(len(clips)))
        if n >= FEWEST and len(members) > 1:
            draws = random.integers(len(members), size=(RESAMPLES, len(members)))
            drawn = [of_rows(np.concatenate([members[i] for i in draw])) for draw in draws]
            row["low"], row["high"] = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
        found.append(row)
    return pd.DataFrame(found)


def turned_into(run: Run, top: int = 12) -> pd.DataFrame:
    """What clips are taken for when they are played backward, where it is something else than forward.

    Returns:
        label, prediction (backward), n, share (of the label's clips); the most frequent pairs first.
    """
    rows = known_rows(run)
    forward, back = (rows[rows["probe"] == name].set_index("clip_id") for name in (PLAIN, REVERSED))
    turned = back[back["prediction"] != forward["prediction"].loc[back.index]]
    pairs = turned.groupby(["label", "prediction"]).size().rename("n").reset_index()
    pairs["share"] = pairs["n"] / pairs["label"].map(back["label"].value_counts()).astype(float)
    return pairs.sort_values(["n", "share"], ascending=False, kind="stable", ignore_index=True).head(top)


def summary(found: pd.DataFrame) -> str:
    """One sentence: do the classes with high alpha_T need the order of time?"""
    row = found.set_index("over").loc["classes"]
    if np.isnan(row["value"]):
        why = "it has no attention" if row["n"] == 0 else f"there are only {row['n']:.0f} classes"
        return f"Whether α_T is high where order matters cannot be said of this network: {why}."
    said = "is so" if row["low"] > 0 else "is the other way round" if row["high"] < 0 else "is not shown"
    return (
        f"That classes with high α_T need the order of time {said}: rank correlation {row['value']:+.2f} "
        f"(95 %: {row['low']:+.2f} to {row['high']:+.2f}) over {row['n']:.0f} classes."
    )
