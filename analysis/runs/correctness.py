"""Which recorded clips count for accuracy: those whose label is a class of the network, and whose scores are finite.

The column `correct` of a run's tables has a third value, missing, for all other clips: clips without a label, those
with a label that the network was not trained on, and those whose scores cannot be ranked. Every accuracy, and every
list of correct or misclassified clips, goes through these functions.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sth_core.errors import first_few

NO_LABEL = "no label"  # the name of an empty one
MOST_LABELS = 5  # that a sentence names


def with_correctness(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The table with `correct` missing where the label is none of `classes`, or the scores are not finite; earlier
    versions recorded it there."""
    counts = table["label"].isin(classes) & has_scores(table)
    return table.assign(correct=table["correct"].astype("boolean").where(counts))


def has_scores(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,): whether a clip's confidence and scores, where the table has them, are finite. A recording writes no others;
    earlier versions did."""
    found = np.ones(len(table), bool)
    if "confidence" in table:
        found &= np.isfinite(table["confidence"].to_numpy(float, na_value=np.nan))
    if "scores" in table:
        found &= np.array([scores is not None and bool(np.isfinite(scores).all()) for scores in table["scores"]], bool)
    return found


def correctness(prediction: pd.Series, label: pd.Series, classes: list[str]) -> pd.Series:
    """Whether each prediction is the label; missing where the label is none of `classes`."""
    return prediction.eq(label).astype("boolean").where(label.isin(classes))


def counted_clips(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that count for accuracy."""
    return table[table["correct"].notna()]


def is_correct(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,): False also for clips that do not count."""
    return table["correct"].astype("boolean").fillna(False).to_numpy(bool)


def is_misclassified(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,): False also for clips that do not count."""
    return (~table["correct"].astype("boolean")).fillna(False).to_numpy(bool)


def unscored_sentence(table: pd.DataFrame) -> str:
    """How many clips have scores that are not finite; empty if none has."""
    n = int((~has_scores(table)).sum())
    return f"not counted: {n:,} of {len(table):,} clips, whose scores are not finite (NaN or infinity)" if n else ""


def uncounted_sentence(labels: pd.Series, classes: list[str]) -> str:
    """Why some or all clips with these labels do not count for accuracy; empty if all count."""
    known, empty = labels.isin(classes).to_numpy(bool), labels.eq("").to_numpy(bool)
    n, unlabelled = len(labels), int(empty.sum())
    unknown = sorted(set(labels[~known & ~empty]))
    if known.all():
        return ""
    if not known.any() and not unknown:
        return f"no accuracy: none of the {n:,} clips has a label"
    if not known.any():
        theirs, its = first_few(unknown, MOST_LABELS), first_few(classes, MOST_LABELS)
        without = f"; {unlabelled:,} have none" if unlabelled else ""
        none = f"none of the {n:,} clips has a label that the network knows"
        return f"no accuracy: {none} (theirs: {theirs}; its: {its}{without})"
    parts = [f"{unlabelled:,} without a label"] * bool(unlabelled)
    if unknown:
        others = n - int(known.sum()) - unlabelled
        parts.append(f"{others:,} with labels that the network does not know ({first_few(unknown, MOST_LABELS)})")
    return f"not counted: {' and '.join(parts)}, of {n:,} clips"
