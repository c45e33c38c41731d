"""The filters of the Predictions page: ends that cut off no clip, and views that say what they show."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis.report.column_titles import column_titles
from analysis.report.scales import Scale, scale_of
from analysis.statistics.accuracy import describe_clips_per_class, describe_groups
from tests.test_app import PREDICTIONS, open_page, words
from tests.tiny import write_run
from workbench.components.range_filter import fit_choice

ALPHAS = [[0.50 + i / 1000] for i in range(12)]


@pytest.mark.parametrize(
    ("values", "ends", "step"),
    [
        ([0.5012, 0.5148], (0.5012, 0.5148), 0.0001),
        ([0.1, 0.3], (0.1, 0.3), 0.002),
        ([0.123456, 0.987654], (0.12, 0.99), 0.005),
        ([-0.25, 0.75], (-0.25, 0.75), 0.01),
        ([3, 3000], (0, 3000), 20),
        ([0.5, np.nan, np.inf, 1.0], (0.5, 1.0), 0.005),
        ([1 - 2**-53, 1.0], (1 - 2**-53, 1.0), 2**-53),
    ],
)
def test_a_scale_holds_every_value_and_its_step_follows_the_span(values, ends, step) -> None:
    scale = scale_of(np.array(values, float))
    assert scale is not None and scale.ends == pytest.approx(ends, abs=1e-12) and scale.step == pytest.approx(step)
    finite = [value for value in values if np.isfinite(value)]
    assert scale.low <= min(finite) and max(finite) <= scale.high


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, np.nan], [np.nan]])
def test_values_that_do_not_differ_have_no_scale(values) -> None:
    assert scale_of(np.array(values, float)) is None


def test_random_spans_lose_no_value() -> None:
    random = np.random.default_rng(0)
    for _ in range(500):
        values = random.normal(random.normal(0, 10.0 ** random.integers(-3, 4)), 10.0 ** random.integers(-6, 3), 5)
        scale = scale_of(values)
        assert scale is not None and scale.low <= values.min() and values.max() <= scale.high
        assert 90 <= (scale.high - scale.low) / scale.step <= 260


SCALE = Scale(0.2, 0.8, 0.01, 2)


@pytest.mark.parametrize(
    ("chosen", "ends", "fitted"),
    [
        ((0.3, 0.5), (0.1, 0.9), (0.3, 0.5)),
        ((0.1, 0.5), (0.1, 0.9), (0.2, 0.5)),  # an open end stays open
        ((0.4, 0.6), (0.4, 0.6), (0.2, 0.8)),
        ((0.1, 0.5), (0.0, 0.9), (0.2, 0.5)),
        ((0.305, 0.5), (0.0, 0.9), (0.3, 0.5)),  # never less than was chosen
        ((0.85, 0.9), (0.0, 0.95), None),
    ],
)
def test_a_choice_of_another_run_is_kept_as_far_as_it_fits(chosen, ends, fitted) -> None:
    assert fit_choice(chosen, ends, SCALE) == (None if fitted is None else pytest.approx(fitted))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of 12 clips, whose alpha_T do not overlap; confidence rises by 1/1000 a clip; c11 has no known label."""
    for name, shift in (("a", 0.0), ("b", 0.3)):
        run = write_run(tmp_path / name, [[value + shift for value in row] for row in ALPHAS])
        (file,) = (run / "predictions").iterdir()
        table = pd.read_parquet(file)
        table["confidence"] = [0.9864 + i * 0.0136 / 11 for i in range(12)]
        table.loc[11, "label"] = "unheard"
        table.to_parquet(file)
    return tmp_path


def slider(app: AppTest, title: str):
    return next(slider for slider in app.slider if slider.label == title)


def matching(app: AppTest) -> str:
    return next(text for text in words(app).splitlines() if "clips match: " in text)


def test_one_step_of_a_narrow_range_loses_one_clip(runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, run="a", view="All clips")
    confidence = slider(app, "Confidence")
    assert (confidence.min, confidence.max) == (0.9864, 1.0) and confidence.step == pytest.approx(0.0001)
    confidence.set_value((confidence.min + confidence.step, confidence.max)).run()
    assert matching(app) == "11 of 12 clips match: a"
    assert "11 of 12 clips (1 does not match: Confidence at least 0.9865)" in words(app)
    next(button for button in app.button if button.label == "Reset the filters").click().run()
    assert not app.exception and matching(app) == "12 of 12 clips match: a" and "confidence" not in app.query_params


def test_another_runs_range_is_kept_or_said_to_be_dropped(runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, run="a", view="All clips")
    slider(app, "Confidence").set_value((0.99, 1.0))
    slider(app, "α_T").set_value((0.5, 0.505)).run()
    kept = len(app.dataframe[-1].value)
    app.selectbox(key="run").set_value("b").run()
    assert not app.exception
    assert "The range 0.5 to 0.505 is outside of this run's range, so it filters nothing here." in words(app)
    assert slider(app, "Confidence").value == (0.99, 1.0) and kept < len(app.dataframe[-1].value) < 12
    app.selectbox(key="run").set_value("a").run()
    assert not app.exception and slider(app, "α_T").value == (slider(app, "α_T").min, slider(app, "α_T").max)


def test_a_link_whose_range_is_wider_than_the_runs_still_filters(runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, run="a", view="All clips", alpha_temporal=["0.505", "0.9"])
    assert app.dataframe[-1].value["alpha_temporal"].min() >= 0.505 and 0 < len(app.dataframe[-1].value) < 12


@pytest.mark.parametrize("view", ["Misclassified", "Confusion", "Per class", "Calibration", "All clips"])
def test_every_view_says_how_many_clips_it_shows_and_why_not_all(view, runs, monkeypatch) -> None:
    app = open_page(runs, monkeypatch, PREDICTIONS, run="a", view=view, search="c1")  # c1, c10, c11
    text = words(app)
    left_out = "9 do not match: name contains c1"
    uncounted = "1 without a label that the network knows, or without finite scores"
    expected = {
        "Misclassified": f"1 of 12 clips ({left_out}; 2 not misclassified)",
        "All clips": f"3 of 12 clips ({left_out})",
    }.get(view, f"2 of 12 clips ({left_out}; {uncounted})")
    assert expected in text


def test_the_columns_of_tables_are_called_by_words() -> None:
    columns = ["clip_id", "prediction", "n", "alpha_temporal", "most_confused_with", "label"]
    assert [*column_titles(columns).values()] == ["clip", "predicted", "clips", "α_T", "most confused with", "label"]


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (describe_groups(1, 1), "1 clip"),
        (describe_groups(2, 1), "2 clips of one source video"),
        (describe_groups(1200, 4), "the 4 source videos of 1,200 clips"),
        (describe_clips_per_class(pd.Series([1, 1])), "1 clip a class"),
        (describe_clips_per_class(pd.Series([1, 3])), "1 to 3 clips a class"),
    ],
)
def test_one_clip_is_no_clips(described: str, words: str) -> None:
    assert described == words
