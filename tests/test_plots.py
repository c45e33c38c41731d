"""Plots of any columns of the clips, filters by them, and the clips that a part of a plot opens."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.run_directory import Run, open_run
from tests.test_app import ATTENTION, PREDICTIONS, open_page, words
from tests.tiny import write_run
from workbench.components import clip_links, plot_regions
from workbench.components.plot_regions import in_polygon, region_rows

# Four points at the corners of a square, one in its middle, and one outside.
X, Y = np.array([0, 0, 1, 1, 0.5, 3.0]), np.array([0, 1, 0, 1, 0.5, 0.5])
ROWS = np.arange(6) * 10


def test_points_in_a_polygon() -> None:
    around_the_middle = np.array([0.4, 0.6, 0.6, 0.4]), np.array([0.4, 0.4, 0.6, 0.6])
    assert np.flatnonzero(in_polygon(X, Y, *around_the_middle)).tolist() == [4]
    like_a_u = np.array([-1, 2, 2, 0.7, 0.7, 0.3, 0.3, -1]), np.array([-1, -1, 2, 2, 0.2, 0.2, 2, 2])
    assert np.flatnonzero(in_polygon(X, Y, *like_a_u)).tolist() == [0, 1, 2, 3]


def selection(**parts: list[Any]) -> dict[str, Any]:
    return {"selection": {"points": [], "box": [], "lasso": []} | parts}


@pytest.mark.parametrize(
    ("event", "rows"),
    [
        (None, []),
        (selection(), []),
        (selection(points=[{"customdata": [50, "c"]}, {"x": 1}]), [50]),
        (selection(box=[{"x": [0.6, -0.1], "y": [-0.5, 2]}]), [0, 10, 40]),
        (selection(lasso=[{"x": [2, 4, 4, 2], "y": [0, 0, 1, 1]}], box=[{"x": [1, 1], "y": [0, 0]}]), [20, 50]),
    ],
)
def test_the_rows_of_a_region(event, rows, monkeypatch) -> None:
    monkeypatch.setattr(plot_regions, "MOST_POINTS", 5)
    assert region_rows(event, ROWS, X, Y).tolist() == rows


def test_where_all_points_are_drawn_a_region_has_those_that_are_seen() -> None:
    event = selection(points=[{"customdata": [10, "b"]}], box=[{"x": [-1, 4], "y": [-1, 2]}])  # others are hidden
    assert region_rows(event, ROWS, X, Y).tolist() == [10]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """20 clips with two layers: α_T of the first rises by 1/100, that of the second is the same for all."""
    run = write_run(tmp_path / "runs" / "a", [[0.5 + i / 100, 0.4] for i in range(20)])
    (file,) = (run / "predictions").iterdir()
    pd.read_parquet(file).assign(confidence=np.linspace(0.5, 0.9, 20)).to_parquet(file)
    return run.parent


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "20 clips. **Click a bar"),
        ({"x": "label"}, "20 clips. **Click a bar"),
        ({"x": "confidence", "y": "alpha_temporal"}, "Pearson's r = +1.00"),
        ({"x": "answer", "y": "confidence"}, "Boxes: median and quartiles"),
        ({"x": "layer:layer0.0.conv1", "outcome": "correct"}, "10 of 20 clips (10 do not match: correct)"),
        ({"x": "confidence", "search": "none"}, "No clip matches these filters."),
        ({"x": "layer:layer1.0.conv1"}, "names a horizontal that does not exist"),  # it is the same for all clips
    ],
)
def test_any_column_is_plotted(query, said, runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, view="Plot", **query)
    assert said in words(app) and charts(app) == ("search" not in query)


def test_clips_are_filtered_by_the_alpha_of_a_layer(runs, monkeypatch) -> None:
    link = {"also": "layer:layer0.0.conv1", "layer:layer0.0.conv1": ["0.6", "0.7"]}
    app = open_page(runs, monkeypatch, PREDICTIONS, view="All clips", **link)
    assert list(app.dataframe[-1].value["clip_id"]) == sorted(f"c{i}" for i in range(10, 20))
    assert "10 do not match: α_T of layer0.0.conv1 at least 0.600" in words(app)
    next(button for button in app.button if button.label == "Reset the filters").click().run()
    assert not app.exception and len(app.dataframe[-1].value) == 20


@pytest.mark.parametrize(("view", "rows", "said"), [("Per class", [1], "b**: 10 clips, the misclassified first")])
def test_a_class_row_opens_its_clips(view, rows, said, runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, view=view)
    app.session_state["per_class_numbers"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    assert said in words(app.run()) and not app.exception
    assert len(app.checkbox) == 10


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("layer0.0.conv1", "Misclassified clips of a by α_T of layer0.0.conv1"),
        ("layer1.0.conv1", "Misclassified clips of a by mean α_T (that of layer1.0.conv1 is the same for all)"),
    ],
)
def test_a_point_of_the_misclassified_clips_links_to_them(layer, said, runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, ATTENTION, show="Correct and misclassified")
    point = {"x": layer, "customdata": {"0": "misclassified"}}
    app.session_state["by_correctness"] = selection(points=[point])
    links = [element.proto for element in app.run().get("page_link")]
    assert not app.exception and said in [link.label.replace("\\", "") for link in links]
    (link,) = (link for link in links if link.label.replace("\\", "") == said)
    column = "alpha_temporal" if "mean" in said else f"layer%3A{layer}"
    assert f"x={column}" in link.query_string and "outcome=misclassified" in link.query_string


def test_a_cell_of_the_map_of_classes_links_to_its_clips(runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, ATTENTION, show="By class")
    app.session_state["class_map"] = selection(points=[{"x": "layer0.0.conv1", "customdata": {"0": 0.5, "1": "b"}}])
    links = [element.proto for element in app.run().get("page_link")]
    assert not app.exception
    (link,) = (link for link in links if "labelled b of a by α_T of layer0" in link.label.replace("\\", ""))
    assert "x=layer%3Alayer0.0.conv1" in link.query_string and "label=b" in link.query_string


@pytest.mark.parametrize(
    ("part", "said", "filters"),
    [
        ("cell", "Clips labelled b, predicted a, of a by α_T of layer0.0.conv1", ["label=b", "said=a"]),
        ("row", "Clips labelled b of a by α_T of layer0.0.conv1", ["label=b"]),
    ],
)
def test_a_point_of_a_cell_links_to_its_clips(part, said, filters, runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, view="Confusion", label="b", said="a")
    app.session_state["cell_profile"] = selection(points=[{"x": "layer0.0.conv1", "customdata": {"0": part}}])
    links = [element.proto for element in app.run().get("page_link")]
    (link,) = (link for link in links if link.label.replace("\\", "") == said)
    assert (
        not app.exception and [f for f in link.query_string.split("&") if f.startswith(("label=", "said="))] == filters
    )


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"said": "b"}, "No clip is in this column."),
        ({"label": "a", "said": "b"}, "No clip is in this cell."),
        ({"label": "b", "search": "z"}, "No clip of this row matches the filters."),
        ({"label": "b", "said": "a", "search": "z"}, "No clip of this cell matches the filters."),
    ],
)
def test_an_empty_part_of_the_confusion_matrix_is_named(chosen, said, runs, monkeypatch) -> None:
    assert said in words(open_page(runs, monkeypatch, PREDICTIONS, view="Confusion", **chosen))


@pytest.mark.parametrize(("key", "column"), [("alpha", "alpha_temporal"), ("time_share", "time_share")])
def test_a_link_by_the_mean_names_the_column_of_the_runs_attention(key, column, runs, monkeypatch) -> None:
    run = open_run(runs / "a")
    found: list[dict[str, str]] = []
    monkeypatch.setattr(clip_links, "layers_that_vary", lambda run: [])
    monkeypatch.setattr(clip_links, "cached_alpha", lambda _: read_alpha(run))
    monkeypatch.setattr(clip_links.st, "page_link", lambda *_, query_params, **__: found.append(query_params))
    monkeypatch.setattr(clip_links, "run_id", lambda run: run.name)
    clip_links.show_link_to_layer(Run(run.path, run.meta | {"signal": key}), "layer0.0.conv1")
    assert [query["x"] for query in found] == [column]


NAMES = ("a", "b", "a, b", "p 0.5", "p 0.5 (2)")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a", ["a"]), ("a, b", ["a, b"]), ("b, a", ["a", "b"]), ("a, b, b", ["b", "a, b"]),
        ("p 0.5 (2)", ["p 0.5 (2)"]),
        ("a, a, b, p 0.5", ["a", "a, b", "p 0.5"]), ("mean", []),
    ],
)  # fmt: skip
def test_a_name_with_a_comma_is_one_name(text: str, named: list[str]) -> None:
    assert clip_links.named_in(text, NAMES) == named
