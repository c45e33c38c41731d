"""Runs with more classes, layers and clips than the pages draw one by one: each view shows them."""

from pathlib import Path

import numpy as np
import pytest

from analysis.report.clip_plots import plot_clips
from analysis.report.prediction_parts import confusion_sections
from analysis.report.report_sources import find_sources, overview_of
from analysis.report.view_parts import view_part
from analysis.runs.run_directory import open_run, predictions
from analysis.runs.saved_views import SavedView
from analysis.statistics.confusion import confused_pairs, confusion_cells
from benchmarks.made_runs import make_run
from tests.test_app import open_page, words
from workbench.networks import network_for_report

# {page: the query of each of its views, and what it shows}
VIEWS: dict[str, list[tuple[dict[str, str], str]]] = {
    "runs": [({}, "2 runs")],
    "attention": [
        ({"show": "Figures"}, "Figure 5"), ({"show": "Hypotheses"}, "Figure 5"), ({"show": "Unusual clips"}, "differs"),
        ({"show": "Correct and misclassified"}, "of the correct and of the"), ({"show": "By class"}, "80 clips a"),
    ],
    "predictions": [
        ({"view": "Misclassified"}, "most confident first"), ({"view": "Confusion"}, "75 classes"),
        ({"view": "Per class"}, "whiskers: 95"), ({"view": "Precision and recall"}, "F1"),
        ({"view": "Calibration"}, "Expected calibration error"), ({"view": "Plot"}, "Click a bar"),
        ({"view": "Plot", "x": "confidence", "y": "alpha_temporal"}, "5,000"), ({"view": "All clips"}, "6,000"),
        ({"view": "Confusion", "label": "class 001", "said": "class 002"}, "class 001, predicted class 002"),
    ],
    "clip": [({}, "Attention by layer")],
    "compare": [({"a": "one", "b": "two"}, "B minus")],
    "figures": [({}, "Figure 5")],
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    for seed, name in enumerate(("one", "two")):
        make_run(folder / name, 6000, 75, 70, seed)
    return folder


@pytest.mark.parametrize(
    ("page", "query", "shown"),
    [(page, query, shown) for page, views in VIEWS.items() for query, shown in views],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else value,
)
def test_a_view_of_many_classes_layers_and_clips(page: str, query: dict, shown: str, runs, monkeypatch) -> None:
    one = {"runs": "one", "of": "one"} if page == "attention" else {"run": "one"} if page != "compare" else {}
    app = open_page(runs, monkeypatch, f"workbench/pages/{page}.py", **(one | query))
    assert not app.exception and shown in words(app), words(app)


def test_large_counts_have_separators(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = int((~predictions(open_run(runs / "one"))["correct"]).sum())
    _, misclassified, unreadable = (
        metric.value for metric in open_page(runs, monkeypatch, "workbench/pages/predictions.py", run="one").metric
    )
    assert wrong > 1000 and (misclassified, unreadable) == (f"{wrong:,}", "0")


def test_a_list_of_clips_that_is_cut_says_what_it_has(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    correct = predictions(open_run(runs / "one")).set_index("clip_id")["correct"]
    wrong = int((~correct).sum())
    app = open_page(runs, monkeypatch, "workbench/pages/clip.py", run="one")
    (box,) = (box for box in app.selectbox if box.label == "Clip")
    assert "The list has 2,000 of 6,000 clips, misclassified ones first." in words(app) and len(box.options) == 2000
    assert not correct[box.options[:wrong]].any() and correct[box.options[wrong:]].all()
    assert len({*box.options}) == 2000
    app = open_page(runs, monkeypatch, "workbench/pages/clip.py", run="one", only_wrong="true")
    (box,) = (box for box in app.selectbox if box.label == "Clip")
    assert "The list has" not in words(app) and len(box.options) == wrong


def test_what_a_report_cuts_off_is_said(runs: Path) -> None:
    run = open_run(runs / "one")
    overview = overview_of(run)
    _, confused = confusion_sections(run, overview)
    pairs = len(confused_pairs(confusion_cells(overview)))
    assert confused.caption == f"The first 8 of {pairs:,} pairs."
    plot = plot_clips(overview, np.arange(6000), "label", "clips", {"label": "label"}, lambda name: overview[name])
    assert (plot.why, plot.note) == ("of other names", " The 40 most frequent, of 75.")


@pytest.mark.parametrize(
    ("page", "query"),
    [(page, query) for page in ("attention", "predictions", "compare") for query, _ in VIEWS[page]],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else value,
)
def test_a_report_of_such_a_view(page: str, query: dict, runs: Path) -> None:
    one = {"runs": ["one"], "of": ["one"], "run": ["one"]}
    view = SavedView(Path(), "name", "", page, one | {key: [value] for key, value in query.items()}, "")
    part = view_part(view, find_sources([runs], network_for_report, lambda path: ""))
    assert part.facts and not part.problems, part.problems
