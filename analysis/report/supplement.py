"""The supplement as files: each figure as HTML, PDF, SVG and PNG, its numbers as CSV, its provenance as JSON, and one
page with all of them.

The CSV and JSON files of two calls are the same bytes. PDF, SVG and PNG need a Chromium; they have a size of
`figure_sizes.py`, and neither title nor caption.
"""

import html
import platform
import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from analysis.attention.alpha_matrix import has_attention, has_signal, read_once
from analysis.attention.hypotheses import HOW_JUDGED, Tested, evaluate_hypotheses, hypothesis_verdicts
from analysis.report.figure_layout import at_size
from analysis.report.figure_sizes import DEFAULT_SIZE, SIZES
from analysis.report.figures_5_to_8 import attention_by_layer, named_in, runs_not_drawn, supplement_figures
from analysis.report.figures_9_and_10 import ACCURATE, class_figures
from analysis.report.image_export import PICTURES, write_pictures
from analysis.report.page import Finding, PageTable, Section, TableCell, write_page
from analysis.report.plots import SupplementFigure, on_paper
from analysis.report.time_share_figure import time_share_item
from analysis.runs.left_out import why_no_attention, why_unreadable
from analysis.runs.run_directory import Run
from analysis.statistics.clusters import describe_interval, describe_p
from sth_core.datasets.media import counted
from sth_core.files import write_atomically, write_json
from sth_core.outputs import writing_into

MAY_LACK = {  # the figures that not all runs have, and when
    "figure8_modalities": "Figure 8: no dataset has runs of RGB and of flow with the p of Figure 5",
    "figure9_appearance_classes": f"Figures 9 and 10: no run predicts two of its classes well (at least {ACCURATE:.0%} "
    "of two clips or more) with the input and p of Figure 5",
}
PLOTLY = "plotly.min.js"  # as Plotly's pages name it
TONES = {"holds": "passes", "does not hold": "fails"}


@dataclass(frozen=True)
class WrittenSupplement:
    """What `write_figures` wrote: the page with everything, each figure's own page, the verdicts on the paper's
    hypotheses (`hypothesis_verdicts`), why PDF, SVG and PNG are missing (empty if they are not), and a sentence for
    each run and figure that is left out or not whole."""

    page: Path
    figures: list[Path]
    hypotheses: pd.DataFrame
    without_pictures: str
    left_out: list[str]


def write_figures(
    runs: list[Run],
    out: Path,
    pictures: bool = True,
    command: str = "sth figures RUNS -o DIR",
    size: str = DEFAULT_SIZE,
) -> WrittenSupplement | None:
    """Write Figures 5 to 10, the attention across time of transformers, and the tests of the paper's hypotheses to
    `out`; None if no run has attention.

    Without `pictures` only what needs no browser is written; they have the size of this name (`SIZES`). `command` is
    kept beside the figures.
    """
    left_out = runs_without_figures(runs)
    runs = [run for run in runs if str(run.path) not in left_out]
    read = read_once()
    items = [*supplement_figures(attention_by_layer(runs, read)), *class_figures(runs, read)]
    items += [item] if (item := time_share_item(runs)) else []
    if not items:
        return None
    tested = evaluate_hypotheses([run for run in runs if has_attention(run)], read)
    with writing_into(out):
        return write_supplement(items, tested, runs, left_out, out, pictures, command, size)


def write_supplement(
    items: list[SupplementFigure], tested: Tested, runs: list[Run], left_out: dict[str, str], out: Path,
    pictures: bool, command: str, size: str,
) -> WrittenSupplement:  # fmt: skip
    """Write the figures `items` and the hypotheses `tested` of `runs`, and one page with all."""
    with write_atomically(out / PLOTLY) as script:  # which the figures' pages share
        script.write(get_plotlyjs())
    figures = {item.name: with_caption(item) for item in items}
    for item in items:
        with write_atomically(out / f"{item.name}.html") as own_page:
            own_page.write(figures[item.name].to_html(include_plotlyjs="directory", div_id=item.name))
        write_json(out / f"{item.name}.json", figure_provenance(item, runs) | {"command": command})
    drawn = {item.name: at_size(item, SIZES[size]) for item in items}
    missing = write_pictures(drawn, out) if pictures else ""
    kinds = ["json", *(PICTURES if pictures and not missing else ())]
    sections = [hypotheses_section(tested)] + [
        Section(
            item.title, figure=item.figure, name=item.name, caption=item.caption, data={item.name: item.data},
            files=[f"{item.name}.{kind}" for kind in kinds],
        ) for item in items
    ]  # fmt: skip
    said = [f"left out: {path}: {reason}" for path, reason in left_out.items()]
    said += [f"left out: {name}: {reason}" for name, reason in runs_not_drawn(runs).items()]
    said += [f"{run.path}: {run.problem}; the figures show those" for run in runs if run.problem]
    said += [f"left out: {sentence}" for sentence in figures_left_out(items)]
    heading, about = "Attention: the paper's findings in these runs", ". ".join(said)
    page = write_page(out / "index.html", heading, sections, title="Attention", about=about)
    pages = [out / f"{name}.html" for name in figures]
    return WrittenSupplement(page, pages, hypothesis_verdicts(tested), missing, said)


