"""The HTML pages of the reports: one template (page.html, with page_parts.html) and what it can show.

A page is one file: pictures, plots and Plotly itself are in it. It follows the reader's light or dark scheme.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from plotly.offline import get_plotlyjs

from analysis.report.plots import jpeg_uri, on_paper
from sth_core.files import write_atomically, write_csv
from sth_core.outputs import writing_into

LOADER = FileSystemLoader(Path(__file__).parent)
TEMPLATES = Environment(loader=LOADER, autoescape=True, trim_blocks=True, lstrip_blocks=True)
TEMPLATES.globals["jpeg_uri"] = jpeg_uri


@dataclass(frozen=True)
class TableCell:
    """A table's cell; `tone` is a class of the style sheet: number, paper, passes, warns, fails or undecided."""

    text: str
    tone: str = ""
    detail: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table on a page: `frame`, whose values may be `TableCell`s. Numbers are aligned right; `tones` gives other
    columns a tone, "number" to those of numbers that are text already."""

    frame: pd.DataFrame
    tones: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Each column's heading and tone."""
        tones = {name: "number" for name in self.frame if is_numeric_dtype(self.frame[name])} | dict(self.tones)
        return [(str(name).replace("_", " "), tones.get(name, "")) for name in self.frame]

    def first(self, rows: int) -> "PageTable":
        """The same with its first rows alone."""
        return replace(self, frame=self.frame.head(rows))

    @property
    def rows(self) -> Iterator[list[TableCell]]:
        tones = [tone for _, tone in self.columns]
        for row in self.frame.itertuples(index=False, name=None):
            yield [v if isinstance(v, TableCell) else TableCell(as_text(v), t) for v, t in zip(row, tones, strict=True)]


def with_intervals(table: pd.DataFrame, prefixes: Mapping[str, str]) -> PageTable:
    """The table with intervals in the cells of their values; `prefixes` are those of each value's low and high."""
    table = table.copy()
    for name, prefix in prefixes.items():
        rows = zip(table[name], table.pop(f"{prefix}low"), table.pop(f"{prefix}high"), strict=True)
        table[name] = [
            as_text(v) + (f" ({as_text(low)} to {as_text(high)})" if low == low else "") for v, low, high in rows
        ]
    return PageTable(table, dict.fromkeys(prefixes, "number"))


def as_text(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)


@dataclass(frozen=True)
class Finding:
    """A sentence with its sign (`tone`: passes, warns, fails or undecided), its verdict in words, and the table behind
    it, folded under `summary`."""

    text: str
    tone: str
    verdict: str = ""
    summary: str = ""
    table: PageTable | None = None


@dataclass(frozen=True)
class Picture:
    """An RGB image (H, W, 3) with its name. A wide one has a row for itself; a `pair` of frames has two places."""

    name: str
    image: NDArray[np.uint8]
    pair: bool = False

    @property
    def layout(self) -> str:
        """Its class in the style sheet."""
        height, width = self.image.shape[:2]
        return "pair" if self.pair else "wide" if width > 3 * height else ""


@dataclass(frozen=True)
class Section:
    """A part of a page. What it has is shown in this order; `name` is the plot's id. `data`, its numbers, are written
    beside the page as NAME.csv; `files` are others that lie there."""

    title: str = ""
    lead: str = ""
    findings: Sequence[Finding] = ()
    pictures: Sequence[Picture] = ()
    figure: go.Figure | None = None
    caption: str = ""
    table: PageTable | None = None
    data: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Sequence[str] = ()
    name: str | None = None

    @property
    def links(self) -> list[str]:
        return [*(f"{name}.csv" for name in self.data), *self.files]

    @property
    def plot(self) -> Markup:
        html = on_paper(self.figure).to_html(full_html=False, include_plotlyjs=False, div_id=self.name)
        return Markup(html)  # Plotly's own HTML, in which `on_paper` has escaped the names


def write_page(
    path: Path, heading: str, sections: Sequence[Section], *, title: str = "", about: str = "", command: str = ""
) -> Path:
    """Write a page and the CSV files of its sections; returns its path.

    `title` is that of the browser's tab, `command` made the numbers.
    """
    plotly = Markup(get_plotlyjs()) if any(section.figure for section in sections) else ""
    facts = {"heading": heading, "title": title or heading, "about": about, "command": command}
    with writing_into(path.parent):
        for section in sections:
            for name, table in section.data.items():
                write_csv(path.with_name(f"{name}.csv"), table)
        with write_atomically(path) as file:
            file.write(TEMPLATES.get_template("page.html").render(**facts, sections=sections, plotly=plotly))
    return path
