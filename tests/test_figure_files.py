"""Figures as files, Figures 9 and 10, and the page with all of them."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from click.testing import CliRunner

from analysis.report import image_export
from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from analysis.report.figures_9_and_10 import class_figures, rank_classes
from analysis.report.image_export import PICTURES
from analysis.report.supplement import write_figures
from analysis.runs.run_directory import Run, find_runs, open_run, predictions
from tests.test_figures import FIGURES, LAYERS, runs_of
from tests.tiny import write_run
from workbench.cli import main


def test_no_figures_without_attention(tmp_path: Path) -> None:
    write_run(tmp_path / "flat", [[0.5] * 3], attention=False, temporal_fraction=0.0, conv="2d")
    (write_run(tmp_path / "torn", [[0.5] * 3]) / "run.json").write_text("{")
    runs = find_runs(tmp_path)
    assert len(runs) == 2
    assert attention_by_layer(runs).empty
    assert supplement_figures(attention_by_layer(runs)) == []
    assert write_figures(runs, tmp_path / "out") is None and not (tmp_path / "out").exists()
    assert supplement_figures(pd.DataFrame()) == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return runs_of(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def written(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    done = write_figures(runs, out, pictures=False)
    assert done is not None and [page.stem for page in done.figures] == FIGURES and done.page == out / "index.html"
    return out


def test_numbers_and_recipes_are_the_same_bytes_each_time(runs: list[Run], written: Path, tmp_path: Path) -> None:
    expected = {f"{name}.{suffix}" for name in FIGURES for suffix in ("html", "csv", "json")}
    assert {file.name for file in written.iterdir()} == expected | {"plotly.min.js", "index.html", "hypotheses.csv"}
    write_figures(runs, tmp_path, pictures=False)
    for file in written.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_numbers_are_those_plotted(written: Path) -> None:
    table = pd.read_csv(written / "figure7_datasets.csv")
    assert list(zip(table["run"], table["layer"], strict=True)) == [
        (run, layer) for run in ("motion-p4", "things-p4") for layer in LAYERS
    ]
    assert table["alpha_temporal"].tolist() == pytest.approx([0.5, 0.6, 0.7, 0.2, 0.3, 0.4])


def test_a_recipe_says_from_what_and_how(written: Path) -> None:
    recipe = json.loads((written / "figure7_datasets.json").read_text())
    assert [(run["run"], run["checkpoint_sha256"]) for run in recipe["runs"]] == [
        (name, f"sha of {name}") for name in ("motion-p4", "things-p4")
    ]
    assert recipe["filters"] == {"p": ["1/4"], "modality": ["RGB"]} and recipe["command"].startswith("sth figures")
    assert "n = 2 clips" in recipe["caption"] and {"plotly", "python"} <= set(recipe["versions"])


def test_one_page_has_everything_and_needs_no_other(written: Path) -> None:
    page = (written / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    for name in FIGURES:
        assert f'id="{name}"' in page and f'href="{name}.csv"' in page
    assert "Temporal attention rises with depth" in page and "these networks only: 8" in page


def test_names_are_no_html(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)<"
    name = evil.replace("/", "∕")  # a folder's name has no slash
    write_run(tmp_path / "runs" / name, [[0.5] * 3] * 2, dataset=evil)
    write_run(tmp_path / "runs" / "flow", [[0.5] * 3] * 2, dataset=evil, modality="flow")
    written = write_figures(find_runs(tmp_path / "runs"), tmp_path / "out", pictures=False)
    assert written is not None and len(written.figures) == 4
    for page in (*written.figures, written.page):
        text = page.read_text(encoding="utf-8")
        assert "alert(1)" in text  # it is there, but not as a tag
        assert not re.search(r"<script>\s*alert", text)
        assert text.count("</script>") == text.count("<script")


@pytest.mark.browser
def test_pictures_by_the_browser_of_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("chromium-headless-shell"):  # which Kaleido does not find itself
        monkeypatch.delenv("BROWSER_PATH", raising=False)
    runs_of(tmp_path / "runs", "motion-p4")
    result = CliRunner().invoke(main, ["figures", str(tmp_path / "runs"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    begins = {"pdf": b"%PDF", "svg": b"<svg", "png": b"\x89PNG"}
    assert set(begins) == set(PICTURES)
    for suffix, first in begins.items():
        for name in FIGURES[:3]:
            assert (tmp_path / "out" / f"{name}.{suffix}").read_bytes().startswith(first)
    assert "figure5_layers.pdf" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_without_a_browser_the_rest_is_written_and_it_is_said_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-browser"))
    monkeypatch.setenv("PATH", str(tmp_path))
    runs_of(tmp_path / "runs", "motion-p4")
    result = CliRunner().invoke(main, ["figures", str(tmp_path / "runs"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "they need Chrome or Chromium. Install it with `apt install chromium`" in result.stderr
    assert f"no program is at {tmp_path}/no-browser" in result.stderr
    assert (tmp_path / "out" / "index.html").is_file() and not list((tmp_path / "out").glob("*.p[dn][fg]"))


def test_a_browser_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "broken"))
    monkeypatch.delenv("STH_BROWSER", raising=False)
    done = write_figures(runs_of(tmp_path / "runs", "motion-p4"), tmp_path / "out")
    assert done is not None and done.without_pictures.startswith("PDF, SVG and PNG cannot be drawn")
    assert not list((tmp_path / "out").glob("*.p[dn][fg]"))


@pytest.fixture(scope="module")
def two_datasets(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose predictions are made right in half of the classes, on clips that are there and that are gone."""
    folder = tmp_path_factory.mktemp("classes")
    shutil.copytree(recorded, folder / "runs" / "there")
    for file in (folder / "runs" / "there" / "predictions").iterdir():
        table = pd.read_parquet(file)
        right = table["label"] < "moving"
        table.loc[right, "prediction"] = table.loc[right, "label"]
        table["correct"] = right
        table.to_parquet(file)
    gone = Path(shutil.copytree(folder / "runs" / "there", folder / "runs" / "gone"))
    meta = json.loads((gone / "run.json").read_text())
    (gone / "run.json").write_text(json.dumps(meta | {"dataset": "gone"}))
    for file in (gone / "predictions").iterdir():
        pd.read_parquet(file).assign(path="/nowhere/clip.mp4").to_parquet(file)
    return folder / "runs"


