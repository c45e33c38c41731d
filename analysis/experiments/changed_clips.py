"""The clips behind a number of an experiment: what it changed in each of them, the largest change first."""

import pandas as pd

from analysis.experiments.probe_tables import PLAIN, probes_in, score_difference
from analysis.experiments.trust_tables import TrustResults, advantages
from analysis.runs.run_directory import Run


def probed_clips(run: Run, probe: str) -> pd.DataFrame:
    """A row per clip: clip_id, label, predicted_plain, predicted (by the first repeat that differs, else the first),
    changed (the share of repeats with another prediction), correct_plain, correct (a share), score_fall (of the true
    class; nan if the network does not know the label)."""
    rows = probes_in(run.path).read("probes")
    plain = rows[rows["probe"] == PLAIN].set_index("clip_id")
    rows = rows[rows["probe"] == probe].copy()
    rows["changed"] = rows["prediction"].to_numpy() != plain["prediction"].loc[rows["clip_id"]].to_numpy()
    first = rows.sort_values(["changed", "repeat"], ascending=[False, True], kind="stable").groupby("clip_id").first()
    means = rows.assign(correct=rows["correct"].astype("Float64")).groupby("clip_id")
    means = means[["changed", "correct", "score_label"]].mean()
    found = pd.DataFrame(
        {
            "label": first["label"], "predicted_plain": plain["prediction"].loc[first.index],
            "predicted": first["prediction"], "changed": means["changed"].astype(float),
            "correct_plain": plain["correct"].loc[first.index].astype("boolean"), "correct": means["correct"],
            "score_fall": score_difference(plain["score_label"].loc[first.index], means["score_label"]),
        }
    )  # fmt: skip
    order = ["score_fall", "changed", "clip_id"]
    return found.reset_index().sort_values(order, ascending=[False, False, True], ignore_index=True)


def replaced_clips(effects: pd.DataFrame, place: str, kind: str) -> pd.DataFrame:
    """A row per clip of `replacement_rows`: clip_id, label, predicted_plain, predicted, changed, correct_plain,
    correct, score_fall (of the true class)."""
    rows = effects[(effects["place"] == place) & (effects["kind"] == kind)]
    found = pd.DataFrame(
        {
            "clip_id": rows["clip_id"], "label": rows["label"], "predicted_plain": rows["plain_prediction"],
            "predicted": rows["prediction"], "changed": rows["prediction"] != rows["plain_prediction"],
            "correct_plain": rows["plain_correct"], "correct": rows["correct"], "score_fall": -rows["score_label"],
        }
    )  # fmt: skip
    return found.sort_values(["score_fall", "clip_id"], ascending=[False, True], ignore_index=True)


def explained_clips(results: TrustResults, explanation: str) -> pd.DataFrame:
    """A row per clip, the worst first: clip_id, label, prediction, confidence, better_by (`advantages`: by how much
    the areas of this explanation beat the controls')."""
    better = advantages(results, explanation).rename("better_by")
    clips = results.clips[["clip_id", "label", "prediction", "confidence"]].merge(better, on="clip_id")
    return clips.sort_values(["better_by", "clip_id"], ignore_index=True)
