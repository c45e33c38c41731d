"""Names of runs, classes and clips are text wherever they are shown: no Markdown, no HTML, no icons, no links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis.report.page import Section, write_page
from analysis.report.plots import with_escaped_text
from analysis.runs.notes import add_tag, save_note
from analysis.runs.run_directory import open_run
from sth_core.errors import visible
from tests.test_app import PAGES, PREDICTIONS, open_page
from tests.tiny import write_run
from workbench.components.context import REPLACED, WORD_JOINER, escape_markdown

MARKUP = [
    ":material/movie:", ":streamlit:", "a -> b", "a -- b", "<- x", "x >= y", "$x^2$", ":red[x]", "<b>b</b>",
    "[l](http://a.b)", "www.evil.com", "https://evil.com", "me@evil.com", "# h", "    code", "- item", "|a|b|", "`c`",
    "&lt;", "*x*", "a\\b", "x\n===", "a\n\nb", "\u202eabc", "\0", "~~s~~", "[^1]", "1. x",
]  # fmt: skip
EVIL = ":red[*x*] <b>$y$</b> :material/movie: www.a.b"


@pytest.mark.parametrize("text", MARKUP, ids=ascii)
def test_streamlit_shows_a_name_as_it_is(text: str) -> None:
    """Every mark of Markdown is escaped, and nothing is left that Streamlit replaces afterwards."""
    escaped = escape_markdown(text)
    assert not set("`*_[]()#+-.!|<>$~&:\\") & set(re.sub(r"\\[^\w\s]", "", escaped))
    read = re.sub(r"\\([^\w\s])", r"\1", escaped)  # as a reader of Markdown takes escapes
    assert not REPLACED.search(read)
    assert read.replace(WORD_JOINER, "").replace("\u00a0", " ") == visible(text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs whose names, classes, clips and notes are markup."""
    runs = tmp_path_factory.mktemp("hostile") / "runs"
    for i in range(3):
        run = write_run(
            runs / f"{i} {EVIL}".replace("/", "∕"), [[0.5, 0.6], [0.4, 0.4], [0.5, 0.7], [0.1, 0.2]],
            classes=[EVIL, f"{EVIL} b"], dataset=EVIL, temporal_fraction=1 / (2 + 2 * i),
        )  # fmt: skip
        for part in run.glob("*/*.parquet"):
            table = pd.read_parquet(part)
            more: dict[str, Any] = {}
            if "label" in table:
                names = {"a": EVIL, "b": f"{EVIL} b"}
                more = {"label": table["label"].map(names), "prediction": EVIL, "scores": [[0.6, 0.4]] * len(table)}
                more["path"] = f"/nowhere/{EVIL}.mp4"
            table.assign(clip_id=[f"{i} {EVIL}" for i in table["clip_id"]], **more).to_parquet(part)
        opened = open_run(run)
        add_tag(opened, f"c0 {EVIL}", EVIL)
        save_note(opened, f"c0 {EVIL}", EVIL, 0)
    return runs


def markdown_of(node: Any) -> Iterator[str]:
    """Every text of an app that Streamlit reads as Markdown."""
    for child in getattr(node, "children", {}).values():
        proto = child.proto
        for name in ("body", "label", "help"):
            value = getattr(proto, name, "")
            if isinstance(value, str) and child.type != "html":
                yield value
        yield from markdown_of(child)


VIEWS: list[tuple[str, dict[str, str]]] = [(page, {}) for page in (*PAGES, "workbench/pages/notes.py")] + [
    ("workbench/pages/attention.py", {"show": "Unusual clips"}),
    (PREDICTIONS, {"view": "Confusion", "label": EVIL, "said": EVIL}),
]  # fmt: skip


@pytest.mark.parametrize(("page", "query"), VIEWS, ids=str)
def test_no_page_reads_a_name_as_markup(page: str, query: dict[str, str], hostile: Path, monkeypatch) -> None:
    app = open_page(hostile, monkeypatch, page, **query)
    texts = list(markdown_of(app._tree))
    assert texts and not [text for text in texts if (":red[" in text and "*x*" in text) or "<b>$" in text]


def test_figures_and_pages_show_a_name_as_it_is(tmp_path: Path) -> None:
    figure = (
        go.Figure().add_scatter(x=[EVIL], y=[1], name=EVIL, text=[EVIL]).update_yaxes(ticktext=[EVIL], tickvals=[1])
    )
    shown = with_escaped_text(figure)
    for text in (shown.data[0].x[0], shown.data[0].name, shown.data[0].text[0], shown.layout.yaxis.ticktext[0]):
        assert not {"<", "$"} & set(text)
    section = Section(EVIL, lead=EVIL, caption=EVIL, figure=figure)
    page = write_page(tmp_path / "index.html", EVIL, [section], title=EVIL, about=EVIL, command=EVIL)
    assert "<b>$" not in page.read_text(encoding="utf-8")


def test_names_that_are_numbers_or_dates_stand_beside_an_axis_as_names() -> None:
    figure = (
        go.Figure()
        .add_scatter(x=["10", "2"], y=[1, 2])
        .add_bar(x=[1, 2], y=["2020-01-01", "7"], xaxis="x2", yaxis="y2")
    )
    types = {
        name: axis.get("type") for name, axis in with_escaped_text(figure).to_dict()["layout"].items() if "axis" in name
    }
    assert types == {"xaxis": "category", "yaxis2": "category"}
