"""Tables of a run's probes: the accuracy that each costs, the classes that depend on the frame order, and alpha_T."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_attention, read_alpha
from analysis.attention.alpha_tables import alpha_class_table
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.clusters import describe_interval
from analysis.statistics.correlations import FEW_CLASSES, FEWEST_RANKS, rank_correlations
from analysis.statistics.effects import Effect, holm_correction, mean_effect
from analysis.statistics.shares import paired_effect, share_interval
from sth_core.errors import UserError
from sth_core.shards import Shards
from sth_core.video.reorder import DROPPED, FAST, FROZEN, REVERSED, SHUFFLED, SUBSAMPLED

KIND = "probes"
NEEDS_LABELS = "probes need labels that it was trained on"
PLAIN, SLOW = "plain", "slow"
PROBES = (PLAIN, REVERSED, SHUFFLED, FROZEN, DROPPED, SUBSAMPLED, SLOW, FAST)
ALL_LAYERS = "mean"  # over the layers
DIGITS = 6  # of a score: later ones are rounding in float32, which depends on the frame order even in a 2D network


def probes_in(run: Path) -> Shards:
    return Shards(run, (KIND,))


def known_rows(run: Run) -> pd.DataFrame:
    """The rows of all clips whose label the network knows, with their group; a UserError if there are none."""
    rows = probes_in(run.path).read(KIND)
    if rows.empty:
        raise UserError(f"{run.path} holds no probes; make them with `sth probe`")
    rows = rows[rows["score_label"].notna()]
    if rows.empty:
        raise UserError(f"the network knows the label of no clip in {run.path}; {NEEDS_LABELS}")
    return rows.merge(predictions(run)[["clip_id", "group"]], on="clip_id")


def by_clip(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row per clip, a column per probe: the mean over repeats."""
    return rows.assign(value=rows[column].astype(float)).pivot_table(index="clip_id", columns="probe", values="value")


def score_difference(a: pd.Series, b: pd.Series) -> pd.Series:
    """The difference of two scores, rounded to `DIGITS`."""
    return (a - b).round(DIGITS) + 0.0  # no -0


def effect_over_clips(values: pd.Series, groups: NDArray) -> Effect:
    """The mean of one value per clip; without interval and p-value if all clips are of one source video."""
    return mean_effect(values.to_numpy(float)[None], groups)


def interval_columns(found: Effect, name: str, prefix: str = "") -> dict[str, Any]:
    return {name: found.value, f"{prefix}low": found.low, f"{prefix}high": found.high}


def probe_table(run: Run) -> pd.DataFrame:
    """A row per probe, plain first: its accuracy; the change from plain on the same clips, of the accuracy and of the
    true class's softmax; and the share of clips whose prediction has changed.

    Repeats of a probe are averaged. Intervals are 95 % over source videos.
    """
    rows = known_rows(run)
    plain_prediction = rows[rows["probe"] == PLAIN].set_index("clip_id")["prediction"]
    rows = rows.assign(changed=rows["prediction"] != rows["clip_id"].map(plain_prediction))
    correct, score, changed = (by_clip(rows, column) for column in ("correct", "score_label", "changed"))
    groups = rows.groupby("clip_id")["group"].first().to_numpy()  # ordered by clip_id, like the tables above
    found: list[dict[str, Any]] = []
    for name in PROBES:
        right = correct[name].to_numpy()
        row = {"probe": name, "n": len(right), "accuracy": right.mean()}
        row |= dict(zip(("accuracy_low", "accuracy_high"), share_interval(right, groups), strict=True))
        cost = paired_effect(right - correct[PLAIN].to_numpy(), groups)
        row |= interval_columns(cost, "change") | {"p": cost.p}
        moved = effect_over_clips(score_difference(score[name], score[PLAIN]), groups)
        found.append(row | interval_columns(moved, "score_change", "score_") | {"changed": float(changed[name].mean())})
    corrected = holm_correction([row["p"] for row in found if row["probe"] != PLAIN])
    return pd.DataFrame(found).assign(p_holm=[np.nan, *corrected])


