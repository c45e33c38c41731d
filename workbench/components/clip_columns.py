"""The columns of a run's clips by which a page filters and plots: those of its table, and α_T of each layer."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_signal
from analysis.attention.clip_profiles import LAYER, clip_numbers
from analysis.runs.run_directory import Run
from analysis.runs.signals import TIME_SHARE, signal_of
from workbench.components.cached import cached_alpha, cached_result
from workbench.components.tables import column_title

MEASURES = {  # title and help of each number that most runs have
    "confidence": ("Confidence", None),
    "margin": ("Margin", "The highest score minus the second highest."),
    "alpha_temporal": ("α_T", "Mean over the layers."),
    "time_share": ("Attention across time", TIME_SHARE.definition),
    "needs_order": (
        "Needs order", "Fall of the true class's score when the frames are shuffled (from `sth probe`)."
    ),
    "disagreement": ("Views disagree", "Share of the clip's views whose own prediction differs from the clip's."),
}  # fmt: skip
NO_NUMBERS = ("correct",)
ANSWER = "answer"
ANSWERS = {True: "correct", False: "misclassified", None: "unknown label"}
NAMES = {"label": "label", "prediction": "predicted class", ANSWER: "correct or misclassified"}


def varying_measures(table: pd.DataFrame) -> list[str]:
    return [column for column in MEASURES if column in table and table[column].min() < table[column].max()]


def number_columns(run: Run, table: pd.DataFrame) -> dict[str, str]:
    """{column: title} of all numbers of the clips that vary: measures, other numbers, then α_T of each layer."""
    return dict(cached_result("number columns", [run], lambda: find_number_columns(run, table)))


def find_number_columns(run: Run, table: pd.DataFrame) -> dict[str, str]:
    of_measures = {column: MEASURES[column][0] for column in varying_measures(table)}
    others = [name for name in table.select_dtypes("number") if name not in (*MEASURES, *NO_NUMBERS)]
    of_others = {name: column_title(name).capitalize() for name in others if table[name].min() < table[name].max()}
    if not has_signal(run):
        return of_measures | of_others
    name = signal_of(run).name
    return of_measures | of_others | {f"{LAYER}{layer}": f"{name} of {layer}" for layer in varying_layers(run)}


def varying_layers(run: Run) -> list[str]:
    """The layers whose α_T is not the same for every clip."""
    alpha = cached_alpha(run)
    return list(alpha.layers["layer"][alpha.temporal.min(0) < alpha.temporal.max(0)])


def column_numbers(run: Run, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """(N,): a column of `number_columns`, nan where a clip has no such number."""
    return clip_numbers(table, column, cached_alpha(run) if column.startswith(LAYER) else None)


def clip_names(table: pd.DataFrame, column: str, no_name: str) -> pd.Series:
    """A column of `NAMES` as text."""
    if column == ANSWER:
        return pd.Series([ANSWERS[None if pd.isna(c) else bool(c)] for c in table["correct"]], table.index)
    return table[column].astype(str).replace("", no_name)
