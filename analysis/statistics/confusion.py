"""The confusion matrix of a run's predictions, as a table of its cells."""

import pandas as pd

from analysis.runs.correctness import counted_clips


def confusion_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The cells that are not empty, of the clips that count for accuracy: label, prediction, n, share (of the clips
    with this label)."""
    table = counted_clips(table)
    cells = table.groupby(["label", "prediction"], observed=True).size().rename("n").reset_index()
    clips_per_label = table.groupby("label", observed=True).size()
    return cells.assign(share=cells["n"] / cells["label"].map(clips_per_label).astype(float))


def confused_pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """The wrong cells of `confusion_cells`, most clips first, with `reverse`: n of the transposed cell."""
    wrong = cells[cells["label"].astype(str) != cells["prediction"].astype(str)]
    counts = dict(zip(zip(wrong["label"], wrong["prediction"], strict=True), wrong["n"], strict=True))
    reverse = [counts.get((p, w), 0) for w, p in zip(wrong["label"], wrong["prediction"], strict=True)]
    return wrong.assign(reverse=reverse).sort_values(["n", "share"], ascending=False, ignore_index=True)
