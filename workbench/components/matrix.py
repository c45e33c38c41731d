"""A confusion matrix of any number of classes, for pointer and keyboard.

Plotly's heat maps report no click to Streamlit, and take seconds to draw 400 classes.
"""

import pandas as pd
import streamlit as st
from plotly.colors import hex_to_rgb

from analysis.report.colours import CORRECT, MISCLASSIFIED
from workbench.components.browser import js_component

HTML = """<div class="matrix">
  <canvas tabindex="0" role="application" aria-label="Confusion matrix: arrow keys move, Enter opens a cell"></canvas>
  <div class="foot">
    <button class="reset" hidden>Whole matrix</button><span class="status" role="status"></span>
  </div>
</div>"""
SQUARES = {"correct": hex_to_rgb(CORRECT), "misclassified": hex_to_rgb(MISCLASSIFIED)}
COMPONENT = js_component("matrix", HTML)


def choose_cell(label: str | None, prediction: str | None) -> None:
    """Open a cell, or none: the filters of the page have the keys `label` and `said`."""
    st.session_state.update(label=label, said=prediction)


def show_confusion_matrix(run: str, cells: pd.DataFrame, classes: list[str]) -> None:
    """Draw the cells of a confusion matrix (`confusion_cells`); a click opens one."""
    number = {name: i for i, name in enumerate(classes)}
    cells = cells[cells["label"].isin(number) & cells["prediction"].isin(number)]
    label, prediction = (cells[column].astype(str).map(number) for column in ("label", "prediction"))
    total = cells.groupby(label)["n"].sum().reindex(range(len(classes)), fill_value=0)
    names = [st.session_state.get(key) for key in ("label", "said")]
    marked = [number[name] for name in names if name in number]

    def on_cell_change() -> None:
        if cell := st.session_state["matrix"].get("cell"):
            choose_cell(classes[cell[0]], classes[cell[1]])

    data = {
        "run": run, "names": classes, "label": label.tolist(), "prediction": prediction.tolist(),
        "count": cells["n"].tolist(), "total": total.tolist(),
        "colours": SQUARES, "chosen": marked if len(marked) == 2 else None,
    }  # fmt: skip
    COMPONENT(key="matrix", on_cell_change=on_cell_change, data=data)
