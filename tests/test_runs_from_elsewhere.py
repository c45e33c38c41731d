"""Runs that another person made: links that lead out of the allowed folders, and no checkpoint that can be found."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.run_directory import open_run
from tests.test_app import CLIP, FIGURES, NOTES, PREDICTIONS, open_page, words
from tests.tiny import write_moving_video, write_run
from workbench.roots import ROOTS, RUNS
from workbench.runs_in_roots import within_roots

ATTENTION, OWN = "workbench/pages/attention.py", "workbench/pages/own.py"
LINKS = [
    "", "run.json", "predictions", "predictions/part-00001.parquet", "attention", "probes", "notes.sqlite", "x/y",
    "clip_sample/predictions/part-00000.parquet",
]  # fmt: skip
OUT = " is a link out of the folders that this app may read; add the folder it leads to with `sth app --root`"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two runs, served with a --root that is another folder."""
    for name in ("first", "second"):
        write_run(tmp_path / "runs" / name, [[0.5, 0.5]] * 4, parts=2)
    (tmp_path / "allowed").mkdir()
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    monkeypatch.setenv(ROOTS, str(tmp_path / "allowed"))
    return tmp_path / "runs"


def moved_and_linked(path: Path, folder: Path) -> None:
    """The file or folder lies in `folder` now, and a link leads there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.move(path, folder / "it")
    path.symlink_to(folder / "it")


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_allowed_folders_leaves_the_run_out(
    name: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved_and_linked(runs / "first" / name, tmp_path / "elsewhere")
    found = within_roots(open_run(runs / "first"))
    assert found.meta == {} and found.problem == f"{name or 'the run'}{OUT}"
    monkeypatch.setenv(ROOTS, f"{tmp_path / 'allowed'}:{tmp_path / 'elsewhere'}")
    assert within_roots(open_run(runs / "first")).meta
    monkeypatch.setenv(ROOTS, "")  # without a --root links are followed
    assert within_roots(open_run(runs / "first")).meta


def test_a_link_into_an_allowed_folder_is_followed(runs: Path, tmp_path: Path) -> None:
    moved_and_linked(runs / "first" / "predictions", tmp_path / "allowed")
    assert within_roots(open_run(runs / "first")).meta["dataset"] == "set"
    (runs / "first" / "above").symlink_to("..")
    (runs / "first" / "loop").symlink_to("loop")
    assert within_roots(open_run(runs / "first")).meta


@pytest.mark.parametrize("page", [ATTENTION, PREDICTIONS, CLIP, FIGURES, NOTES, OWN])
def test_each_page_names_such_a_run_and_shows_the_other(
    page: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved_and_linked(runs / "first" / "predictions", tmp_path / "elsewhere")
    app = open_page(runs, monkeypatch, page)
    assert f"**first**: predictions{OUT}" in words(app) and not app.error
    for box in [*app.selectbox, *app.multiselect]:
        assert "first" not in box.options
    assert page == OWN or any("second" in box.options for box in [*app.selectbox, *app.multiselect])


@pytest.mark.parametrize(
    ("meta", "sentence"),
    [
        ({}, "Grad-CAM needs the run's checkpoint, and run.json does not say where it is."),
        ({"fused": ["a", "b"]}, "Grad-CAM explains one network, and this run is fused from several"),
        ({"checkpoint": "/nowhere/it.safetensors"}, "no longer exists: /nowhere/it.safetensors"),
    ],
)
def test_a_run_whose_checkpoint_is_not_known_is_shown_without_grad_cam(
    meta: dict[str, object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "runs" / "first", [[0.5, 0.5]] * 4, **meta)
    video = write_moving_video(tmp_path / "clip.mp4", 8)
    part = run / "predictions" / "part-00000.parquet"
    pd.read_parquet(part).assign(path=str(video)).to_parquet(part)
    app = open_page(tmp_path / "runs", monkeypatch, CLIP)
    assert sentence in words(app) and not app.error and app.get("video") and app.get("plotly_chart")
    app = open_page(tmp_path / "runs", monkeypatch, OWN)
    assert app.selectbox[0].options == ["another, by its path"] and not app.error
