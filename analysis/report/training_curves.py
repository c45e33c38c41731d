"""A training's curves as a page of its own."""

from pathlib import Path

from plotly.subplots import make_subplots

from analysis.report.colours import HELD_OUT, TRAINING
from analysis.report.page import Section, write_page
from analysis.report.plots import add_line
from sth_core.training_state import read_metrics


def write_training_curves(metrics: Path) -> Path:
    """Draw a training's metrics.csv as curves.html beside it: the loss, and the accuracy on training and held-out
    clips, by epoch."""
    figure, table = make_subplots(1, 2, subplot_titles=("loss", "accuracy")), read_metrics(metrics)
    for column, name, colour in (
        ("loss", "loss", TRAINING),
        ("accuracy", "training", TRAINING),
        ("val_accuracy", "held out", HELD_OUT),
    ):
        known = table.dropna(subset=column)
        place = 1 if column == "loss" else 2
        add_line(figure, known["epoch"], known[column], name, colour, row=1, col=place)
    figure.update_layout(height=440).update_xaxes(title="epoch").update_yaxes(range=[0, 1], col=2)
    return write_page(metrics.with_name("curves.html"), "Training curves", [Section(figure=figure)])
