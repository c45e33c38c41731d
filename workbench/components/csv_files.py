"""CSV files of what a page shows, by buttons: of clips with their label, prediction, tags and path."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.runs.notes import notes_table
from analysis.runs.run_directory import Run
from sth_core.files import csv_text

ALWAYS = ("label", "prediction", "path")  # whether a page shows them or not
OF_A_CARD = ("clip_id", "label", "prediction", "correct", "confidence")


def clips_csv(run: Run, clips: pd.DataFrame, columns: Sequence[str] = OF_A_CARD) -> str:
    """These columns of clips, then label, prediction, tags (one a line) if the run has some, and path."""
    noted = notes_table(run).set_index("clip_id")
    table = clips[[*columns, *(name for name in ALWAYS if name not in columns)]]
    if len(noted):
        table.insert(len(table.columns) - 1, "tags", clips["clip_id"].map(noted["tags"].str.join("\n")).fillna(""))
        table.insert(len(table.columns) - 1, "right_label", clips["clip_id"].map(noted["right_label"]).fillna(""))
    return csv_text(table)


def show_clips_csv(
    run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], columns: Sequence[str] = OF_A_CARD, *, key: str,
    label: str = "CSV", hint: str = "",
) -> None:  # fmt: skip
    """A button that saves `clips_csv` of these rows, which is made once it is clicked."""
    st.download_button(
        label, lambda: clips_csv(run, clips.iloc[rows], columns), f"{run.name}_{key}.csv", "text/csv",
        key=f"csv_of_{key}", type="tertiary", icon=":material/download:", on_click="ignore",
        help=hint or "With label, prediction, tags and path of each clip.",
    )  # fmt: skip


def show_table_csv(table: pd.DataFrame, name: str) -> None:
    """A button that saves a table that the page shows above it; `name` is its key and that of the file."""
    st.download_button(
        "CSV", lambda: csv_text(table), f"{name}.csv", "text/csv", key=f"csv_of_{name}", type="tertiary",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
