"""RUN/interventions/index.html: what replacing attention changes, by layer (places.csv) and by class (classes.csv)."""

import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.interventions import BROKEN, effects_in, left_out_clips
from analysis.experiments.trust_tables import class_replacement_effects, replacement_effects
from analysis.explain.alpha_replacement import ANOTHER_CLIP, DATASET_MEAN, EVERY_LAYER
from analysis.report.colours import DIVERGING
from analysis.report.page import Section, write_page
from analysis.report.plots import styled
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.left_out import left_out_sentence
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import describe_clips_per_class
from analysis.statistics.clusters import describe_interval
from sth_core.errors import UserError


def intervention_tables(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The effects by place and kind, and, of alpha replaced everywhere, by class and kind.

    Raises:
        UserError: `sth intervene` has not been run on this run, or all clips were left out.
    """
    effects = effects_in(run.path).read("effects")
    if effects.empty and (left_out := clips_without_effects(run)):
        raise UserError(f"{run.path} has no effect to show. {left_out}")
    if effects.empty:
        raise UserError(f"{run.path} holds no interventions; `sth intervene` makes them")
    groups = predictions(run).set_index("clip_id")["group"]
    return replacement_effects(effects, groups), class_replacement_effects(effects, groups)


def clips_without_effects(run: Run) -> str:
    """Which clips were left out, and whether the same command tries them again; empty if none were."""
    left_out = left_out_clips(run.path)
    broken = [clip for clip, reason in left_out.items() if reason == BROKEN]
    unread = [clip for clip, reason in left_out.items() if reason != BROKEN]
    kinds = ((broken, f"as {BROKEN}", "does not try again"), (unread, "could not be read", "tries again"))
    return " ".join(f"{left_out_sentence(why, clips)}; the same command {what}." for clips, why, what in kinds if clips)


def write_intervention_page(run: Run) -> tuple[Path, pd.DataFrame]:
    """Write the page; returns it and the table by place."""
    places, classes = intervention_tables(run)
    out = effects_in(run.path).folder
    meta = json.loads((out / "interventions.json").read_text(encoding="utf-8"))
    heading, clips = "Does attention matter?", places["clips"].max()
    sections = intervention_sections(places, classes)
    facts = [f"{run.title}, {clips} clips.", *accuracy_caveats(run.meta, predictions(run)), clips_without_effects(run)]
    about = " ".join(filter(None, facts))
    page = write_page(
        out / "index.html", heading, sections, title=f"{heading} {run.title}", about=about,
        command=meta["command"],
    )  # fmt: skip
    return page, places


def intervention_sections(places: pd.DataFrame, classes: pd.DataFrame) -> list[Section]:
    """What the tables of `intervention_tables` say, by place and by class."""
    how = "Change of accuracy in points, paired on the same clips; *: p < 0.05 after Holm's correction. n ="
    sections = [
        Section(lead=summarize_interventions(places)),
        Section(
            "By layer, stage and everywhere", figure=plot_replacement_effects(places, "place"),
            caption=f"{how} {places['n'].max()} clips.", data={"places": places},
        ),
    ]  # fmt: skip
    if len(classes):
        by_class = plot_replacement_effects(classes, "label")
        caption = f"{how} {describe_clips_per_class(classes['n'])}."
        sections.append(Section("By class, everywhere", figure=by_class, caption=caption, data={"classes": classes}))
    return sections


def plot_replacement_effects(table: pd.DataFrame, rows: str) -> go.Figure:
    """Change of accuracy: a row for each value of the column `rows` of `replacement_effects`' table, a column for each
    kind of replacement; a star where it is significant."""
    points = 100 * table["value"]
    stars = table["verdict"].map({"matters": " *"}).fillna("")
    text = (
        points.map(lambda change: f"{change:+.0f}" if abs(change) >= 0.5 else "0" if change == change else "-") + stars
    )
    heatmap = go.Heatmap(
        x=table["kind"], y=table[rows], z=points, text=text, texttemplate="%{text}", zmid=0, zmin=-100, zmax=100,
        colorscale=DIVERGING, colorbar_title="points",
    )  # fmt: skip
    height = 126 + 26 * table[rows].nunique()
    figure = styled(go.Figure(heatmap), "α becomes ...", "", height=height, margin_t=10)
    kinds = list(table["kind"].unique())
    names = [kind.replace(": ", "<br>").replace(" to ", " to<br>").replace("_S", "<sub>S</sub>") for kind in kinds]
    names = [name.replace("_T", "<sub>T</sub>") for name in names]
    figure.update_xaxes(tickvals=kinds, ticktext=names, tickangle=0)
    return figure.update_yaxes(autorange="reversed", automargin=True, type="category")


def summarize_interventions(places: pd.DataFrame) -> str:
    """In words: does the accuracy depend on alpha, and does it depend on alpha of the single clip?"""
    everywhere = places[places["place"] == EVERY_LAYER].set_index("kind")
    if not everywhere["n"].max():
        kinds = "; ".join(f"{row.Index}: {row.n_changed} of {row.clips} clips" for row in everywhere.itertuples())
        return (
            "No accuracy: the network knows the label of none of the clips. Predictions that change when α is replaced "
            f"everywhere by {kinds}."
        )
    points = 100 * everywhere[["value", "low", "high"]]
    changes = "; ".join(
        f"{kind}: {v:+.1f} points ({describe_interval(low, high, '+.1f')})"
        for kind, v, low, high in points.itertuples()
    )
    return f"{attention_finding(everywhere)} α replaced everywhere by {changes}."


def attention_finding(everywhere: pd.DataFrame) -> str:
    """The verdict on α replaced everywhere, from the rows of `replacement_effects` by kind."""
    mattering = set(everywhere.index[everywhere["verdict"] == "matters"])
    of_clip = [kind for kind in (DATASET_MEAN, ANOTHER_CLIP) if kind in mattering]
    if of_clip:
        return f"α of the single clip matters: {' and '.join(of_clip)} cannot replace it."
    if mattering:
        return (
            "The average balance of space and time in each layer matters. That α of the single clip matters is not "
            "shown: the dataset's mean and another clip's α give about the same accuracy."
        )
    return "No replacement changes the accuracy significantly."
