"""The compare page on made runs of the same clips."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import recorded_layers
from analysis.runs.run_directory import open_run
from benchmarks.made_runs import make_run
from tests.test_app import COMPARE, open_page, words
from workbench.components import difference_map

CLIPS, CLASSES, LAYERS = 60, 6, 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four runs of other seeds on the same 60 clips: a, b, c, d."""
    for seed, name in enumerate("abcd"):
        make_run(tmp_path / "runs" / name, CLIPS, CLASSES, LAYERS, seed)
    return tmp_path / "runs"


def right_of(folder: Path, names: str) -> pd.DataFrame:
    """Whether each clip (a row) is right in each run (a column), read with pandas alone."""
    tables = {name: pd.read_parquet(folder / name / "predictions").set_index("clip_id")["correct"] for name in names}
    return pd.DataFrame(tables).dropna().astype(bool)


def rewrite(run: Path, change) -> None:
    """Pass each of a run's tables through `change`."""
    for file in [*run.glob("predictions/*.parquet"), *run.glob("attention/*.parquet")]:
        change(pd.read_parquet(file)).to_parquet(file)


def charts(app) -> int:
    return len(app.get("plotly_chart"))


def opened(app) -> list[tuple[str, str]]:
    """The run and the clip of each link of a gallery."""
    queries = [
        dict(part.split("=") for part in link.proto.query_string.split("&")) for link in app.main.get("page_link")
    ]
    return [(query["run"], query["clip"].replace("%2F", "/").replace("+", " ")) for query in queries]


