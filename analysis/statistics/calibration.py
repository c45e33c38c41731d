"""Whether a network's confidence equals its accuracy: the bins of a reliability diagram, and their error."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs.correctness import counted_clips, is_correct
from analysis.statistics.accuracy import group_numbers
from analysis.statistics.shares import share_interval

CONFIDENCE_BINS = 10


def calibration_bins(table: pd.DataFrame) -> pd.DataFrame:
    """A row per tenth of confidence, from low to high, that has clips that count; the accuracy's interval is
    `share_interval`."""
    table = counted_clips(table)
    confidence, correct, groups = table["confidence"].to_numpy(), is_correct(table), group_numbers(table)
    bin_of_clip = confidence_bins(confidence)
    rows = []
    for i in np.unique(bin_of_clip):
        of_bin = bin_of_clip == i
        right, interval = correct[of_bin], share_interval(correct[of_bin], groups[of_bin])
        means = confidence[of_bin].mean(dtype=float), right.mean()
        rows.append((i / CONFIDENCE_BINS, (i + 1) / CONFIDENCE_BINS, len(right), *means, *interval))
    return pd.DataFrame(rows, columns=["low", "high", "n", "confidence", "accuracy", "accuracy_low", "accuracy_high"])


def confidence_bins(confidence: NDArray[np.floating]) -> NDArray[np.intp]:
    """(N,): in which bin each finite confidence lies, counted from 0."""
    return np.minimum((confidence * CONFIDENCE_BINS).astype(np.intp), CONFIDENCE_BINS - 1)


def calibration_error(bins: pd.DataFrame) -> float:
    """The expected calibration error (Guo et al. 2017): the mean over clips of |accuracy - confidence| of their bin;
    nan without clips."""
    if bins.empty:
        return math.nan
    return float((bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / bins["n"].sum())