def order_by_clip(run: Run) -> pd.DataFrame:
    """A row per clip: the drop of the true class's softmax when it is shuffled (mean over repeats) and when it is
    reversed, and whether the prediction of the reversed clip has changed."""
    rows = known_rows(run)
    score = by_clip(rows, "score_label")
    plain, back = (rows[rows["probe"] == name].set_index("clip_id").loc[score.index] for name in (PLAIN, REVERSED))
    drop, drop_reversed = (score_difference(score[PLAIN], score[name]) for name in (SHUFFLED, REVERSED))
    changed = plain["prediction"] != back["prediction"]
    table = plain[["label", "group", "correct"]].assign(drop=drop, drop_reversed=drop_reversed, changed=changed)
    return table.reset_index()


def order_dependence(run: Run) -> pd.DataFrame:
    """A row per class, largest drop first: the means of `order_by_clip`, and alpha_T (nan without attention), with 95 %
    intervals."""
    found = []
    for label, some in order_by_clip(run).groupby("label"):
        drop, back = (effect_over_clips(some[name], some["group"].to_numpy()) for name in ("drop", "drop_reversed"))
        row = {"label": label, "n": drop.n, "accuracy": float(some["correct"].mean())} | interval_columns(drop, "drop")
        row |= interval_columns(back, "drop_reversed", "reversed_")
        found.append(row | {"changed": float(some["changed"].mean())})
    table = pd.DataFrame(found).sort_values("drop", ascending=False, ignore_index=True)
    if not has_attention(run):
        return table.assign(alpha_temporal=np.nan, alpha_low=np.nan, alpha_high=np.nan)
    alpha = alpha_class_table(read_alpha(run))[["label", "alpha_temporal", "low", "high"]]
    return table.merge(alpha.rename(columns={"low": "alpha_low", "high": "alpha_high"}), on="label", how="left")


def alpha_order_agreement(run: Run) -> pd.DataFrame:
    """`rank_correlations` of alpha_T and the drop under shuffling: of "mean", over all layers, then of each layer."""
    clips = order_by_clip(run).set_index("clip_id")
    alphas = {ALL_LAYERS: pd.Series(np.nan, clips.index)}
    if has_attention(run):
        alpha = read_alpha(run)
        columns = zip([ALL_LAYERS, *alpha.layers["layer"]], [alpha.mean, *alpha.temporal.T], strict=True)
        alphas = {layer: pd.Series(values, alpha.clips["clip_id"]) for layer, values in columns}
    found = {layer: rank_correlations(clips.assign(alpha=values), "alpha", "drop") for layer, values in alphas.items()}
    return pd.concat(found, names=["layer"]).reset_index("layer").reset_index(drop=True)


def reversed_predictions(run: Run) -> pd.DataFrame:
    """The predictions of reversed clips that differ from those of the plain clips, the most frequent pairs of label and
    prediction first; share is that of the label's clips."""
    rows = known_rows(run)
    forward, back = (rows[rows["probe"] == name].set_index("clip_id") for name in (PLAIN, REVERSED))
    turned = back[back["prediction"] != forward["prediction"].loc[back.index]]
    pairs = turned.groupby(["label", "prediction"]).size().rename("n").reset_index()
    pairs["share"] = pairs["n"] / pairs["label"].map(back["label"].value_counts()).astype(float)
    return pairs.sort_values(["n", "share"], ascending=False, kind="stable", ignore_index=True)


def probe_summary_sentence(found: pd.DataFrame) -> str:
    """One sentence: do the classes with high alpha_T depend on the frame order?"""
    row = found[found["layer"] == ALL_LAYERS].set_index("over").loc["classes"]
    value, low, high, n = row[["value", "low", "high", "n"]]
    if np.isnan(value):
        why = "it has no attention" if n == 0 else f"there are only {n:.0f} classes"
        if n == 1:
            why = "there is only 1 class"
        if n >= FEWEST_RANKS:
            why = "α_T, or the drop under shuffling, is the same in all clips"
        return f"This network cannot show whether classes with high α_T depend on the frame order: {why}."
    finding = "It is undecided whether classes with high α_T depend on the frame order"
    if low > 0 or high < 0:
        finding = f"Classes with high α_T depend {'more' if low > 0 else 'less'} on the frame order"
    interval = describe_interval(low, high, "+.2f", FEW_CLASSES)
    return f"{finding}: rank correlation {value:+.2f} (95 %: {interval}) over {n:.0f} classes."
