"""The views of the page Predictions in a report: accuracy with its interval, and what the view shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_signal, read_signal
from analysis.attention.clip_profiles import clip_numbers, most_confident_first
from analysis.report.clip_columns import ANSWER, MEASURES, NAMES, clip_names, number_columns, varying_measures
from analysis.report.clip_maps import EXPLAINED, draw_map
from analysis.report.clip_plots import CLIPS, plot_clips
from analysis.report.page import PageTable, Picture, Section
from analysis.report.plots import horizontal_bars, styled
from analysis.report.report_filters import linked_clips
from analysis.report.report_parts import ReportPart
from analysis.report.report_sources import ReportSources, first_value, overview_of
from analysis.report.run_figures import SHARE_AXIS, plot_calibration
from analysis.runs.caveats import accuracy_caveats, confidence_is_known
from analysis.runs.correctness import counted_clips, is_correct, is_misclassified
from analysis.runs.features import MAPS, NO_FEATURES, PCA, has_features, map_of_clips, read_features
from analysis.runs.run_directory import Run
from analysis.runs.saved_views import SavedView
from analysis.statistics.accuracy import accuracy_per_class, describe_groups, group_numbers, units_of_clips
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.class_report import class_report
from analysis.statistics.clusters import describe_interval
from analysis.statistics.confusion import confused_pairs, confusion_cells
from analysis.statistics.shares import share_interval
from sth_core.datasets.media import counted
from sth_core.errors import UserError
from sth_core.video import count_frames
from sth_core.video.fields import read_resized

MOST_PICTURES, MOST_LISTED, MOST_BARS, MOST_IN_MATRIX, MOST_CONFUSED = 12, 40, 40, 60, 8
SHORT_SIDE = 150  # of a picture, in pixels
LISTED = ("clip_id", "label", "prediction", "correct", "confidence", "alpha_temporal", "time_share")


def predictions_part(view: SavedView, sources: ReportSources) -> ReportPart:
    """Raises UserError: the run cannot be shown."""
    run = sources.named(view)
    table = overview_of(run)
    passing, facts = linked_clips(run, table, view.query)
    some = table[passing]
    facts = [f"{run.name}: {run.title}.", accuracy_sentence(table), *accuracy_caveats(run.meta, table), *facts]
    name = first_value(view.query, "view", "Misclassified")
    build = {
        "Confusion": confusion_sections, "Per class": class_sections, "Precision and recall": report_sections,
        "Calibration": calibration_sections,
    }.get(name)  # fmt: skip
    if build and not len(counted_clips(some)):
        raise UserError(f"{name}: no clip that matches has a label that the network knows.")
    if build:
        return ReportPart("", facts=facts, sections=build(run, some))
    if name == "Misclassified":
        chosen = passing & np.asarray(is_misclassified(table), bool)
        return ReportPart("", facts=facts, sections=[gallery_section(sources, run, table, chosen, "misclassified")])
    if name in ("Plot", "Map") and passing.any():
        draw = plot_sections if name == "Plot" else map_sections
        return ReportPart("", facts=facts, sections=draw(run, table, passing, view))
    known = name in ("All clips", "Plot", "Map")  # without a clip that matches, a plot has nothing to draw
    problems = [] if known else [f"There is no view {name}; these are the clips."]
    return ReportPart("", facts=facts, sections=[list_section(run, some)], problems=problems)


def accuracy_sentence(table: pd.DataFrame) -> str:
    """The accuracy over all clips that count, with its interval."""
    counting = counted_clips(table)
    if not len(counting):
        return "No accuracy: no clip has a label that the network knows."
    correct, groups = is_correct(counting), group_numbers(counting)
    low, high = share_interval(correct, groups)
    over = describe_groups(len(counting), len(np.unique(groups)))
    return f"Accuracy {correct.mean():.1%} (95 %: {describe_interval(low, high, '.1%')}, over {over})."


def confusion_sections(run: Run, clips: pd.DataFrame) -> list[Section]:
    cells = confusion_cells(clips)
    pairs = confused_pairs(cells)
    caption = (
        f"n = {counted(int(cells['n'].sum()), 'clip')}. Numbers: clips; colour: share of the label's clips. The "
        f"diagonal is what is correct."
    )
    classes = [name for name in run.meta["classes"] if name in {*cells["label"], *cells["prediction"]}]
    figure = plot_confusion_cells(cells, classes) if len(classes) <= MOST_IN_MATRIX else None
    if figure is None:
        caption += f" {len(classes)} classes are too many to draw; the table has the largest cells off the diagonal."
    named = pairs.astype({"label": str, "prediction": str})
    said = f"The first {MOST_CONFUSED} of {len(named):,} pairs." if len(named) > MOST_CONFUSED else ""
    said = said if len(named) else "No clip is misclassified."
    return [
        Section(figure=figure, name="confusion", caption=caption, data={"confusion": cells.astype({"label": str})}),
        Section("Most confused", table=PageTable(named.head(MOST_CONFUSED)[["label", "prediction", "n", "reverse"]])
                if len(named) else None, caption=said),
    ]  # fmt: skip


def plot_confusion_cells(cells: pd.DataFrame, classes: list[str]) -> go.Figure:
    """Label against prediction: a square for each cell, with its clips."""
    wide = cells.astype({"label": str, "prediction": str}).pivot(index="label", columns="prediction", values="n")
    counts = wide.reindex(index=classes, columns=classes).fillna(0).astype(int)
    shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
    figure = go.Figure().add_heatmap(
        x=classes, y=classes, z=shares.where(counts > 0), zmin=0, zmax=1, colorscale="Blues", xgap=1, ygap=1,
        hoverongaps=False, text=np.where(counts > 0, counts, ""), texttemplate="%{text}",
        colorbar={"thickness": 12, "tickformat": ".0%"},
    )  # fmt: skip
    side = 24 if len(classes) <= 30 else 14
    figure = styled(figure, "prediction", "label", height=min(1100, 190 + side * len(classes)), margin_t=10)
    figure.update_xaxes(type="category", tickangle=-60 if len(classes) > 8 else 0, automargin=True, showgrid=False)
    return figure.update_yaxes(type="category", autorange="reversed", automargin=True, showgrid=False)


def class_sections(run: Run, clips: pd.DataFrame) -> list[Section]:
    per_class = accuracy_per_class(clips, run.meta["classes"])
    there = per_class[per_class["n"] > 0].sort_values("accuracy")
    figure = horizontal_bars(there.head(MOST_BARS), "label", "accuracy", "accuracy").update_xaxes(SHARE_AXIS)
    which = f"The {MOST_BARS} lowest of {len(there)} classes" if len(there) > MOST_BARS else "Accuracy of each class"
    caption = f"{which}, n = {counted(int(there['n'].sum()), 'clip')}; whiskers: 95 % over {units_of_clips(clips)}."
    return [Section(figure=figure, name="per-class", caption=caption, data={"classes": per_class})]


def plot_sections(run: Run, table: pd.DataFrame, passing: NDArray[np.bool_], view: SavedView) -> list[Section]:
    """Raises UserError: the run does not have one of the view's columns."""
    alpha = read_signal(run) if has_signal(run) else None
    of_numbers = number_columns(table, alpha)
    titles = of_numbers | NAMES | {CLIPS: "number of clips"}
    x = first_value(view.query, "x", next(iter(titles)))
    y = first_value(view.query, "y", CLIPS)
    if unknown := [name for name, known in ((x, titles), (y, [CLIPS, *of_numbers])) if name not in known]:
        raise UserError(f"The view plots {unknown[0]}, which the run {run.name} does not have.")
    plot = plot_clips(table, np.flatnonzero(passing), x, y, titles, lambda name: clip_numbers(table, name, alpha))
    clips = table.iloc[plot.rows]
    values = {name: clip_names(clips, name) if name in NAMES else clip_numbers(table, name, alpha)[plot.rows]
              for name in (x, y) if name != CLIPS}  # fmt: skip
    caption = f"{plot.alt}: n = {drawn_of(passing, len(plot.rows), plot.why)}.{plot.note}"
    data = {"plot": clips[["clip_id"]].assign(**values)}
    return [Section(figure=plot.figure, name="plot", caption=caption, data=data)]


