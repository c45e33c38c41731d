"""Every page of the app, in Streamlit's own test harness, on the demo's real runs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parent.parent / "app.py"
PREDICTIONS, CLIP = "workbench/pages/predictions.py", "workbench/pages/clip.py"


def open_page(runs: Path, monkeypatch: pytest.MonkeyPatch, page: str = "", **query: str) -> AppTest:
    monkeypatch.setenv("STH_RUNS", str(runs))
    app = AppTest.from_file(str(APP), default_timeout=120)
    if page:
        app.switch_page(page)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def words(app: AppTest) -> str:
    """All text of a page, escapes removed."""
    elements = [*app.title, *app.subheader, *app.markdown, *app.caption, *app.info, *app.warning, *app.success]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


@pytest.fixture
def one_run(demo: Path, tmp_path: Path) -> Path:
    """A folder of runs with a copy of the demo's appearance run at p = 1/4, free to be damaged."""
    shutil.copytree(demo / "runs" / "appearance-rgb-p4", tmp_path / "runs" / "appearance-rgb-p4")
    return tmp_path / "runs"


def edit(run: Path, **values: object) -> None:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | values))


def test_the_attention_page_draws_figures_5_to_8_and_says_n(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch)
    assert [s.value.split(":")[0] for s in app.subheader] == ["Figure 5", "Figure 6", "Figure 7", "Figure 8"]
    assert len(app.get("plotly_chart")) == 4
    assert words(app).count("n = 240 clips a run") == 4


def test_figures_use_the_chosen_runs_only(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch)
    app.multiselect[0].set_value(["motion-rgb-p4"]).run()
    assert not app.exception
    assert [s.value.split(":")[0] for s in app.subheader] == ["Figure 5", "Figure 6", "Figure 7"]
    assert set(app.dataframe[0].value["run"]) == {"motion-rgb-p4"}


def test_the_predictions_page_counts_what_the_run_holds(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4")
    clips = app.dataframe[-1].value
    wrong = int((~clips["correct"]).sum())
    assert len(clips) == 240
    assert {m.label: m.value for m in app.metric} == {
        "Accuracy": f"{clips['correct'].mean():.1%}", "Misclassified": str(wrong), "Unreadable": "0",
    }  # fmt: skip
    assert wrong > 0
    assert f"{wrong} clips, the most confident mistake first" in words(app)


def test_filters_narrow_the_table(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4")
    label = app.dataframe[-1].value["label"].iloc[0]
    app.multiselect[0].set_value([label]).run()
    assert set(app.dataframe[-1].value["label"]) == {label}
    app.text_input[0].set_value("no such clip").run()
    assert app.dataframe[-1].value.empty
    assert not app.exception


def test_the_clip_page_opens_the_clip_of_the_link(demo, monkeypatch):
    table = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4").dataframe[-1].value
    wrong = table[~table["correct"]].iloc[0]
    app = open_page(demo / "runs", monkeypatch, CLIP, run="appearance-rgb-p4", clip=wrong["clip_id"])
    text = words(app)
    assert wrong["label"] in text
    assert f"said: {wrong['prediction']}" in text
    assert wrong["clip_id"] in text
    assert [s.value for s in app.subheader] == ["What the network saw", "Grad-CAM over time", "Attention by layer"]
    assert len(app.get("image")) == 16  # 8 frames, 8 overlays
    assert len(app.get("plotly_chart")) == 2
    assert len(app.get("video")) == 1


def test_grad_cam_can_explain_another_class_layer_and_definition(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, CLIP, run="motion-flow-p4")
    assert "optical flow, not these pixels" in words(app)
    by_label = {box.label: box for box in app.selectbox}
    by_label["Class"].set_value("vanishing")
    by_label["Layer"].set_value("layer2.1")
    by_label["Definition"].set_value("per_clip")
    app.run()
    assert not app.exception
    assert "What speaks for **vanishing** at layer2.1, Grad-CAM with weights per clip" in words(app)


@pytest.mark.parametrize("page", ["", PREDICTIONS, CLIP])
def test_an_empty_folder_of_runs_says_how_to_make_one(page, tmp_path, monkeypatch):
    assert "There are no runs" in words(open_page(tmp_path, monkeypatch, page))


@pytest.mark.parametrize("page", ["", PREDICTIONS, CLIP])
def test_a_half_written_run_is_shown_as_far_as_it_goes(page, one_run, monkeypatch):
    run = one_run / "appearance-rgb-p4"
    edit(run, finished=None)
    first, *others = sorted((run / "predictions").glob("*.parquet"))
    for part in others:
        part.unlink()
    pd.read_parquet(first).head(64).to_parquet(first)
    app = open_page(one_run, monkeypatch, page)
    assert "recording has not finished: 64 of 240 clips" in words(app)


@pytest.mark.parametrize("page", ["", PREDICTIONS, CLIP])
def test_a_run_just_begun_and_a_damaged_one_are_sentences(page, one_run, monkeypatch):
    run = one_run / "appearance-rgb-p4"
    edit(run, finished=None)
    shutil.rmtree(run / "predictions")
    (one_run / "broken").mkdir()
    (one_run / "broken" / "run.json").write_text("{")
    text = words(open_page(one_run, monkeypatch, page))
    assert "0 of 240 clips" in text
    assert "run.json cannot be read" in text


def test_a_deleted_video_leaves_what_was_recorded(one_run, demo, monkeypatch, tmp_path):
    run = one_run / "appearance-rgb-p4"
    for part in (run / "predictions").glob("*.parquet"):
        table = pd.read_parquet(part)
        table["path"] = table["path"].str.replace("/synthetic/", "/gone/", regex=False)
        table.to_parquet(part)
    app = open_page(one_run, monkeypatch, CLIP)
    assert "no longer at this place" in words(app)
    assert [s.value for s in app.subheader] == ["Attention by layer"]
    assert "The video is gone" in words(open_page(one_run, monkeypatch, PREDICTIONS))


@pytest.mark.parametrize("damage", ["gone", "another"])
def test_a_missing_or_another_checkpoint_is_a_sentence(damage, one_run, tmp_path, monkeypatch):
    file = tmp_path / "network.safetensors"
    if damage == "another":
        file.write_bytes(b"not the network")
    edit(one_run / "appearance-rgb-p4", checkpoint=str(file))
    text = words(open_page(one_run, monkeypatch, CLIP))
    assert ("checkpoint is gone" if damage == "gone" else "no longer the checkpoint of this run") in text
    assert "Attention by layer" in text


def test_links_to_what_is_not_there_are_sentences(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, CLIP, run="no-such-run", clip="no_such_clip.mp4")
    assert "names a run that is not here: no-such-run" in words(app)
    app = open_page(demo / "runs", monkeypatch, CLIP, run="motion-rgb-p4", clip="no_such_clip.mp4")
    assert "has no clip no_such_clip.mp4" in words(app)


def test_a_run_without_mistakes_says_so(one_run, monkeypatch):
    for part in (one_run / "appearance-rgb-p4" / "predictions").glob("*.parquet"):
        pd.read_parquet(part).assign(correct=True).to_parquet(part)
    assert "No clip is misclassified." in words(open_page(one_run, monkeypatch, PREDICTIONS))
    assert not open_page(one_run, monkeypatch, CLIP).exception
