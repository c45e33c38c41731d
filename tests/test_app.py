"""Every page of the app, in Streamlit's own test harness, on the demo's real runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis.attention.clip_profiles import clip_overview
from analysis.explain.alpha_replacement import HALF
from analysis.explain.methods import METHODS
from analysis.runs.run_directory import clip_of, clips_of, open_run
from analysis.statistics.confusion import confused_pairs, confusion_cells
from sth_core import load_checkpoint
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.transforms import crop
from workbench.components.clip_views import AS_IT_IS, what_if_scores

APP = Path(__file__).parent.parent / "app.py"
ATTENTION, PREDICTIONS, CLIP, COMPARE, FIGURES, NOTES = (
    f"workbench/pages/{name}.py" for name in ("attention", "predictions", "clip", "compare", "figures", "notes")
)
PAGES = ["", ATTENTION, PREDICTIONS, CLIP, COMPARE, FIGURES]


def open_page(runs: Path, monkeypatch: pytest.MonkeyPatch, page: str = "", /, **query: str | list[str]) -> AppTest:
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
    elements = [*app.title, *app.header, *app.markdown, *app.caption]
    elements += [*app.info, *app.warning, *app.success, *app.error]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


@pytest.fixture
def one_run(demo: Path, tmp_path: Path) -> Path:
    """A folder of runs with a copy of the demo's appearance run at p = 1/4, free to be damaged."""
    shutil.copytree(demo / "runs" / "appearance-rgb-p4", tmp_path / "runs" / "appearance-rgb-p4")
    return tmp_path / "runs"


def edit(run: Path, **values: Any) -> None:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | values))


def test_the_attention_page_draws_figures_5_to_8_with_n(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, ATTENTION)
    assert [s.value.split(":")[0] for s in app.header] == ["Figure 5", "Figure 6", "Figure 7", "Figure 8"]
    assert len(app.get("plotly_chart")) == 4
    assert words(app).count("n = 60 clips a run") == 4


def test_figures_use_the_chosen_runs_only(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, ATTENTION)
    app.multiselect[0].set_value(["motion-rgb-p4"]).run()
    assert not app.exception
    assert [s.value.split(":")[0] for s in app.header] == ["Figure 5", "Figure 6", "Figure 7"]
    assert set(app.dataframe[0].value["run"]) == {"motion-rgb-p4"}


