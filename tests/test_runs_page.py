"""The first page, and which runs the other pages show: by default the best, and never others than were asked for."""

import math
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from analysis.attention.run_summary import RunSummary, best_first, best_partner, summarize_run, things_apart
from analysis.runs.run_directory import Run, find_runs, open_run
from benchmarks.browser import settle, until
from tests.test_app import ATTENTION, COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.tiny import write_run
from workbench import summaries as summaries_module
from workbench.components.run_table import run_rows
from workbench.components.tour import STOPS
from workbench.summaries import Summaries


def run_of(name: str, **meta: object) -> Run:
    facts = {"dataset": "set", "label": "label", "arch": "a", "conv": "sth", "temporal_fraction": 0.25}
    return Run(Path(name), facts | {"modality": "rgb", "finished": "2024-01-01"} | meta)


def three_runs(folder: Path) -> Path:
    """Of the same clips; the third has no attention."""
    write_run(folder / "runs" / "first", [[0.5, 0.6]] * 4)
    write_run(folder / "runs" / "second", [[0.3, 0.4]] * 4, temporal_fraction=0.5)
    flat = write_run(folder / "runs" / "flat", [[0.5, 0.5]] * 4, attention=False, conv="2d", temporal_fraction=0)
    shutil.rmtree(flat / "attention")
    return folder / "runs"


def test_a_summary_by_hand(tmp_path: Path) -> None:
    summary = summarize_run(open_run(three_runs(tmp_path) / "first"))
    assert (summary.problem, summary.clips, summary.counted, summary.accuracy) == ("", 4, 4, 0.5)
    assert summary.attention == pytest.approx((0.5, 0.6)) and summary.mean_attention == pytest.approx(0.55)
    assert summary.low == pytest.approx(0.0676, abs=1e-4) and summary.high == pytest.approx(0.9324, abs=1e-4)
    flat = summarize_run(open_run(tmp_path / "runs" / "flat"))
    assert flat.attention == () and math.isnan(flat.mean_attention)


def test_the_question_that_was_recorded_last_comes_first_and_of_it_the_most_accurate() -> None:
    runs = {
        "old": run_of("old", dataset="other", finished="2023"), "unknown": run_of("unknown"), "worse": run_of("worse"),
        "best": run_of("best"),
    }  # fmt: skip
    known = {name: RunSummary(accuracy=a) for name, a in (("old", 1.0), ("worse", 0.5), ("best", 0.9))}
    assert best_first(runs, known) == ["best", "worse", "unknown", "old"]
    assert best_first({}, {}) == []


def test_a_run_is_compared_with_one_that_differs_in_one_thing() -> None:
    runs = {
        "a": run_of("a"), "same": run_of("same"), "two": run_of("two", modality="flow", temporal_fraction=0.5),
        "one": run_of("one", temporal_fraction=0.5), "data": run_of("data", dataset="other"),
    }  # fmt: skip
    assert [things_apart(runs["a"], runs[b]) for b in runs] == [[], [], ["p", "input"], ["p"], ["data"]]
    assert best_partner("a", runs, runs) == "one"
    assert best_partner("a", runs, ["a", "data", "two"]) == "two"
    assert best_partner("a", runs, ["same", "a"]) == "same"


def test_summaries_are_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs = {run.name: run for run in find_runs(three_runs(tmp_path))}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    found = Summaries(lambda run: "state").of(runs)
    assert found["first"].accuracy == 0.5 and before == {
        p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*")
    }

    def unread(run: Run) -> RunSummary:
        raise AssertionError(f"{run.name} is read again")

    monkeypatch.setattr(summaries_module, "summarize_run", unread)
    assert Summaries(lambda run: "state").of(runs) == found  # from the file, by another server
    with pytest.raises(AssertionError, match="read again"):
        Summaries(lambda run: "another").of(runs)
    (tmp_path / "cache" / "sth-workbench" / "runs.sqlite").write_bytes(b"damaged")
    monkeypatch.setattr(summaries_module, "summarize_run", summarize_run)
    assert Summaries(lambda run: "state").of(runs) == found


def test_many_runs_are_read_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(summaries_module, "AT_ONCE", 1)
    runs = {run.name: run for run in find_runs(three_runs(tmp_path))}
    reader = Summaries(lambda run: "state")
    assert list(reader.of(runs)) == ["first"]
    while len(found := reader.of(runs)) < 3:
        pass
    assert found["second"].attention == pytest.approx((0.3, 0.4))


def test_the_table_shows_what_each_run_is(tmp_path: Path) -> None:
    runs = {run.name: run for run in find_runs(three_runs(tmp_path))}
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    runs["broken"] = open_run(tmp_path / "runs" / "broken")
    known = {name: summarize_run(runs[name]) for name in ("first", "flat", "broken")}
    table = run_rows(runs, known).set_index("run")
    assert table.loc["first", ["network", "data", "question", "p", "input"]].tolist() == [
        "resnet18 sth", "set", "label", "1/4", "RGB",
    ]  # fmt: skip
    assert table.loc["first", "accuracy"] == 50 and table.loc["first", "interval"] == "6.8 to 93.2"
    assert table["layers"].isna().to_dict() == {"first": False, "flat": True, "second": True, "broken": True}
    assert (
        table.loc["second", "problem"] == "not read yet" and "run.json cannot be read" in table.loc["broken", "problem"]
    )


