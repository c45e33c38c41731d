"""A training's curves as a page of its own."""

from pathlib import Path

import pandas as pd
from plotly.subplots import make_subplots

from analysis.report.plots import COLOURS, on_paper, write_figure


def write_training_curves(metrics: Path) -> Path:
    """Draw a training's metrics.csv as curves.html beside it: the loss, and the accuracy on training and held-out
    clips, by epoch."""
    table = pd.read_csv(metrics)
    figure = make_subplots(1, 2, subplot_titles=("loss", "accuracy"))
    figure.add_scatter(x=table["epoch"], y=table["loss"], name="loss", line_color=COLOURS[0], row=1, col=1)
    for column, name, colour in (("accuracy", "training", COLOURS[0]), ("val_accuracy", "held out", COLOURS[1])):
        known = table[table[column].notna()]
        figure.add_scatter(
            x=known["epoch"], y=known[column], name=name, mode="lines+markers", line_color=colour, row=1, col=2
        )
    figure.update_layout(height=440)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(range=[0, 1], row=1, col=2)
    page = metrics.with_name("curves.html")
    write_figure(page, on_paper(figure))
    return page
