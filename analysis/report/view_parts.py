"""A saved view as a part of a report: each page of the app has a builder of what it shows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.attention import compare_runs
from analysis.attention.alpha_matrix import has_attention, has_signal, read_once, read_signal
from analysis.attention.alpha_tables import alpha_class_layer_table
from analysis.attention.clip_profiles import correctness_profile, unusual_clips
from analysis.attention.hypotheses import evaluate_hypotheses
from analysis.attention.share_tables import why_not_subtracted
from analysis.report.clip_cards import clip_card
from analysis.report.experiment_parts import experiments_part
from analysis.report.figures_5_to_8 import attention_by_layer, split_drawn, supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.page import PageTable, Section
from analysis.report.plots import SupplementFigure
from analysis.report.prediction_parts import accuracy_sentence, gallery_section, predictions_part
from analysis.report.report_parts import ClipCard, Recipe, ReportPart
from analysis.report.report_sources import ReportSources, first_value, overview_of
from analysis.report.run_figures import plot_alpha_change, plot_by_correctness, plot_class_layers
from analysis.report.run_rows import runs_section
from analysis.report.supplement import figures_left_out, hypotheses_section
from analysis.report.time_share_figure import time_share_item
from analysis.runs.left_out import clips_left_out, left_out_sentence, why_no_attention
from analysis.runs.notes import notes_table
from analysis.runs.run_directory import Run
from analysis.runs.saved_views import SavedView
from analysis.runs.signals import signal_of
from analysis.statistics.accuracy import describe_groups, units_of
from analysis.statistics.clusters import describe_interval, describe_p
from sth_core.datasets.media import counted
from sth_core.errors import UserError
from sth_core.files import error_sentence

Build = Callable[[SavedView, ReportSources], ReportPart]


def view_part(view: SavedView, sources: ReportSources) -> ReportPart:
    """What a saved view shows, or why it cannot be shown, under its name and note."""
    page = view.page or "runs"
    try:
        part = BUILDS[page](view, sources) if page in BUILDS else nothing_of(page)
    except (UserError, OSError) as error:
        part = ReportPart("", problems=[error_sentence(error)])
    link = (f"this view, below the address of: sth app {sources.folder}", view.link or "runs")
    return replace(part, title=view.name, note=view.note, recipes=[*part.recipes, link])


def nothing_of(page: str) -> ReportPart:
    return ReportPart("", problems=[f"A report does not show the page {page}; its link opens it."])


def runs_part(view: SavedView, sources: ReportSources) -> ReportPart:
    section, problems = runs_section(sources.chosen)
    return ReportPart("", sections=[section], problems=problems)


def attention_part(view: SavedView, sources: ReportSources) -> ReportPart:
    runs, problems = sources.all_named(view)
    without = {name: why_no_attention(run) for name, run in runs.items() if not has_signal(run)}
    problems += [f"{name} is not shown: {why}." for name, why in without.items()]
    shown = {name: run for name, run in runs.items() if name not in without}
    if not shown:
        raise UserError(" ".join([*problems, "None of the view's runs has recorded attention."]))
    kind = first_value(view.query, "show", "Figures")
    if kind in OF_ONE_RUN:
        name = first_value(view.query, "of", next(iter(shown)))
        run = sources.readable(name)
        if not has_signal(run):
            raise UserError(f"The run {name} cannot be shown: {why_no_attention(run)}.")
        return ReportPart("", facts=[f"{name}: {run.title}."], sections=OF_ONE_RUN[kind](run, sources))
    drawn, not_drawn = split_drawn(shown, of_alpha=kind == "Hypotheses")
    facts = [f"{counted(len(drawn), 'run')}: {', '.join(drawn)}."]
    problems += [f"{name} is not shown: {why}." for name, why in not_drawn.items()]
    if kind == "Hypotheses":
        tested = evaluate_hypotheses([run for run in shown.values() if has_attention(run)], read_once())
        return ReportPart("", facts=facts, problems=problems, sections=[hypotheses_section(tested)])
    sections = [figure_section(item) for item in supplement_items(list(shown.values()))]
    return ReportPart("", facts=facts, problems=problems, sections=sections, recipes=[figures_recipe(sources)])


def supplement_items(runs: list[Run], *, classes: bool = False) -> list[SupplementFigure]:
    """Figures 5 to 8, with `classes` also 9 and 10, and attention across time."""
    read = read_once()
    items = list(supplement_figures(attention_by_layer(runs, read)))
    items += class_figures(runs, read) if classes else []
    return [*items, *([item] if (item := time_share_item(runs)) else [])]


def figure_section(item: SupplementFigure) -> Section:
    return Section(item.title, figure=item.figure, name=item.name, caption=item.caption, data={item.name: item.data})


def figures_recipe(sources: ReportSources) -> tuple[str, str]:
    return "the figures as files", f"sth figures {sources.folder} -o figures"


def class_map_sections(run: Run, sources: ReportSources) -> list[Section]:
    signal, table = signal_of(run), alpha_class_layer_table(read_signal(run))
    caption = f"Mean {signal.name} of each class and layer, sorted by the mean over layers."
    figure = plot_class_layers(run, table)
    return [Section(figure=figure, name="by-class", caption=caption, data={"class layers": table})]


def correctness_sections(run: Run, sources: ReportSources) -> list[Section]:
    signal, table = signal_of(run), correctness_profile(read_signal(run))
    caption = f"Mean {signal.name} (bars: 95 % over {units_of(table)}). Hard classes have more misclassified clips."
    figure = plot_by_correctness(run, table)
    return [Section(figure=figure, name="by-correctness", caption=caption, data={"by correctness": table})]


def unusual_sections(run: Run, sources: ReportSources) -> list[Section]:
    found, table = unusual_clips(read_signal(run)), overview_of(run)
    chosen = np.isin(np.arange(len(table)), found["row"])
    return [gallery_section(sources, run, table, chosen, f"whose {signal_of(run).name} differs most from its class's")]


OF_ONE_RUN = {
    "By class": class_map_sections, "Correct and misclassified": correctness_sections,
    "Unusual clips": unusual_sections,
}  # fmt: skip


def clip_part(view: SavedView, sources: ReportSources) -> ReportPart:
    """A card, and one of the second network if the view has one beside it. Raises UserError: the first has none."""
    fact, card, recipes = clip_of_view(view, sources, "run")
    part = ReportPart("", facts=[fact], cards=[card], recipes=recipes)
    if not first_value(view.query, "with"):
        return part
    try:
        fact, card, more = clip_of_view(view, sources, "with")
    except UserError as error:
        return replace(part, problems=[f"No second network: {error}"])
    return replace(part, facts=[*part.facts, fact], cards=[*part.cards, card], recipes=[*recipes, *more])


def clip_of_view(view: SavedView, sources: ReportSources, key: str) -> tuple[str, ClipCard, list[Recipe]]:
    """What the run of this parameter is, its card of the view's clip, and how that is made. Raises UserError."""
    run = sources.named(view, key)
    card, recipes = clip_card(sources, run, overview_of(run), first_value(view.query, "clip"), view.query)
    return f"{run.name}: {run.title}.", card, recipes