def test_the_first_page_is_the_table_and_of_the_demo_an_introduction(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch)
    assert app.title[0].value == "Runs" and len(app.dataframe[0].value) == 8
    text = words(app)
    assert "**STH convolution**" in text and "**eight small networks**" in text and "**find out**" in text
    accuracies = app.dataframe[0].value.groupby("question", sort=False)["accuracy"]
    assert all(values.is_monotonic_decreasing for _, values in accuracies)
    app.text_input[0].set_value("FLOW motion").run()
    assert app.dataframe[0].value["run"].tolist() == ["motion-flow-p4"]
    assert "1 of 8 runs" in words(app)
    app.switch_page(PREDICTIONS).run()
    best = app.selectbox(key="run").value
    app = open_page(demo / "runs", monkeypatch, COMPARE)
    assert app.selectbox(key="a").value == best
    a, b = (open_run(demo / "runs" / app.selectbox(key=key).value) for key in "ab")
    assert len(things_apart(a, b)) == 1


@pytest.mark.parametrize("query", [{"show": "Hypotheses"}, {"runs": "motion-rgb-p4"}, {"tour": "1"}], ids=str)
def test_links_to_attention_when_it_was_the_first_page_still_lead_there(query, demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, **query)
    assert app.title[0].value == "Attention"
    if "runs" in query:
        assert app.multiselect[0].value == ["motion-rgb-p4"]
    else:
        assert (STOPS[0].title if "tour" in query else "Temporal attention rises with depth") in words(app)


@pytest.mark.parametrize(
    ("page", "query", "sentence", "shown"),
    [
        (PREDICTIONS, {"run": "nope"}, "names a run that does not exist: nope", False),
        (COMPARE, {"a": "nope", "b": "first"}, "names a run that does not exist: nope", False),
        (COMPARE, {"a": "first", "b": "second", "more": "nope"}, "nope: there is no such run", True),
        (ATTENTION, {"runs": "nope"}, "nope: there is no such run", False),
        (ATTENTION, {"runs": ["nope", "first"]}, "nope: there is no such run", True),
        (ATTENTION, {"runs": "flat"}, "None of the chosen runs has recorded attention", False),
        (ATTENTION, {"show": "By class", "of": "flat"}, "flat: its network has no attention", False),
        (ATTENTION, {"show": "By class", "of": "nope"}, "names a run that does not exist: nope", False),
        (ATTENTION, {"runs": "first", "show": "By class", "of": "second"}, "not among the chosen runs", False),
        (FIGURES, {"runs": "flat"}, "flat: its network has no attention", False),
        (FIGURES, {"runs": "nope"}, "nope: there is no such run", False),
        (ATTENTION, {"runs": ["cut", "first"]}, "cut: its attention cannot be read", True),
        (PREDICTIONS, {"run": "cut"}, "cut: its attention cannot be read", False),
    ],
)
def test_a_run_that_cannot_be_shown_is_said_and_no_other_one_is_shown(
    page: str, query: dict[str, str], sentence: str, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = three_runs(tmp_path)
    cut = write_run(runs / "cut", [[0.5, 0.5]] * 4) / "attention" / "part-00000.parquet"
    cut.write_bytes(cut.read_bytes()[:-50])
    app = open_page(runs, monkeypatch, page, **query)
    assert sentence in words(app), words(app)
    numbers = [*app.metric, *app.dataframe, *app.get("plotly_chart")]
    assert bool(numbers) == shown
    if shown and page == ATTENTION:
        assert "Runs shown: first" in words(app)


def test_of_many_runs_figures_show_few_and_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(9):
        write_run(tmp_path / f"run{i}", [[0.5, 0.6]] * 2)
    app = open_page(tmp_path, monkeypatch, ATTENTION)
    assert len(app.multiselect[0].value) == 8 and "8 of 9 runs." in words(app)


@pytest.mark.browser
def test_two_ticked_runs_open_in_compare(page: Page, address: str):
    page.goto(address)
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Tour of the demo")).to_be_visible()
    grid = page.get_by_test_id("stDataFrame").locator("canvas").first
    expect(grid).to_be_visible()
    settle(page)
    for row, said in ((1, "Open 1 run in"), (2, "Open 2 runs in")):
        box = grid.bounding_box()
        page.mouse.click(box["x"] + 18, box["y"] + 35 * row + 18)
        expect(page.get_by_text(said)).to_be_visible()
        settle(page)
    page.get_by_test_id("stMain").get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
    expect(page.get_by_text("B minus").first).to_be_visible()
    until(page, "new URLSearchParams(location.search).get('b')")
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.get_by_text("Open 2 runs in")).to_be_visible()  # still ticked
