"""A confusion matrix that can be clicked and walked with the arrow keys, at any number of classes.

Plotly's heat maps tell Streamlit of no click, and its squares take seconds to draw for 400 classes.
"""

from base64 import b64encode
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from workbench.components.scripted import scripted

HTML = """<div class="matrix">
  <canvas tabindex="0" role="application" aria-label="Confusion matrix: arrow keys move, Enter opens a cell"></canvas>
  <div class="foot"><button class="whole" hidden>Whole matrix</button><span class="words" role="status"></span></div>
</div>"""
COMPONENT = scripted("matrix", HTML)
KEY = "matrix"


def confusion_matrix(
    run: str, cells: pd.DataFrame, classes: list[str], chosen: tuple[str | None, str | None],
    choose: Callable[[str, str], None],
) -> None:  # fmt: skip
    """Draw the cells of a confusion matrix (`confusion`); a click calls `choose(label, prediction)`."""
    number = {name: i for i, name in enumerate(classes)}
    cells = cells[cells["label"].isin(number) & cells["prediction"].isin(number)]
    label, said = (cells[column].astype(str).map(number) for column in ("label", "prediction"))
    total = cells.groupby(label)["n"].sum().reindex(range(len(classes)), fill_value=0)
    marked = [number[name] for name in chosen if name in number]

    def opened() -> None:
        if cell := st.session_state[KEY].get("cell"):
            choose(classes[cell[0]], classes[cell[1]])

    COMPONENT(
        key=KEY,
        on_cell_change=opened,
        data={
            "run": run, "names": classes, "label": label.tolist(), "said": said.tolist(), "count": cells["n"].tolist(),
            "total": total.tolist(), "colours": b64encode(colours().tobytes()).decode(),
            "chosen": marked if len(marked) == 2 else None,
        },
    )  # fmt: skip


def colours() -> np.ndarray:
    """(256, 3) uint8, from a share of nothing, light, to all, dark."""
    return cv2.applyColorMap(np.arange(255, -1, -1, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