def compare_part(view: SavedView, sources: ReportSources) -> ReportPart:
    named = {letter: sources.named(view, key) for letter, key in (("A", "a"), ("B", "b"))}
    a, b = named.values()
    more, problems = sources.all_named(view, "more") if view.query.get("more") else ({}, [])
    overviews = {name: overview_of(run) for name, run in (named | more).items()}
    facts = [f"{name}: {run.name} ({run.title}). {accuracy_sentence(overviews[name])}" for name, run in named.items()]
    both = compare_runs.side_by_side(overviews["A"], overviews["B"])
    if both.empty:
        raise UserError(f"{a.name} and {b.name} have no clip in common.")
    clips = [overviews[name]["clip_id"] for name in named]
    facts += [f"{left_out_sentence(why, some)}." for why, some in clips_left_out([a, b], clips).items()]
    if view.query.get("tags"):
        problems.append("The view's tags do not narrow the clips of a report; lost and gained clips are all there.")
    sections, known = list[Section](), both[both["outcome"].notna()]
    if more:
        shared = compare_runs.shared_clips(overviews)
        sections.append(shared_section(shared, named | more))
    if len(known):
        groups = overviews["A"]["group"].iloc[known["row_a"]]
        change = compare_runs.accuracy_change(known, groups)
        counts = known["outcome"].value_counts()
        outcomes = ", ".join(f"{counts.get(name, 0)} are {name}" for name in compare_runs.OUTCOMES)
        interval = describe_interval(100 * change.low, 100 * change.high, "+.1f")
        facts.append(
            f"Accuracy of B minus accuracy of A: {100 * change.value:+.1f} points (95 %: {interval}, over "
            f"{describe_groups(len(known), groups.nunique())}; p = {describe_p(change.p)})."
        )
        facts.append(f"Of the clips in common {outcomes}.")
        table = overviews["B"]
        for outcome in (compare_runs.LOST, compare_runs.GAINED):
            chosen = table.index.isin(known["row_b"][known["outcome"] == outcome])
            section = gallery_section(sources, b, table, chosen, f"{outcome} (predictions of B)")
            sections.append(replace(section, title=f"{outcome.capitalize()} from A to B"))
    else:
        problems.append("No accuracy: no common clip has a label that both networks know.")
    if has_signal(a) and has_signal(b):
        sections += change_sections(a, b)
    return ReportPart("", facts=facts, problems=problems, sections=sections)


