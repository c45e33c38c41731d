"""Jupyter: results show themselves, and the notebook of the documentation runs and holds what it shows."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import alpha_layer_table
from analysis.explain.gradcam import Cam
from analysis.explain.video_explanation import CamOptions, VideoExplanation
from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from analysis.report.plots import SupplementFigure
from analysis.runs.correctness import is_misclassified
from analysis.runs.run_directory import find_runs, open_run, predictions
from docs.run_notebook import NOTEBOOKS, executed
from sth_core.notebook_html import MOST_BARS, bars, card, interval_chart, round_ticks, row_of_frames
from tests.tiny import RGB, write_moving_video, write_run

ROOT = Path(__file__).parent.parent
HOSTILE = "<script>alert('x')</script>&\""


def assert_safe(html: str) -> None:
    """It is well-formed, runs nothing, and loads nothing."""
    ElementTree.fromstring(html)
    assert not re.search(r"<script|\son\w+=|(?:src|href)=\"(?!data:image/)", html)


def test_texts_are_escaped_and_what_is_left_out_is_said() -> None:
    html = card(
        HOSTILE, [HOSTILE], bars([HOSTILE] * (MOST_BARS + 3), [0.5] * (MOST_BARS + 3), [HOSTILE] * (MOST_BARS + 3))
    )
    assert_safe(html)
    assert html.count("&lt;script&gt;") == 2 + 2 * MOST_BARS and "and 3 more" in html and "width:50.0%" in html
    frames = np.zeros((20, 30, 40, 3), np.uint8)
    html = card("", [], row_of_frames(frames, [f"frame {i}" for i in range(20)]))
    assert_safe(html)
    assert html.count("<img") == 8 and "frame 0<" in html and "frame 19<" in html and "8 of 20 frames" in html


def test_an_interval_is_drawn_where_it_is_known() -> None:
    chart = interval_chart([HOSTILE, "b", "c"], [0.0, 0.5, np.nan], [0.0, np.nan, np.nan], [1.0, np.nan, np.nan])
    drawn = ElementTree.fromstring(chart)
    svg = "{http://www.w3.org/2000/svg}"
    points = [(float(c.get("cx")), float(c.get("cy"))) for c in drawn.iter(f"{svg}circle")]
    assert points == [(40.0, 142.0), (256.0, 75.0)]  # the lower edge and the middle of 8 to 142
    spans = [(line.get("y1"), line.get("y2")) for line in drawn.iter(f"{svg}line") if line.get("stroke-width") == "2"]
    assert spans == [("142.0", "8.0")]


def test_a_run_shows_its_accuracy_by_class_or_what_is_wrong(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", [[0.4], [0.5], [0.6]], dataset=HOSTILE))
    html = run._repr_html_()
    assert_safe(html)
    assert "top-1 accuracy 66.7% (2 of 3)" in html and html.index("0 of 1") < html.index("2 of 2")
    (tmp_path / "run" / "predictions" / "part-00000.parquet").write_bytes(b"damaged")
    assert "its predictions cannot be read" in open_run(tmp_path / "run")._repr_html_()
    (tmp_path / "run" / "run.json").write_text("{")
    assert "run.json cannot be read" in open_run(tmp_path / "run")._repr_html_()


def test_a_table_of_clips_shows_the_first_ones_with_their_pictures(tmp_path: Path) -> None:
    video = write_moving_video(tmp_path / "x.mp4")
    run = open_run(write_run(tmp_path / "run", [[0.5]] * 20))
    table = predictions(run)
    html = table._repr_html_()
    assert_safe(html)
    assert "20 clips" in html and "10 of 20 correct" in html and "the first 8 are shown" in html
    assert "without pictures" in html and "<img" not in html
    table = table.assign(path=str(video), frame_indices=[np.array([0, 9, 9])] * 20, label=HOSTILE)
    wrong = table[is_misclassified(table)].head(2).assign(confidence=[np.nan, 0.25])
    html = wrong._repr_html_()
    assert_safe(html)
    assert html.count("<img") == 2 and html.count("<td>✗</td>") == 2 and "25.0%" in html and "<td>-</td>" in html
    assert "2 clips" in html and "are shown" not in html
    unknown = table.head(1).assign(correct=pd.array([None], "boolean"))
    assert "no label is known" in unknown._repr_html_() and "1 clip<" in unknown._repr_html_()
    assert "0 clips" in table[:0]._repr_html_()
    assert "<td>c0</td>" in table[["clip_id", "label"]]._repr_html_()  # as pandas shows it


def test_a_figure_shows_its_lines_and_intervals_or_its_numbers(tmp_path: Path) -> None:
    for name, p, alpha in (("a", 1 / 2, 0.4), ("b", 1 / 4, 0.6)):
        run = [[alpha - 0.1, alpha], [alpha, alpha + 0.1]]
        write_run(tmp_path / "runs" / name, run, temporal_fraction=p, dataset=HOSTILE)
    runs = find_runs(tmp_path / "runs")
    five, six, seven = (figure._repr_html_() for figure in supplement_figures(attention_by_layer(runs)))
    for html in (five, six, seven):
        assert_safe(html)
        assert HOSTILE not in html and "&lt;script&gt;" in html
    assert six.count("<polyline") == 2 and six.count("<circle") == 2 * 2 + 2  # two lines of two layers, and the legend
    assert 'stroke-dasharray="7 4"' in six and "layer0.0.conv1, layer1.0.conv1" in six
    assert five.count('fill="none" stroke="#') == 2 + 2 + 1 and "<polyline" not in seven  # α_S is open; bars are points
    numbers = SupplementFigure("x", "title", "said", go.Figure(go.Heatmap(z=[[1]])), pd.DataFrame({"a": [HOSTILE]}))
    assert "<td>&lt;script" in numbers._repr_html_() and "title" in numbers._repr_html_()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.45, 0.54, [0.46, 0.48, 0.5, 0.52, 0.54]),
        (-2, 13, [0, 5, 10]),
        (12, 97, [20, 40, 60, 80]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == ticks


def test_the_table_of_layers_shows_its_line_and_a_part_of_it_is_a_plain_table(tmp_path: Path) -> None:
    table = alpha_layer_table(read_alpha(open_run(write_run(tmp_path / "run", [[0.2, 0.6], [0.4, 0.8]]))))
    html = table._repr_html_()
    assert html.count("<circle") == 2 and "α_T by layer" in html and "layer1.0.conv1: 0.700" in html
    assert type(table[:1]) is pd.DataFrame


def test_an_explanation_shows_its_frames_or_without_the_video_its_maps(tmp_path: Path) -> None:
    video, maps = write_moving_video(tmp_path / "x.mp4"), np.zeros((3, 4, 4))
    maps[1] = 1
    seen, mass, top = np.array([0, 9, 9]), np.array([0, 0.6, 0.4]), [(HOSTILE, 0.75), ("b", 0.25)]
    shown = VideoExplanation(CamOptions("layer1", HOSTILE), seen, maps, mass, top, {}, (video, RGB))
    html = shown._repr_html_()
    assert_safe(html)
    assert html.count("<img") == 2 and "frame 9: 100%" in html and "75.0%" in html and "x.mp4" in html
    video.unlink()
    html = shown._repr_html_()
    assert "the maps alone, as the video cannot be read" in html
    assert_safe(html)
    html = Cam(maps - 1, "layer1", 3, "per_step", against=2)._repr_html_()
    assert_safe(html)
    assert "Evidence for class 3 against class 2" in html and "no evidence: every map is zero" in html


def shown_by(notebook: Any) -> list[list[tuple[str, ...]]]:
    """The kinds of what each cell shows; numbers differ between machines."""
    shown = [cell.get("outputs", []) for cell in notebook.cells]
    return [[tuple(sorted(output.get("data", {output.output_type: ""}))) for output in outputs] for outputs in shown]


@pytest.mark.long
@pytest.mark.parametrize("name", ["your_own_network", "the_demo", "figures_5_to_8"])
def test_a_notebook_runs_and_what_it_holds_is_what_it_shows(
    name: str, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = NOTEBOOKS / f"{name}.ipynb"
    stored, now = nbformat.read(path, 4), executed(path, demo.parent)
    assert shown_by(stored) == shown_by(now)
    assert "/tmp/" not in nbformat.writes(stored) and demo.is_dir()
    html, pictures, charts = {"your_own_network": (4, 2, 1), "the_demo": (5, 2, 1), "figures_5_to_8": (7, 0, 4)}[name]
    texts = [o["data"]["text/html"] for cell in stored.cells for o in cell.get("outputs", []) if "data" in o]
    assert len(texts) == html and sum("data:image/jpeg" in text for text in texts) == pictures
    assert sum("<polyline" in text or "<circle" in text for text in texts) == charts
    for text in texts:
        assert not re.search(r"<script|\son\w+=", text)


def test_the_stored_walk_over_the_demo_has_the_demos_numbers() -> None:
    stored = nbformat.read(ROOT / "docs" / "notebooks" / "the_demo.ipynb", 4)
    [results, *_] = [o["data"]["text/html"] for cell in stored.cells for o in cell.get("outputs", []) if "data" in o]
    printed = re.findall(r"│ (\S+) +│.*│ (0\.\d+|1\.000) +│ 0\.\d+", (ROOT / "docs/outputs/demo.md").read_text("utf-8"))
    assert len(printed) == 8
    for name, accuracy in printed:
        row = results[results.index(f"<td>{name}</td>") :].split("</tr>")[0]
        assert f"<td>{100 * float(accuracy):.1f}</td>" in row, (
            f"{name}: run `python docs/run_notebook.py` over the demo"
        )
