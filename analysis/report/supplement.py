"""The supplement as files: each figure as HTML, PDF, SVG and PNG, its numbers as CSV, its recipe as JSON, and one
page with all of them.

The CSV and JSON files of two calls are the same bytes. PDF, SVG and PNG need a Chromium.
"""

import html
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.hypotheses import evaluate_hypotheses, hypothesis_verdicts
from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.image_export import PICTURES, write_pictures
from analysis.report.plots import SupplementFigure, on_paper
from analysis.runs.run_directory import Run
from sth_core.files import temporary_beside, write_atomically, write_json

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Attention</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.2rem; margin: 2.5rem 0 .3rem }}
p.caption {{ color: #444; margin: .2rem 0 }} p.files {{ font-size: 13px }} a {{ color: #0060a0 }}
table {{ border-collapse: collapse; font-size: 13px; width: 100% }} summary {{ cursor: pointer; margin: .6rem 0 }}
td, th {{ text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid #ddd; vertical-align: top }}
.holds {{ color: #00714d; font-weight: 600 }} .fails {{ color: #b3400d; font-weight: 600 }}
.open {{ color: #666; font-weight: 600 }}
</style><script>{script}</script><h1>Attention: what the paper says, and what these runs say</h1>{body}</html>"""
HOW_TO_READ = (
    "A comparison holds if its effect has the sign that the paper says and its p-value, corrected for all comparisons "
    "of the statement, is below 0.05. With one training of a network the intervals are over clips: whether another "
    "training would say the same, they do not tell."
)
CLASS = {"holds": "holds", "does not hold": "fails"}


@dataclass(frozen=True)
class Written:
    """The page with everything, each figure's own page, the verdicts on the paper's statements (`overall`), and why
    there are no pictures, if there are none."""

    page: Path
    figures: list[Path]
    statements: pd.DataFrame
    without_pictures: str


def write_figures(runs: list[Run], out: Path, pictures: bool = True) -> Written | None:
    """Write Figures 5 to 10 and the paper's statements to `out`; None if no run has attention.

    Without `pictures` only what needs no browser is written.
    """
    items = [*supplement_figures(attention_by_layer(runs)), *class_figures(runs)]
    if not items:
        return None
    statements = evaluate_hypotheses([run for run in runs if has_attention(run)])
    out.mkdir(parents=True, exist_ok=True)
    drawn = {item.name: titled(item) for item in items}
    for item in items:
        with temporary_beside(out / f"{item.name}.html") as temporary:
            drawn[item.name].write_html(temporary, include_plotlyjs="directory", div_id=item.name)
        write_csv(out / f"{item.name}.csv", item.data)
        write_json(out / f"{item.name}.json", recipe(item.name, item.caption, item.data, runs))
    write_csv(out / "hypotheses.csv", statements)
    missing = write_pictures(drawn, out) if pictures else ""
    with write_atomically(out / "index.html") as file:
        file.write(page(items, statements, ("csv", "json", *(PICTURES if pictures and not missing else ()))))
    pages = [out / f"{item.name}.html" for item in items]
    return Written(out / "index.html", pages, hypothesis_verdicts(statements), missing)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with write_atomically(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")


def recipe(name: str, caption: str, data: pd.DataFrame, runs: list[Run]) -> dict[str, object]:
    """From what a figure was drawn, and how to draw it again."""
    names = {part for cell in data["run"] for part in cell.split(", ")}
    used = [run for run in runs if run.name in names and has_attention(run)]
    return {
        "figure": name,
        "caption": caption,
        "command": "sth figures RUNS -o DIR",
        "filters": {key: sorted({getattr(run, key) for run in used}) for key in ("p", "modality")},
        "runs": [
            {key: run.meta.get(key) for key in ("dataset", "split", "protocol", "seed", "checkpoint_sha256")}
            | {"run": run.name}
            for run in used
        ],
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("sth-workbench", "plotly", "pandas")},
    }


def titled(item: SupplementFigure) -> go.Figure:
    """The figure with its title and caption in it, for a file of its own."""
    lines = wrapped(item.caption, 130)
    text = f"{html.escape(item.title)}<br><sub>{'<br>'.join(map(html.escape, lines))}</sub>"
    above = 90 + 18 * len(lines) + 20 * (legend_rows(item.figure) - 1)
    height = (item.figure.layout.height or 440) + above - (item.figure.layout.margin.t or 40)
    title = {"text": text, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 24}}
    return on_paper(item.figure).update_layout(title=title, margin_t=above, height=height)


def legend_rows(figure: go.Figure) -> int:
    """How many rows a legend above the figure takes, about."""
    names = [trace.name or "" for trace in figure.data if trace.showlegend is not False]
    return -(-sum(45 + 7 * len(name) for name in names) // 900)


def wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def page(items: list[SupplementFigure], statements: pd.DataFrame, kinds: tuple[str, ...]) -> str:
    """Everything in one file that needs no other; it names those beside it of these kinds."""
    parts = [statement_table(statements)]
    for item in items:
        links = " · ".join(f'<a href="{item.name}.{kind}">{kind.upper()}</a>' for kind in kinds)
        drawn = on_paper(item.figure).to_html(full_html=False, include_plotlyjs=False, div_id=item.name)
        title, caption = html.escape(item.title), html.escape(item.caption)
        parts.append(f"<h2>{title}</h2>{drawn}<p class=caption>{caption}</p><p class=files>{links}</p>")
    return PAGE.format(script=get_plotlyjs(), body="".join(parts))


def statement_table(statements: pd.DataFrame) -> str:
    """The paper's statements with their verdicts, and every comparison behind them."""
    rows = []
    for s in hypothesis_verdicts(statements).itertuples():
        mine = statements[statements["hypothesis"] == s.hypothesis]
        inner = "".join(
            f"<tr><td>{html.escape(c.compared)}</td><td>{c.effect:+.4f} ({c.low:+.4f} to {c.high:+.4f})</td>"
            f"<td>{c.p_holm:.2g}</td><td>{c.n}{f', {c.seeds} seeds' if c.seeds > 1 else ''}"
            f"{'' if c.paired else ', other clips'}</td>"
            f"<td class={CLASS.get(c.verdict, 'open')}>{c.verdict}</td></tr>"
            for c in mine.itertuples()
        )
        table = f"<table><tr><th>compared<th>effect on α_T (95 %)<th>p (Holm)<th>n clips<th></tr>{inner}</table>"
        counts = f"{s.holds} of {s.comparisons} hold, {s.does_not_hold} do not, {s.undecided} undecided"
        more = f"<details><summary>{counts}</summary>{table}</details>" if s.comparisons else "no runs to compare"
        rows.append(
            f"<tr><td>{html.escape(s.hypothesis)}</td><td class={CLASS.get(s.verdict, 'open')}>{s.verdict}</td></tr>"
            f"<tr><td colspan=2>{more}</td></tr>"
        )
    return f"<h2>The statements of Section 6.1</h2><table>{''.join(rows)}</table><p class=caption>{HOW_TO_READ}</p>"