def figures_left_out(items: list[SupplementFigure]) -> list[str]:
    """Why figures are not among these."""
    return [sentence for name, sentence in MAY_LACK.items() if name not in {item.name for item in items}]


def runs_without_figures(runs: list[Run]) -> dict[str, str]:
    """{path: why} of the runs that no figure can show; an unfinished run is shown as far as it goes."""
    reasons = {str(run.path): why_unreadable(run) or ("" if has_signal(run) else why_no_attention(run)) for run in runs}
    return {path: reason for path, reason in reasons.items() if reason}


def figure_provenance(item: SupplementFigure, runs: list[Run]) -> dict[str, object]:
    """From what a figure was drawn, and how to draw it again."""
    all_names = [run.name for run in runs]
    names = {name for text in set(item.data["run"]) for name in named_in(text, all_names)}
    used = [run for run in runs if run.name in names]
    facts = ("dataset", "split", "protocol", "seed", "checkpoint_sha256")
    return {
        "figure": item.name,
        "caption": item.caption,
        "filters": {key: sorted({getattr(run, key) for run in used}) for key in ("p", "modality")},
        "runs": [{key: run.meta.get(key) for key in facts} | {"run": run.name} for run in used],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("sth-workbench", "plotly", "pandas")},
    }


def with_caption(item: SupplementFigure) -> go.Figure:
    """The figure with its title and caption above it, for a file of its own."""
    lines = textwrap.wrap(item.caption, 130, break_on_hyphens=False)
    legend = sum(45 + 7 * len(trace.name or "") for trace in item.figure.data if trace.showlegend is not False) // 900
    above = 90 + 18 * len(lines) + 20 * legend  # pixels; the legend has one row more
    figure = on_paper(item.figure)
    height = figure.layout.height - figure.layout.margin.t + above
    text = f"{html.escape(item.title)}<br><sub>{'<br>'.join(map(html.escape, lines))}</sub>"
    title = {"text": text, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 24}}
    return figure.update_layout(title=title, margin_t=above, height=height)


def hypotheses_section(tested: Tested) -> Section:
    """The paper's hypotheses with their verdicts, every comparison behind them, and those that were not made."""
    findings = []
    for h in hypothesis_verdicts(tested).itertuples():
        left_out = tested.left_out[h.hypothesis]
        counts = f"{h.holds} of {h.comparisons} hold; against: {h.does_not_hold}, undecided: {h.undecided}"
        counts += f", these networks only: {h.these_only}" * bool(h.these_only)
        summary = counts if h.comparisons else "no runs to compare"
        summary += f"; not compared: {len(left_out)}" * bool(left_out)
        table = comparison_table(tested.of(h.hypothesis), left_out) if h.comparisons or left_out else None
        findings.append(Finding(h.hypothesis, TONES.get(h.verdict, "undecided"), h.verdict, summary, table))
    title, data = "The hypotheses of Section 6.1", {"hypotheses": tested.comparisons}
    return Section(title, findings=findings, caption=HOW_JUDGED, data=data)


def comparison_table(comparisons: pd.DataFrame, left_out: dict[str, str]) -> PageTable:
    effect, p, clips, needed = "effect on α_T (95 %)", "p (Holm)", "clips", "seeds needed"
    rows: list[dict[str, object]] = [
        {
            "compared": c.compared,
            effect: f"{c.effect:+.4f} ({describe_interval(c.low, c.high, '+.4f')})",
            p: describe_p(c.p_holm),
            clips: f"{c.n}, {counted(c.seeds, 'seed')}{'' if c.paired else ', not the same'}",
            needed: "-" if pd.isna(c.seeds_needed) else f"{c.seeds_needed:.0f}",
            "verdict": TableCell(c.verdict, TONES.get(c.verdict, "undecided")),
        }
        for c in comparisons.itertuples()
    ]
    none = {effect: "", p: "", clips: "", needed: ""}
    rows += [
        {"compared": name} | none | {"verdict": TableCell(f"not compared: {why}", "undecided")}
        for name, why in left_out.items()
    ]
    return PageTable(pd.DataFrame(rows), dict.fromkeys((effect, p, clips, needed), "number"))
