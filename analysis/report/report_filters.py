"""Which clips of a run a link to the page Predictions shows, and in words why not the others."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.attention.alpha_matrix import has_signal, read_signal
from analysis.attention.clip_profiles import LAYER, clip_numbers
from analysis.report.clip_columns import MEASURES
from analysis.report.report_sources import first_value
from analysis.runs.correctness import is_correct, is_misclassified
from analysis.runs.notes import clips_with
from analysis.runs.run_directory import Run
from sth_core.datasets.media import counted
from sth_core.errors import UserError

# Parameters that change no clip: what is open, plotted, sorted, on which page of a list.
HARMLESS = ("run", "view", "x", "y", "map", "colour", "sort", "descending", "from", "list", "tour", "explain")
KNOWN = ("label", "said", "outcome", "search", "tags", "also", *MEASURES)


def linked_clips(run: Run, table: pd.DataFrame, query: Mapping[str, Sequence[str]]) -> tuple[np.ndarray, list[str]]:
    """(N,) whether a clip of the overview `table` passes the filters of a link, and a sentence on them; the second
    sentence names parameters that this version does not know, and that filter nothing."""
    passing, words = np.ones(len(table), bool), list[str]()

    def narrow(passes: pd.Series | np.ndarray, said: str) -> None:
        passing[:] &= np.asarray(passes, bool)
        words.append(said)

    if label := first_value(query, "label"):
        narrow(table["label"] == label, f"label {label}")
    if predicted := first_value(query, "said"):
        narrow(table["prediction"] == predicted, f"predicted {predicted}")
    outcome = first_value(query, "outcome")
    if outcome in ("correct", "misclassified"):
        narrow((is_correct if outcome == "correct" else is_misclassified)(table), outcome)
    if search := first_value(query, "search"):
        narrow(table["clip_id"].str.contains(search, case=False, regex=False), f"name contains {search}")
    if tags := list(query.get("tags", ())):
        narrow(table["clip_id"].isin(clips_with(run, tags)), f"tags {', '.join(tags)}")
    others = list(query.get("also", ()))
    for name in others:
        if ends := range_of(query.get(name, ())):
            narrow(between(linked_numbers(run, table, name), ends), f"{name} {ends[0]:g} to {ends[1]:g}")
    for column, (title, _) in MEASURES.items():
        if (ends := range_of(query.get(column, ()))) and column in table:
            narrow(between(clip_numbers(table, column), ends), f"{title} {ends[0]:g} to {ends[1]:g}")
    shown, every = int(passing.sum()), counted(len(table), "clip")
    sentences = [f"{shown:,} of {every} match: {'; '.join(words)}." if words else f"All {every}."]
    if unknown := [key for key in query if key not in (*HARMLESS, *KNOWN, *others)]:
        sentences.append(f"Not applied, as a report does not know it: {', '.join(unknown)}.")
    return passing, sentences


def linked_numbers(run: Run, table: pd.DataFrame, name: str) -> np.ndarray:
    """(N,): the numbers that a link calls `name`. Raises UserError: the run has none of this name."""
    try:
        return clip_numbers(table, name, read_signal(run) if name.startswith(LAYER) and has_signal(run) else None)
    except KeyError as error:
        raise UserError(f"The view filters by {name}, which the run {run.name} does not have.") from error


def between(numbers: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (numbers >= ends[0]) & (numbers <= ends[1])


def range_of(values: Sequence[str]) -> tuple[float, float] | None:
    try:
        low, high = map(float, values)
    except ValueError:
        return None
    return (low, high) if low <= high else None
