"""Precision, recall and F1 of each class, with 95 % intervals over source videos; AUC where there are two classes."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs.correctness import counted_clips
from analysis.statistics.accuracy import group_numbers, mean_or_nan
from analysis.statistics.shares import share_interval
from sth_core.errors import UserError


def class_report(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row per class, in the given order, of the clips that count for accuracy.

    Returns:
        label, support (its clips), predicted (clips with this prediction), correct (both), precision, recall and f1
        with their intervals (precision_low, ...), missed_as (the most frequent wrong prediction of its clips) and
        missed (how many), taken_from (the most frequent label of the clips that are wrongly predicted as it) and taken.

    A value is nan where it is of no clip: precision of a class that is never predicted, recall of one without clips, F1
    of one with neither. Precision and recall are shares, with `share_interval`. F1 is 2 J / (1 + J), where J is a share
    too: of the clips that are of the class or predicted as it, those that are both; its interval is that of J.
    """
    clips = counted_clips(predictions)
    label, said, groups = clips["label"].to_numpy(str), clips["prediction"].to_numpy(str), group_numbers(clips)
    rows = []
    for name in classes:
        of, as_it = label == name, said == name
        both, either = of & as_it, of | as_it
        row = {"label": name, "support": int(of.sum()), "predicted": int(as_it.sum()), "correct": int(both.sum())}
        row |= share("precision", both[as_it], groups[as_it]) | share("recall", both[of], groups[of])
        jaccard = share("f1", both[either], groups[either])
        row |= {key: 2 * value / (1 + value) for key, value in jaccard.items()}
        row |= dict(zip(("missed_as", "missed"), most_frequent(said[of & ~as_it]), strict=True))
        row |= dict(zip(("taken_from", "taken"), most_frequent(label[as_it & ~of]), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def share(name: str, found: NDArray[np.bool_], groups: NDArray) -> dict[str, float]:
    low, high = share_interval(found, groups)
    return {name: mean_or_nan(found), f"{name}_low": low, f"{name}_high": high}


def most_frequent(names: NDArray) -> tuple[str, int]:
    """The name that occurs most often, of several the first in the alphabet, and how often."""
    found, counts = np.unique(names, return_counts=True)
    return (str(found[counts.argmax()]), int(counts.max())) if len(found) else ("", 0)


def averages(report: pd.DataFrame) -> pd.DataFrame:
    """The means of precision, recall and F1 over classes, each class alike (macro), and by its clips (weighted).

    Classes with neither clips nor predictions are left out; what is of no clip counts as 0, as in scikit-learn.
    """
    there = report[(report["support"] > 0) | (report["predicted"] > 0)]
    values = there[["precision", "recall", "f1"]].fillna(0)
    total = there["support"].sum()
    weighted = values.mul(there["support"], axis=0).sum() / total if total else values.mean() * math.nan
    return pd.DataFrame({"macro": values.mean(), "weighted": weighted}).T.rename_axis("average").reset_index()


def two_class_auc(predictions: pd.DataFrame, classes: list[str]) -> float:
    """The area under the ROC curve of a network of two classes: the chance that a clip of the second class has a higher
    score of it than one of the first, a tie counting half. nan if only one of them has clips.

    Raises:
        UserError: there are not two classes, or the table has no scores.
    """
    if len(classes) != 2:
        raise UserError(f"AUC is of two classes, and this network has {len(classes)}")
    if "scores" not in predictions:
        raise UserError("AUC needs scores, and this run has none")
    clips = counted_clips(predictions)
    second = clips["label"].to_numpy(str) == classes[1]
    scores = np.array([scores[1] for scores in clips["scores"]], float)
    if second.all() or not second.any():
        return math.nan
    ranks = pd.Series(scores).rank().to_numpy()  # ties share the mean of their ranks
    n = int(second.sum())
    return float((ranks[second].sum() - n * (n + 1) / 2) / (n * (len(second) - n)))
