"""The columns of a run's clips by which they are filtered and plotted: those of its table, and α_T of each layer."""

import pandas as pd

from analysis.attention.alpha_matrix import Alpha
from analysis.attention.clip_profiles import LAYER
from analysis.report.column_titles import column_title
from analysis.runs.correctness import NO_LABEL
from analysis.runs.signals import TIME_SHARE

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


def varying_layers(alpha: Alpha) -> list[str]:
    """The layers whose α_T is not the same for every clip."""
    return list(alpha.layers["layer"][alpha.temporal.min(0) < alpha.temporal.max(0)])


def number_columns(table: pd.DataFrame, alpha: Alpha | None) -> dict[str, str]:
    """{column: title} of all numbers of an overview that vary: measures, other numbers, then α_T of each layer."""
    of_measures = {column: MEASURES[column][0] for column in varying_measures(table)}
    others = [name for name in table.select_dtypes("number") if name not in (*MEASURES, *NO_NUMBERS)]
    of_others = {name: column_title(name).capitalize() for name in others if table[name].min() < table[name].max()}
    if alpha is None:
        return of_measures | of_others
    of_layers = {f"{LAYER}{layer}": f"{alpha.signal.name} of {layer}" for layer in varying_layers(alpha)}
    return of_measures | of_others | of_layers


def clip_names(table: pd.DataFrame, column: str) -> pd.Series:
    """A column of `NAMES` as text."""
    if column == ANSWER:
        return pd.Series([ANSWERS[None if pd.isna(c) else bool(c)] for c in table["correct"]], table.index)
    return table[column].astype(str).replace("", NO_LABEL)