def shared_section(shared: compare_runs.SharedClips, named: dict[str, Run]) -> Section:
    table = compare_runs.shared_accuracy(shared)
    ends = zip(table["accuracy"], table["low"], table["high"], strict=True)
    texts = [f"{v:.1%} ({describe_interval(low, high, '.1%')})" for v, low, high in ends]
    shown = pd.DataFrame({"run": [named[name].name for name in table["run"]], "accuracy (95 %)": texts,
                          "correct only here": table["only_correct"]})  # fmt: skip
    caption = f"{counted(len(shared.rows), 'clip')} that all runs have."
    return Section("All runs on the same clips", table=PageTable(shown, {"accuracy (95 %)": "number"}), caption=caption)


def change_sections(a: Run, b: Run) -> list[Section]:
    if why := why_not_subtracted(a, b):
        return [Section(caption=f"{why}.")]
    change = compare_runs.alpha_change(read_signal(a), read_signal(b))
    if change.empty:
        return [Section(caption="The two networks have no layer in common.")]
    name = signal_of(a).name
    caption = f"Mean over the {counted(change['n'].max(), 'clip in common')} (bars: 95 % intervals)."
    figure = plot_alpha_change(b, change)
    return [Section(f"{name} by layer", figure=figure, name="change", caption=caption, data={"change": change})]


def figures_part(view: SavedView, sources: ReportSources) -> ReportPart:
    runs, problems = sources.all_named(view)
    for key in ("p", "modality"):
        if wanted := view.query.get(key):
            runs = {name: run for name, run in runs.items() if getattr(run, key) in wanted}
    items = supplement_items(list(runs.values()), classes=True)
    if not items:
        raise UserError("No run of the view has recorded attention.")
    without = {name: why_no_attention(run) for name, run in runs.items() if not has_signal(run)}
    drawn, not_drawn = split_drawn({name: run for name, run in runs.items() if name not in without})
    problems += [f"{name} is not shown: {why}." for name, why in (without | not_drawn).items()]
    problems += [f"Left out: {sentence}." for sentence in figures_left_out(items)]
    facts = [f"{counted(len(drawn), 'run')}: {', '.join(drawn)}."]
    return ReportPart(
        "", facts=facts, problems=problems, sections=[figure_section(item) for item in items],
        recipes=[figures_recipe(sources)],
    )  # fmt: skip


def notes_part(view: SavedView, sources: ReportSources) -> ReportPart:
    run = sources.named(view)
    table = notes_table(run)
    wanted = set(view.query.get("tags", ()))
    shown = table[[wanted <= set(tags) for tags in table["tags"]]]
    shown = shown.assign(tags=[", ".join(tags) for tags in shown["tags"]])
    facts = [f"{run.name}: {len(shown)} of {counted(len(table), 'clip')} with tags or a note."]
    return ReportPart("", facts=facts, sections=[Section(table=PageTable(shown))] if len(shown) else ())


BUILDS: dict[str, Build] = {
    "runs": runs_part, "attention": attention_part, "predictions": predictions_part, "clip": clip_part,
    "compare": compare_part, "experiments": experiments_part, "figures": figures_part, "notes": notes_part,
}  # fmt: skip
