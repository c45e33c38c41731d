"""`sth report`: runs, saved views and tagged clips as one HTML file that loads nothing, and the same as a PDF."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from analysis.attention.alpha_matrix import has_signal
from analysis.report import colours
from analysis.report.clip_cards import clip_card
from analysis.report.figure_layout import FONT
from analysis.report.image_export import write_pictures
from analysis.report.page import TEMPLATES
from analysis.report.plots import with_escaped_text
from analysis.report.printed_page import print_page
from analysis.report.report_parts import ClipCard, ReportPart, shown_numbers
from analysis.report.report_sources import ReportSources, overview_of, refuse_unknown_tags
from analysis.report.run_rows import runs_section
from analysis.report.view_parts import view_part
from analysis.runs.left_out import why_unreadable
from analysis.runs.notes import clips_with
from analysis.runs.saved_views import SavedView
from sth_core.datasets.media import counted
from sth_core.errors import UserError, visible
from sth_core.files import csv_text, write_atomically
from sth_core.outputs import writing_file
from sth_core.resumable import no_report

WIDTH, TEXT = 1000, 14  # of a figure, in pixels
MOST_TAGGED, MOST_CONFUSIONS = 24, 3  # clips of tags; matrices of a report without views
MOST_FOLDED = 1000  # rows of a folded table; the file that the page holds has all
SCHEMES = {"light": ("plotly_white", colours.TEXT["light"]), "dark": ("plotly_dark", colours.TEXT["dark"])}  # Plotly's


@dataclass(frozen=True)
class WrittenReport:
    """The files; `pdf` is None if there is none, `said` are sentences on what is missing or left out."""

    page: Path
    pdf: Path | None
    said: Sequence[str]


@dataclass(frozen=True)
class ReportOptions:
    """`tags`: clips with one of them are added. `command` is what makes the report again."""

    title: str = "Report"
    tags: Sequence[str] = ()
    command: str = ""
    pdf: bool = True
    overwrite: bool = False


def write_report(
    sources: ReportSources, views: Sequence[SavedView], out: Path, options: ReportOptions,
    progress: Callable[[int, int], object] = no_report,
) -> WrittenReport:  # fmt: skip
    """Write the report of these views to `out`, OUT.html, and OUT.pdf where a browser prints it; of all chosen runs
    where there are no views.

    Raises:
        UserError: a file of this name is there, no clip has one of the tags, or nothing can be written.
    """
    pdf = out.with_suffix(".pdf")
    refuse_existing([out, *([pdf] if options.pdf else [])], options.overwrite)
    refuse_unknown_tags(sources, options.tags)
    with writing_file(out):
        said = [] if views or options.tags else [f"no view is chosen of {sources.folder}: the report shows all runs"]
        steps = parts_of(sources, views or ([] if options.tags else default_views(sources)), options.tags)
        total, parts = steps.total + 1 + options.pdf, list[ReportPart]()
        for part in steps.parts:
            parts.append(part)
            progress(len(parts), total)
        page, missing = rendered_report(sources, parts, options)
        said += [missing] * bool(missing)
        with write_atomically(out) as file:
            file.write(page)
        progress(len(parts) + 1, total)
        why = print_page(out, pdf) if options.pdf else ""
        progress(total, total)
    said += [why] * bool(why)
    return WrittenReport(out, pdf if options.pdf and not why else None, said)


def refuse_existing(files: Sequence[Path], overwrite: bool) -> None:
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise UserError(f"{' and '.join(there)} exists; choose another name, or replace it with --overwrite")


@dataclass(frozen=True)
class Steps:
    """The parts, made one after the other, and how many there are."""

    parts: Iterator[ReportPart]
    total: int


def parts_of(sources: ReportSources, views: Sequence[SavedView], tags: Sequence[str]) -> Steps:
    def make() -> Iterator[ReportPart]:
        section, said = runs_section(sources.chosen)
        yield ReportPart("Runs", facts=said, sections=[section], recipes=recipes_of_runs(sources))
        yield from (view_part(view, sources) for view in views)
        yield from (tagged_part(sources, tag) for tag in tags)

    return Steps(make(), 1 + len(views) + len(tags))


def recipes_of_runs(sources: ReportSources) -> list[tuple[str, str]]:
    """The commands that recorded the runs."""
    commands = {name: str(run.meta.get("command") or "") for name, run in sources.chosen.items() if run.meta}
    return [(f"the run {name}", command) for name, command in commands.items() if command]


def tagged_part(sources: ReportSources, tag: str) -> ReportPart:
    """The clips with this tag, of all chosen runs."""
    cards, problems, found = list[ClipCard](), list[str](), 0
    for name, run in sources.chosen.items():
        if why_unreadable(run):
            continue  # the table of runs says so
        try:
            clips = sorted(clips_with(run, [tag]))
            found += len(clips)
            table = overview_of(run) if clips else None
            for clip_id in clips[: max(0, MOST_TAGGED - len(cards))]:
                assert table is not None
                cards.append(clip_card(sources, run, table, clip_id, {})[0])
        except UserError as error:
            problems.append(f"{name}: {error}")
    facts = [f"{counted(found, 'clip')} of {counted(len(sources.chosen), 'run')} with the tag {tag}."]
    if found > len(cards):
        problems.append(f"The report shows the first {len(cards)} of them.")
    return ReportPart(f"Tagged: {tag}", facts=facts, problems=problems, cards=cards)


def default_views(sources: ReportSources) -> list[SavedView]:
    """What a report shows of runs of which no view was saved: attention by layer, and what the first runs confuse."""
    runs = {name: run for name, run in sources.chosen.items() if not why_unreadable(run)}
    views = []
    if any(has_signal(run) for run in runs.values()):
        views.append(SavedView(Path(), "Attention by layer", "", "attention", {"runs": list(runs)}, ""))
    for name in [*runs][:MOST_CONFUSIONS]:
        query = {"run": [name], "view": ["Confusion"]}
        views.append(SavedView(Path(), f"What {name} confuses", "", "predictions", query, ""))
    return views


def rendered_report(sources: ReportSources, parts: Sequence[ReportPart], options: ReportOptions) -> tuple[str, str]:
    """The page as HTML, and why its figures are interactive instead of pictures; empty if they are pictures."""
    keyed = {f"figure-{i}-{j}": s for i, part in enumerate(parts) for j, s in enumerate(part.sections) if s.figure}
    drawn, missing = draw_figures({key: section.figure for key, section in keyed.items()})
    of_section = {id(section): key for key, section in keyed.items()}
    interactive = {id(s): replace(s, name=key).plot for key, s in keyed.items() if key not in drawn}
    page = TEMPLATES.overlay(finalize=shown).get_template("report.html").render(
        title=options.title, heading=options.title, parts=parts, command=options.command, tags=options.tags,
        about=f"{counted(len(sources.chosen), 'run')} in {sources.folder}",
        made=f"{datetime.now(UTC):%-d %B %Y}", version=version("sth-workbench"),
        picture_of=lambda section: drawn.get(of_section.get(id(section), "")),
        plot_of=lambda section: interactive.get(id(section), ""),
        shown_numbers=shown_numbers, most=MOST_FOLDED, csv_uri=csv_uri, lines=visible_lines,
        plotly=Markup(get_plotlyjs()) if interactive else "",
    )  # fmt: skip
    return page, f"{missing}; the figures are interactive instead, which makes the file larger" if missing else ""


def draw_figures(figures: dict[str, go.Figure]) -> tuple[dict[str, dict[str, str]], str]:
    """{key: {scheme: an SVG as data URI}}, all by one browser; nothing, and why, where there is none."""
    if not figures:
        return {}, ""
    schemes = {f"{key}.{name}": in_scheme(figure, name) for key, figure in figures.items() for name in SCHEMES}
    with TemporaryDirectory(prefix="sth-report-") as folder:
        if missing := write_pictures(schemes, Path(folder), ("svg",)):
            return {}, missing
        return {
            key: {name: svg_uri(Path(folder, f"{key}.{name}.svg").read_bytes()) for name in SCHEMES} for key in figures
        }, ""  # fmt: skip


def in_scheme(figure: go.Figure, scheme: str) -> go.Figure:
    """The figure on the page's own background, light or dark."""
    template, ink = SCHEMES[scheme]
    drawn = with_escaped_text(figure).update_layout(template=template, width=WIDTH)
    drawn.update_traces(insidetextfont_color=ink, selector={"type": "bar"})
    if not drawn.layout.images:  # whose places are in shares of the plot
        drawn.update_layout(margin_b=30).update_xaxes(automargin=True).update_yaxes(automargin=True)
    clear = "rgba(0,0,0,0)"
    font = {"family": FONT, "size": TEXT, "color": ink}
    return drawn.update_layout(paper_bgcolor=clear, plot_bgcolor=clear, font=font)


def svg_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def csv_uri(table: pd.DataFrame) -> str:
    """A table as a CSV file that the page holds."""
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(csv_text(table).encode()).decode()}"


def shown(value: object) -> object:
    """A name or a sentence with every character seen (`visible`); what is HTML already stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def visible_lines(text: str) -> Markup:
    """A person's text as HTML with its line breaks, in which every other character is seen."""
    return Markup("\n").join(escape(visible(line.replace("\t", "    "))) for line in text.splitlines())
