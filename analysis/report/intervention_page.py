"""`sth intervene`'s page: what replacing attention changes, by layer and by class; its numbers beside it as CSV.

RUN/interventions/index.html (self-contained), places.csv, classes.csv
"""

import html
import json
from pathlib import Path

import pandas as pd

from analysis.experiments.interventions import results_in
from analysis.experiments.trust_tables import class_replacement_effects, replacement_effects
from analysis.explain.alpha_replacement import ANOTHER_CLIP, DATASET_MEAN, EVERYWHERE
from analysis.report.trust_page import effects_figure, filled, section
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import describe_clips_per_class
from sth_core.errors import UserError
from sth_core.files import write_atomically


def intervention_tables(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The effects by place and kind, and, of alpha replaced everywhere, by class and kind.

    Raises:
        UserError: `sth intervene` has not been run on this run.
    """
    effects = results_in(run.path).read("effects")
    if effects.empty:
        raise UserError(f"{run.path} holds no interventions; `sth intervene` makes them")
    groups = predictions(run).set_index("clip_id")["group"]
    return replacement_effects(effects, groups), class_replacement_effects(effects, groups)


def write_intervention_page(run: Run) -> tuple[Path, pd.DataFrame]:
    """Write the page; returns it and the table by place."""
    places, classes = intervention_tables(run)
    out = results_in(run.path).folder
    for name, table in (("places", places), ("classes", classes)):
        with write_atomically(out / f"{name}.csv") as file:
            table.to_csv(file, index=False, lineterminator="\n")
    meta = json.loads((out / "interventions.json").read_text(encoding="utf-8"))
    n = int(places["n"].max())
    how = "Change of accuracy in points, paired on the same clips; *: p &lt; 0.05 after Holm's correction."
    body = [
        f"<p class=caption>{html.escape(run.title)}, {n} clips. <code>{html.escape(meta['command'])}</code></p>",
        f"<p>{html.escape(summary(places))}</p>",
        section("By layer, stage and everywhere", effects_figure(places, "place"), f"{how} n = {n} clips."),
        section(
            "By class, everywhere", effects_figure(classes, "label"),
            f"{how} n = {describe_clips_per_class(classes['n'])}.",
        ),
    ]  # fmt: skip
    page = out / "index.html"
    with write_atomically(page) as file:
        file.write(filled("Does attention matter?", run.title, body))
    return page, places


def summary(places: pd.DataFrame) -> str:
    """In words: does the network need its alphas, and does it need them to be this clip's?"""
    everywhere = places[places["place"] == EVERYWHERE].set_index("kind")
    mattering = [kind for kind, row in everywhere.iterrows() if row["verdict"] == "matters"]
    cost = "; ".join(
        f"{kind}: {100 * row['value']:+.1f} points ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        for kind, row in everywhere.iterrows()
    )
    of_clip = [kind for kind in (DATASET_MEAN, ANOTHER_CLIP) if kind in mattering]
    if of_clip:
        said = f"What α says of the single clip matters: {' and '.join(of_clip)} cannot stand in for it."
    elif mattering:
        said = (
            "How the layers weigh space and time matters, but what α says of the single clip does not show: the "
            "dataset's mean and another clip's do about as well as its own."
        )
    else:
        said = "No replacement changes the accuracy beyond doubt."
    return f"{said} Replaced everywhere by {cost}."