def test_two_runs_are_shown_as_before(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b")
    right = right_of(folder, "ab")
    assert [m.label for m in app.metric] == ["Accuracy of A", "Accuracy of B", "Gained", "Lost"]
    assert app.metric[2].value == str(int((~right["a"] & right["b"]).sum()))
    assert (charts(app), len(app.dataframe), len(app.header), len(app.get("button_group"))) == (1, 0, 0, 1)
    assert app.multiselect[0].options == ["c", "d"] and app.multiselect[0].value == []


def test_where_there_are_but_two_runs_there_is_no_more_to_choose(folder, monkeypatch, tmp_path) -> None:
    (tmp_path / "two").mkdir()
    for name in "ab":
        (folder / name).rename(tmp_path / "two" / name)
    assert len(open_page(tmp_path / "two", monkeypatch, COMPARE).multiselect) == 0


def test_a_third_run_is_added(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="b", b="a")
    app.multiselect[0].set_value(["d"]).run()
    assert not app.exception
    assert [s.value for s in app.header] == ["All 3 runs on the same clips", "A and B"]
    right = right_of(folder, "bad")
    shown = app.dataframe[0].value.set_index("run")
    assert shown.index.tolist() == ["b", "a", "d"] and shown["letter"].tolist() == ["A", "B", "C"]
    np.testing.assert_allclose(shown["accuracy"], 100 * right.mean())
    for name in "bad":
        others = right.drop(columns=name)
        assert shown.loc[name, "only_correct"] == (right[name] & ~others.any(axis=1)).sum()
        assert shown.loc[name, "only_wrong"] == (~right[name] & others.all(axis=1)).sum()
        mean = pd.read_parquet(folder / name / "attention")["alpha_temporal"].mean()
        assert shown.loc[name, "alpha_temporal"] == pytest.approx(mean)
    assert charts(app) == 3  # differences, attention, and the pair's attention
    n = right.sum(axis=1).value_counts()
    assert " · ".join(f"**{k}**: {n.get(k, 0)}" for k in range(4)) in words(app)
    assert "of 3 pairs (p < 0.05: McNemar's test, clustered" in words(app)


def test_a_cell_of_the_differences_makes_its_runs_a_and_b(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c", "d"])
    state = {"map": {"selection": {"points": [{"x": "C", "customdata": {"0": "+0.0", "5": "d", "6": "c"}}]}}}
    with monkeypatch.context() as patch:
        patch.setattr(difference_map.st, "session_state", state)
        difference_map.open_pair("map", list("abcd"))
    for key in ("a", "b", "more"):
        app.session_state[key] = state[key]
    app.run()  # the URL still has the old runs
    assert [box.value for box in app.selectbox[:2]] == ["d", "c"] and set(app.multiselect[0].value) == {"a", "b"}
    assert not app.warning and not app.exception


@pytest.mark.parametrize(("chart", "names"), [("alpha_change", "A, B"), ("alpha_by_layer", "c")])
def test_a_point_of_a_layer_links_to_its_clips(chart, names, folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    layer = recorded_layers(open_run(folder / "a"))["layer"].iloc[-1]
    point = {"x": layer, "customdata": {"0": layer, "1": names}}
    app.session_state[chart] = {"selection": {"points": [point], "box": [], "lasso": []}}
    labels = [element.proto.label.replace("\\", "") for element in app.run().get("page_link")]
    assert not app.exception
    found = [label for label in labels if label.startswith("Clips of")]
    assert found == [f"Clips of {run} by α_T of {layer}" for run in ("ab" if names == "A, B" else "c")]


def test_a_link_opens_the_runs_and_the_clips_that_so_many_get_right(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c", "d"], right_in="3", changed="both wrong")
    right = right_of(folder, "abcd")
    some = right[right.sum(axis=1) == 3]
    assert 0 < len(some) < CLIPS and f"{len(some)} clips correct in exactly 3 of 4" in words(app)
    links = opened(app)[: min(len(some), 12)]
    assert {run for run, _ in links} == {"a"} and {clip for _, clip in links} <= set(some.index)
    names = dict(zip("abcd", "ABCD", strict=True))
    for sets, count in (
        some.apply(lambda row: ", ".join(names[n] for n in "abcd" if row[n]), axis=1).value_counts().items()
    ):
        assert f"{sets}: {count}" in words(app)
    assert app.query_params["right_in"] in ("3", ["3"])


def test_a_run_that_becomes_b_is_no_longer_one_of_the_others(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c", "d"])
    app.selectbox[1].set_value("c").run()
    assert not app.exception
    assert app.multiselect[0].options == ["b", "d"] and app.multiselect[0].value == ["d"]
    assert app.query_params["more"] == "d"
    assert app.dataframe[0].value["run"].tolist() == ["a", "c", "d"]


def test_a_run_without_a_clip_in_common_is_named_and_left_out(folder, monkeypatch) -> None:
    rewrite(folder / "c", lambda table: table.assign(clip_id="other/" + table["clip_id"]))
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    assert "c (C) is left out, because it has no clip in common" in words(app)
    assert len(app.dataframe) == 0 and len(app.metric) == 4  # the two are shown all the same
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c", "d"])
    assert "c (C) is left out" in words(app)
    assert app.dataframe[0].value[["letter", "run"]].to_numpy().tolist() == [["A", "a"], ["B", "b"], ["D", "d"]]


def test_a_run_of_fewer_clips_makes_all_numbers_those_of_its_clips(folder, monkeypatch) -> None:
    kept = set(pd.read_parquet(folder / "c" / "predictions")["clip_id"][::3])
    rewrite(folder / "c", lambda table: table[table["clip_id"].isin(kept)])
    meta = json.loads((folder / "c" / "run.json").read_text())
    (folder / "c" / "run.json").write_text(json.dumps(meta | {"clips": len(kept)}))
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    right = right_of(folder, "abc")
    np.testing.assert_allclose(app.dataframe[0].value["accuracy"], 100 * right.mean())
    assert f"over {CLIPS // 3} clips." in words(app)
    assert f"Mean α_T over the {CLIPS // 3} clips in common" in words(app)


def test_runs_with_other_labels_for_the_clips_are_named(folder, monkeypatch) -> None:
    rewrite(folder / "d", lambda t: t.assign(label=["class 000"] * len(t)) if "label" in t else t)
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c", "d"])
    assert "have different labels: of the common clips, only 17% in D have the same label" in words(app)
    assert "different labels" not in words(open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"]))


def test_a_run_without_attention_is_in_the_table_and_not_among_the_lines(folder, monkeypatch) -> None:
    for file in (folder / "c" / "attention").iterdir():
        file.unlink()
    meta = json.loads((folder / "c" / "run.json").read_text())
    (folder / "c" / "run.json").write_text(json.dumps(meta | {"attention": False}))
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    assert app.dataframe[0].value["alpha_temporal"].isna().tolist() == [False, False, True]
    assert charts(app) == 3 and "Runs without attention: C: c." in words(app)
    assert "without attention" not in words(open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["d"]))


def test_networks_without_a_layer_in_common_are_said_to_be_that(folder, monkeypatch) -> None:
    rewrite(folder / "c", lambda t: t.assign(layer="other." + t["layer"]) if "layer" in t else t)
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    assert "The networks have no layer in common." in words(app) and charts(app) == 2


def test_a_run_that_is_written_again_is_counted_again(folder, monkeypatch) -> None:
    app = open_page(folder, monkeypatch, COMPARE, a="a", b="b", more=["c"])
    rewrite(folder / "c", lambda t: t.assign(correct=False) if "correct" in t else t)
    app.run()
    assert app.dataframe[0].value["accuracy"].iloc[2] == 0