def drawn_of(passing: NDArray[np.bool_], shown: int, why: str) -> str:
    """ "22 clips", or with why some that pass are not among them: "20 clips (2 without features)"."""
    left_out = int(passing.sum()) - shown
    return counted(shown, "clip") + (f" ({left_out:,} {why})" if left_out else "")


def map_sections(run: Run, table: pd.DataFrame, passing: NDArray[np.bool_], view: SavedView) -> list[Section]:
    """Raises UserError: the run has no features, or too few or too many clips for the map."""
    if not has_features(run):
        raise UserError(NO_FEATURES)
    features, kind = read_features(run), first_value(view.query, "map", PCA)
    names = NAMES | {name: MEASURES[name][0] for name in varying_measures(table)}
    colour = first_value(view.query, "colour", ANSWER)
    if kind not in MAPS or colour not in names:
        raise UserError(f"There is no map {kind} by {colour} of the run {run.name}.")
    found = draw_map(table, passing, features, map_of_clips(features, kind), colour, names[colour])
    count = drawn_of(passing, len(found.points), "without features")
    caption = f"{kind} of {count}, by {names[colour]}.{found.note} {EXPLAINED[kind]}"
    places = found.points[["clip_id", "x", "y"]]
    return [Section(figure=found.figure, name="map", caption=caption, data={"map": places})]


