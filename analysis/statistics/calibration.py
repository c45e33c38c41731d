"""Whether a network's confidence equals its accuracy: the bins of a reliability diagram, and their error."""

import numpy as np
import pandas as pd

from analysis.statistics.accuracy import group_numbers, share_interval

CONFIDENCE_BINS = 10


def calibration_bins(table: pd.DataFrame) -> pd.DataFrame:
    """A row per tenth of confidence that has clips.

    Returns:
        low, high (of the bin), n, confidence (mean), accuracy, accuracy_low, accuracy_high (95 %, `share_interval`).
    """
    confidence, correct, groups = table["confidence"].to_numpy(), table["correct"].to_numpy(bool), group_numbers(table)
    bin_of_clip = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    rows = []
    for i in range(CONFIDENCE_BINS):
        clips = np.flatnonzero(bin_of_clip == i)
        if len(clips):
            low, high = share_interval(correct[clips], groups[clips])
            row = {"low": i / CONFIDENCE_BINS, "high": (i + 1) / CONFIDENCE_BINS, "n": len(clips)}
            row |= {"confidence": confidence[clips].mean(dtype=float), "accuracy": correct[clips].mean()}
            rows.append(row | {"accuracy_low": low, "accuracy_high": high})
    return pd.DataFrame(rows)


def calibration_error(bins: pd.DataFrame) -> float:
    """The expected calibration error (Guo et al. 2017): the mean over clips of |accuracy - confidence| of their bin."""
    return float((bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / bins["n"].sum())