def test_the_predictions_page_counts_what_the_run_holds(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4", view="All clips")
    clips = app.dataframe[-1].value
    wrong = int((~clips["correct"]).sum())
    assert len(clips) == 60
    assert {m.label: m.value for m in app.metric} == {
        "Accuracy": f"{clips['correct'].mean():.1%}", "Misclassified": str(wrong), "Unreadable": "0",
    }  # fmt: skip
    assert wrong > 0
    assert clips["open"].iloc[0].startswith("clip?run=appearance-rgb-p4&clip=val%2F")
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4")
    assert f"{wrong} of 60 clips ({60 - wrong} not misclassified), most confident first" in words(app)


def test_filters_narrow_the_table(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4", view="All clips")
    label = app.dataframe[-1].value["label"].iloc[0]
    box = {box.label: box for box in app.selectbox}
    box["Label"].set_value(label).run()
    assert set(app.dataframe[-1].value["label"]) == {label}
    alpha = app.dataframe[-1].value["alpha_temporal"]
    slider = {slider.label: slider for slider in app.slider}["α_T"]
    slider.set_value((slider.value[0], float(alpha.median()))).run()
    assert app.dataframe[-1].value["alpha_temporal"].max() <= alpha.median() and len(app.dataframe[-1].value) > 0
    app.text_input[0].set_value("no such clip").run()
    assert app.dataframe[-1].value.empty
    assert not app.exception


def test_filters_are_in_the_link(demo, monkeypatch):
    open_link = {
        "run": "appearance-flow-p4",
        "view": "All clips",
        "outcome": "misclassified",
        "confidence": ["0.5", "1.0"],
    }
    shown = open_page(demo / "runs", monkeypatch, PREDICTIONS, **open_link).dataframe[-1].value
    assert len(shown) > 0 and not shown["correct"].any() and shown["confidence"].min() >= 0.5


def test_links_with_values_of_earlier_versions_open_the_same_view(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, "", show="Statements")
    assert "Temporal attention rises with depth (Figure 5)" in words(app)
    assert app.query_params["show"] in ("Hypotheses", ["Hypotheses"])
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4", view="All clips", outcome="wrong")
    assert not app.dataframe[-1].value["correct"].any()


def test_a_confusion_cell_shows_its_clips_and_its_attention(demo, monkeypatch):
    cells = confusion_cells(clip_overview(open_run(demo / "runs" / "appearance-rgb-p4")))
    pair = confused_pairs(cells).iloc[0]
    link = {"run": "appearance-rgb-p4", "view": "Confusion", "label": pair["label"], "said": pair["prediction"]}
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, **link)
    assert f"{pair['label']}, predicted {pair['prediction']}" in words(app)
    assert len(app.get("plotly_chart")) == 1 and f"{pair['n']} of 60 clips match" in words(app)
    assert len(app.main.get("page_link")) == 1 + min(pair["n"], 6)  # the clips lie beside the matrix
    assert "60 clips, 12 classes" in words(app)  # the cell's own filters do not filter the matrix
    assert f"predicted: {pair['prediction']}" in words(app)


@pytest.mark.parametrize(("view", "charts"), [("Per class", 1), ("Calibration", 1)])
def test_the_other_views_of_the_predictions(view, charts, demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-rgb-p4", view=view)
    assert len(app.get("plotly_chart")) == charts and "How to read this" in words(app)


@pytest.mark.parametrize(
    ("view", "text"),
    [
        ("Hypotheses", "Temporal attention rises with depth (Figure 5)"),
        ("By class", "n = 5 clips a class"),
        ("Correct and misclassified", "of the correct and of the misclassified"),
        ("Unusual clips", "class's standard deviations"),
    ],
)
def test_the_other_views_of_the_attention(view, text, demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, ATTENTION, show=view, of="appearance-rgb-p4")
    assert text in words(app)


def test_two_runs_are_compared_on_the_same_clips(demo, monkeypatch):
    a, b = "appearance-rgb-p4", "appearance-flow-p4"
    app = open_page(demo / "runs", monkeypatch, COMPARE, a=a, b=b, changed="lost")
    one, other = (clip_overview(open_run(demo / "runs" / name)) for name in (a, b))
    lost = int((one["correct"] & ~other["correct"]).sum())
    values = {m.label: m.value for m in app.metric}
    assert values["Lost"] == str(lost) and f"{lost} clips, lost" in words(app)
    assert values["Accuracy of A"] == f"{one['correct'].mean():.1%}"
    assert "have different labels" in words(
        open_page(demo / "runs", monkeypatch, COMPARE, a="motion-rgb-p4", b="appearance-rgb-p4")
    )
    assert "are the same run" in words(open_page(demo / "runs", monkeypatch, COMPARE, a=a, b=a))


def test_a_choice_on_one_page_does_not_filter_another(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, COMPARE, a="motion-rgb-p4", b="appearance-rgb-p4", changed="lost")
    app.switch_page(PREDICTIONS).run()
    assert {control.label: control.value for control in app.segmented_control}["Outcome"] == "all"
    assert "outcome" not in app.query_params and "60 of 60 clips match" in words(app)


def test_the_order_of_what_if_does_not_filter_by_needs_order(demo, monkeypatch, tmp_path):
    shutil.copytree(demo / "runs" / "motion-rgb-p4", tmp_path / "run")
    clips = clips_of(open_run(tmp_path / "run"))["clip_id"]
    made_up = {"repeat": 0, "label": "opening", "prediction": "opening", "correct": True}
    probes = [
        pd.DataFrame({"clip_id": clips, "probe": p, "score_label": s} | made_up)
        for p, s in (("plain", 0.9), ("shuffled", 0.1), ("reversed", 0.5))
    ]
    probes[1].loc[0, "score_label"] = 0.5
    (tmp_path / "run" / "probes").mkdir()
    pd.concat(probes).to_parquet(tmp_path / "run" / "probes" / "part-00000.parquet")
    app = open_page(tmp_path, monkeypatch, CLIP, order="reversed")
    app.switch_page(PREDICTIONS).run()
    assert not app.exception and "60 of 60 clips match" in words(app)
    assert {s.label: s.value for s in app.slider}["Needs order"] == pytest.approx((0.4, 0.8))


def test_the_figures_are_of_the_chosen_runs(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, FIGURES, p="1/4", modality="RGB")
    titles = [s.value.split(":")[0] for s in app.header]
    assert titles == ["Figure 5", "Figure 6", "Figure 7", "Figure 9", "Figure 10"]
    assert "Runs: appearance-rgb-p4, motion-rgb-p4" in words(app)


def test_what_if_changes_the_scores_of_a_network_that_uses_order(demo, monkeypatch):
    run = open_run(demo / "runs" / "motion-rgb-p4")
    clip = clip_of(run, clips_of(run).iloc[0])
    checkpoint = load_checkpoint(run.meta["checkpoint"])
    pixels, _ = read_clip(ClipSource(Path(clip["path"])), checkpoint.preprocessing)
    pixels = crop(pixels, checkpoint.preprocessing.crop)
    plain, reverse, half = (
        what_if_scores(checkpoint, pixels, *to)
        for to in ((AS_IT_IS, AS_IT_IS), ("reversed", AS_IT_IS), (AS_IT_IS, HALF))
    )
    assert np.allclose(plain, clip["scores"], atol=1e-4)
    assert reverse.argmax() != plain.argmax() and np.abs(half - plain).max() > 0.01


def test_the_clip_page_opens_the_clip_of_the_link(demo, monkeypatch):
    table = clip_overview(open_run(demo / "runs" / "appearance-rgb-p4"))
    wrong = table[~table["correct"]].iloc[-1]
    app = open_page(demo / "runs", monkeypatch, CLIP, run="appearance-rgb-p4", clip=wrong["clip_id"])
    text = words(app)
    assert wrong["label"] in text
    assert f"predicted: {wrong['prediction']}" in text
    assert wrong["clip_id"] in text
    titles = ["Grad-CAM over time", "Input frames", "Attention by layer"]
    assert [s.value for s in app.header][1:] == titles
    assert [s.value for s in app.subheader] == ["Top 5, softmax score", "What if"]
    assert len(app.get("image")) == 16  # 8 frames, 8 overlays
    assert len(app.get("plotly_chart")) == 1
    (scores,) = (html.proto.body for html in app.get("html") if "score" in html.proto.body)
    assert scores.count('class="bar"') == 5 and f'<span class="name">{wrong["label"]}</span>' in scores


def test_grad_cam_can_explain_another_class_layer_and_definition(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, CLIP, run="motion-flow-p4")
    assert "optical flow, not these pixels" in words(app)
    by_label = {box.label: box for box in app.selectbox}
    by_label["Class"].set_value("vanishing")
    by_label["Layer"].set_value("layer2.1")
    by_label["Definition"].set_value("per_clip")
    app.run()
    assert not app.exception
    assert "Evidence for **vanishing** at layer2.1. Grad-CAM with weights per clip" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_folder_of_runs_explains_how_to_record_one(page, tmp_path, monkeypatch):
    assert "There are no runs" in words(open_page(tmp_path, monkeypatch, page))


@pytest.mark.parametrize("page", ["", PREDICTIONS, CLIP])
def test_an_unfinished_run_shows_its_recorded_clips(page, one_run, monkeypatch):
    run = one_run / "appearance-rgb-p4"
    edit(run, finished=None)
    first, *others = sorted((run / "predictions").glob("*.parquet"))
    for part in others:
        part.unlink()
    pd.read_parquet(first).head(40).to_parquet(first)
    app = open_page(one_run, monkeypatch, page)
    assert "recording has not finished: 40 of 60 clips" in words(app)


@pytest.mark.parametrize("page", ["", PREDICTIONS, CLIP])
def test_an_empty_and_a_damaged_run_show_a_message(page, one_run, monkeypatch):
    run = one_run / "appearance-rgb-p4"
    edit(run, finished=None)
    shutil.rmtree(run / "predictions")
    (one_run / "broken").mkdir()
    (one_run / "broken" / "run.json").write_text("{")
    text = words(open_page(one_run, monkeypatch, page))
    assert "0 of 60 clips" in text
    assert "run.json cannot be read" in text


def test_a_clip_whose_video_is_deleted_shows_what_was_recorded(one_run, demo, monkeypatch, tmp_path):
    run = one_run / "appearance-rgb-p4"
    for part in (run / "predictions").glob("*.parquet"):
        table = pd.read_parquet(part)
        table["path"] = table["path"].str.replace("/synthetic/", "/gone/", regex=False)
        table.to_parquet(part)
    app = open_page(one_run, monkeypatch, CLIP)
    assert "has been moved, deleted or damaged" in words(app)
    assert [s.value for s in app.header][1:] == ["Attention by layer"]
    assert "The video is missing or unreadable" in words(open_page(one_run, monkeypatch, PREDICTIONS))


@pytest.mark.parametrize("method", ["hirescam", "feature-ablation"])
def test_a_clip_is_explained_by_another_method(method, one_run, monkeypatch):
    app = open_page(one_run, monkeypatch, CLIP, method=method)
    assert not app.exception
    if method == "feature-ablation":  # of many passes: only when it is asked for
        assert "Feature Ablation of frames needs 9 passes through the network." in words(app)
        assert "each frame: its number" not in words(app)
        [button] = [one for one in app.button if one.label == "Compute Feature Ablation of frames"]
        app = button.click().run()
        assert not app.exception and app.selectbox(key="layer").disabled
    assert "each frame: its number and its share of the clip's map" in words(app)
    assert f"{METHODS[method].title} over time" in words(app)


@pytest.mark.parametrize("damage", ["gone", "another"])
def test_a_missing_or_replaced_checkpoint_shows_a_message(damage, one_run, tmp_path, monkeypatch):
    file = tmp_path / "network.safetensors"
    if damage == "another":
        file.write_bytes(b"not the network")
    edit(one_run / "appearance-rgb-p4", checkpoint=str(file))
    text = words(open_page(one_run, monkeypatch, CLIP))
    assert ("no longer exists" if damage == "gone" else "has been replaced since the run") in text
    assert "Attention by layer" in text


def test_links_to_missing_runs_and_clips_show_a_message(demo, monkeypatch):
    app = open_page(demo / "runs", monkeypatch, CLIP, run="no-such-run", clip="no_such_clip.mp4")
    assert "names a run that does not exist: no-such-run" in words(app)
    app = open_page(demo / "runs", monkeypatch, CLIP, run="motion-rgb-p4", clip="no_such_clip.mp4")
    assert "names a clip that does not exist: no_such_clip.mp4" in words(app)


def test_a_run_without_mistakes_says_so(one_run, monkeypatch):
    for part in (one_run / "appearance-rgb-p4" / "predictions").glob("*.parquet"):
        pd.read_parquet(part).assign(correct=True).to_parquet(part)
    assert "No clip is misclassified." in words(open_page(one_run, monkeypatch, PREDICTIONS))
    assert not open_page(one_run, monkeypatch, CLIP).exception


def test_with_roots_no_file_outside_of_them_is_opened(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("STH_ROOTS", str(tmp_path))
    outside = "The file lies outside of the folders that this app may read"
    app = open_page(demo / "runs", monkeypatch, CLIP, run="appearance-rgb-p4")
    assert words(app).count(outside) == 1 and not app.get("video") and "Grad-CAM over time" not in words(app)
    app = open_page(demo / "runs", monkeypatch, PREDICTIONS, run="appearance-flow-p4")
    assert words(app).count(outside) == 12
    video = Path(clips_of(open_run(demo / "runs" / "appearance-rgb-p4"))["path"].iloc[0])
    monkeypatch.setenv("STH_ROOTS", str(video.parent))
    app = open_page(demo / "runs", monkeypatch, CLIP, run="appearance-rgb-p4", player="true")
    assert outside not in words(app) and app.get("video")