def report_sections(run: Run, clips: pd.DataFrame) -> list[Section]:
    report = class_report(clips, run.meta["classes"]).sort_values("f1", kind="stable", ignore_index=True)
    shown = report[["label", "support", "predicted"]].rename(columns={"label": "class", "support": "clips"})
    for name, title in {"precision": "precision", "recall": "recall", "f1": "F1"}.items():
        rows = zip(report[name], report[f"{name}_low"], report[f"{name}_high"], strict=True)
        shown[f"{title}, %"] = [
            f"{100 * v:.0f} ({100 * a:.0f} to {100 * b:.0f})" if v == v else "-" for v, a, b in rows
        ]
    tones = dict.fromkeys(["precision, %", "recall, %", "F1, %"], "number")
    caption = f"In brackets: 95 % intervals over {units_of_clips(clips)}. The lowest F1 comes first."
    if len(shown) > MOST_LISTED:
        caption += f" The first {MOST_LISTED} of {len(shown)} classes; the file has all."
    return [Section(table=PageTable(shown.head(MOST_LISTED), tones), caption=caption, data={"class report": report})]


def calibration_sections(run: Run, clips: pd.DataFrame) -> list[Section]:
    bins = calibration_bins(clips)
    caption = (
        f"Expected calibration error {calibration_error(bins):.3f}, n = {counted(int(bins['n'].sum()), 'clip')} "
        f"(whiskers: 95 % over {units_of_clips(clips)}; larger points have more clips). Points below the dashed line "
        "are overconfident."
    )
    return [Section(figure=plot_calibration(bins), name="calibration", caption=caption, data={"calibration": bins})]


def gallery_section(sources: ReportSources, run: Run, table: pd.DataFrame, chosen: np.ndarray, what: str) -> Section:
    """The middle frames of the most confident of these clips (a mask)."""
    rows = most_confident_first(table, chosen)
    pictures, unread = list[Picture](), 0
    for clip in table.iloc[rows[:MOST_PICTURES]].itertuples():
        try:
            confidence = f" ({clip.confidence:.0%})" if confidence_is_known(run.meta) else ""
            name = f"{clip.label} → {clip.prediction}{confidence} · {Path(clip.clip_id).name}"
            pictures.append(Picture(name, middle_frame(sources, clip.path)))
        except (UserError, OSError):
            unread += 1
    count = f"{counted(len(rows), 'clip')}, {what}" if len(rows) else f"No clip is {what}"
    first = f"; the first {min(len(rows), MOST_PICTURES)}, most confident first" * (len(rows) > MOST_PICTURES)
    gone = f" {counted(unread, 'video')} of them cannot be read." if unread else ""
    caption = f"{count}{first}: label → prediction (confidence).{gone}" if len(rows) else f"{count}."
    return Section(pictures=pictures, caption=caption, data={what: clip_rows(table.iloc[rows])} if len(rows) else {})


def middle_frame(sources: ReportSources, path: object) -> np.ndarray:
    """Raises UserError: the video is not known, may not be read, or cannot be."""
    if not isinstance(path, str):
        raise UserError("The run does not say where the video is.")
    if why := sources.why_not_readable(path):
        raise UserError(why)
    return np.asarray(read_resized(Path(path), [count_frames(Path(path)) // 2], SHORT_SIDE)[0])


def list_section(run: Run, clips: pd.DataFrame) -> Section:
    shown = clip_rows(clips)
    some = f"The first {MOST_LISTED} of {len(shown):,}; the file has all." if len(shown) > MOST_LISTED else ""
    return Section(table=PageTable(shown.head(MOST_LISTED)), caption=some, data={"clips": shown})


def clip_rows(clips: pd.DataFrame) -> pd.DataFrame:
    there = [name for name in LISTED if name in clips]
    return clips[there].astype({"label": str, "prediction": str}).reset_index(drop=True)
