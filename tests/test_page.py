"""The template of the HTML reports: what a page shows, and that no name on it is taken for HTML."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.report.page import Finding, PageTable, Picture, Section, TableCell, with_intervals, write_page

EVIL = "<script>alert(1)</script>"


def test_numbers_are_aligned_right(tmp_path: Path) -> None:
    frame = pd.DataFrame({"class_name": ["a", "b"], "share": [1 / 3, np.nan], "n": [12345, 2], "range": ["1 to 2", ""]})
    table = PageTable(frame, tones={"range": "number"})
    page = write_page(tmp_path / "page.html", "Page", [Section(table=table)]).read_text(encoding="utf-8")
    assert (
        '<th>class name</th><th class="number">share</th><th class="number">n</th><th class="number">range</th>' in page
    )
    assert '<td>a</td><td class="number">0.333</td><td class="number">12345</td><td class="number">1 to 2</td>' in page
    assert '<td>b</td><td class="number"></td>' in page  # not a number


def test_intervals_stand_in_the_cells_of_their_values() -> None:
    frame = pd.DataFrame({"n": [3, 1], "drop": [0.5, 0.25], "low": [0.25, np.nan], "high": [0.75, np.nan]})
    table = with_intervals(frame, {"drop": ""})
    assert table.columns == [("n", "number"), ("drop", "number")]
    assert [[cell.text for cell in row] for row in table.rows] == [["3", "0.5 (0.25 to 0.75)"], ["1", "0.25"]]


def test_no_name_is_html_and_plotly_is_in_a_page_only_for_a_plot(tmp_path: Path) -> None:
    table = PageTable(pd.DataFrame({EVIL: [EVIL], "verdict": [TableCell(EVIL, "passes", EVIL)]}))
    section = Section(
        EVIL, EVIL, [Finding(EVIL, "fails", EVIL, EVIL, table)], [Picture(EVIL, np.zeros((2, 8, 3), np.uint8))],
        caption=EVIL, table=table, files=[EVIL],
    )  # fmt: skip
    page = write_page(tmp_path / "page.html", EVIL, [section], about=EVIL, command=EVIL).read_text(encoding="utf-8")
    assert page.count("&lt;script&gt;alert(1)") > 10 and "<script" not in page
    assert '<td class="passes">' in page and '<li class="fails">' in page and '<figure class="wide">' in page
    plots = [Section(name=name, figure=go.Figure(go.Bar(x=[EVIL], y=[1]))) for name in ("one", "two")]
    page = write_page(tmp_path / "page.html", "Plots", plots).read_text(encoding="utf-8")
    assert page.count("plotly.js v") == 1 and 'id="one"' in page and 'id="two"' in page and EVIL not in page