def test_figures_9_and_10_are_the_lowest_and_the_highest_of_the_classes_that_are_right(two_datasets: Path) -> None:
    runs = find_runs(two_datasets)
    nine, ten = class_figures(runs)
    assert (nine.name, ten.name) == ("figure9_appearance_classes", "figure10_temporal_classes")
    for run in runs:
        table = predictions(run)
        alphas = {}
        for label, clips in table.groupby("label"):
            if clips["correct"].all():
                parts = pd.concat(pd.read_parquet(f) for f in (run.path / "attention").iterdir())
                alphas[label] = parts.loc[parts["clip_id"].isin(clips["clip_id"]), "alpha_temporal"].mean()
        ordered = sorted(alphas, key=lambda label: alphas[label])
        half = min(4, len(ordered) // 2)
        lowest, highest = (item.data[item.data["run"] == run.name] for item in (nine, ten))
        assert half >= 2 and list(lowest["label"]) == ordered[:half] and list(highest["label"]) == ordered[::-1][:half]
        np.testing.assert_allclose(lowest["alpha_temporal"], [alphas[label] for label in lowest["label"]])
        for row in lowest.itertuples():
            clips = table[(table["label"] == row.label) & table["correct"]]
            assert row.clip == clips.sort_values("confidence")["clip_id"].iloc[-1]


def test_where_probes_are_recorded_the_drop_under_shuffling_has_a_say(two_datasets: Path, tmp_path: Path) -> None:
    run = open_run(shutil.copytree(two_datasets / "there", tmp_path / "there"))
    before = rank_classes(run)
    turned = {label: i for i, label in enumerate(reversed(list(before["label"])))}  # the lowest alpha_T drops most
    rows = [
        {"clip_id": clip.clip_id, "probe": probe, "repeat": 0, "label": clip.label, "prediction": clip.prediction,
         "correct": True, "confidence": 1.0, "score_plain": 1.0,
         "score_label": 1.0 - (probe == "shuffled") * turned.get(clip.label, 0) / 100}
        for clip in predictions(run).itertuples() for probe in ("plain", "shuffled", "reversed")
    ]  # fmt: skip
    (run.path / "probes").mkdir()
    pd.DataFrame(rows).to_parquet(run.path / "probes" / "part-00000.parquet")
    after = rank_classes(run)
    np.testing.assert_allclose(after["order"], [turned[label] / 100 for label in after["label"]])
    both = after["alpha_temporal"].rank() + after["order"].rank()
    assert both.is_monotonic_increasing and both.nunique() == 1  # against each other they tie
    assert "drop of their score under shuffled frames" in class_figures([run])[0].caption


def test_their_clips_are_shown_or_it_is_said_that_they_are_gone(two_datasets: Path) -> None:
    figure = class_figures(find_runs(two_datasets))[0].figure
    shown, gone = len(figure.layout.images), [a.text for a in figure.layout.annotations if "video" in a.text]
    assert shown == len(gone) >= 2 and set(gone) == {"the video is no longer there"}
    assert all(image.source.startswith("data:image/jpeg;base64,") for image in figure.layout.images)


def test_a_network_that_is_right_in_no_class_has_no_such_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.5, 0.6]] * 4, classes=["b"])
    for file in (tmp_path / "run" / "predictions").iterdir():
        pd.read_parquet(file).assign(correct=False).to_parquet(file)
    runs = find_runs(tmp_path)
    assert class_figures(runs) == [] and len(supplement_figures(attention_by_layer(runs))) == 3


@pytest.mark.parametrize("answers", [0, 1])
def test_a_browser_that_never_answers_is_started_anew_once_and_then_said(
    answers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    async def draw(specs: list[dict[str, Any]], **_: object) -> None:
        calls.append(len(specs))
        await asyncio.sleep(0 if answers and len(calls) > 1 else 60)
        for spec in specs:
            Path(spec["path"]).write_bytes(b"drawn")

    monkeypatch.setattr("kaleido.write_fig_from_object", draw)
    monkeypatch.setattr(image_export, "why_no_pictures", lambda: "")
    monkeypatch.setattr(image_export, "START_SECONDS", 0.2)
    monkeypatch.setattr(image_export, "PICTURE_SECONDS", 0)
    said = image_export.write_pictures({"figure": go.Figure()}, tmp_path, ("svg",))
    assert calls == [1, 1] and (tmp_path / "figure.svg").exists() == bool(answers)
    assert said.endswith("(the browser has drawn nothing for 0.2 seconds)") if not answers else said == ""
