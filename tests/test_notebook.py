"""Jupyter: results show themselves, and the notebook of the documentation runs and holds what it shows."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import alpha_layer_table
from analysis.explain.gradcam import Cam
from analysis.explain.video_explanation import CamOptions, VideoExplanation
from analysis.runs.run_directory import open_run
from sth_core.notebook_html import MOST_BARS, bars, card, interval_chart, row_of_frames
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


@pytest.fixture(scope="module")
def run_notebook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "docs" / "run_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_runs_and_what_it_holds_is_what_it_shows(
    run_notebook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are the same; numbers of a random network differ between machines."""
    import nbformat

    def kinds(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
        shown = [cell.get("outputs", []) for cell in notebook.cells]
        return [[sorted(output.get("data", {output.output_type: ""})) for output in outputs] for outputs in shown]

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored, now = nbformat.read(run_notebook.NOTEBOOK, 4), run_notebook.executed()
    assert kinds(stored) == kinds(now)
    html = [o["data"]["text/html"] for cell in stored.cells for o in cell.get("outputs", []) if "data" in o]
    assert len(html) == 4 and sum("data:image/jpeg" in text for text in html) == 2
    assert "<svg" in html[-1] and "/tmp/" not in nbformat.writes(stored)
