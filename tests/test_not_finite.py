"""Scores that are not finite rank no class: the clip is left out with the reason, and never counted as right."""

import html
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analysis.experiments.interventions import BROKEN
from analysis.explain import alpha_replacement
from analysis.explain.alpha_replacement import HALF, interventions
from analysis.explain.video_explanation import CamOptions, explain_video
from analysis.report.intervention_page import clips_without_effects
from analysis.runs.recording import record, recorded_accuracy
from analysis.runs.run_directory import Run, clips_of, failures, open_run, predictions
from analysis.statistics.accuracy import accuracy_per_class, summarize_accuracy
from analysis.statistics.calibration import calibration_bins
from analysis.statistics.confusion import confusion_cells
from analysis.statistics.fusion import fuse
from analysis.statistics.results import run_results
from sth_core import evaluation
from sth_core.checkpoint import load_checkpoint, save_checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.media import counted
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.errors import NOT_FINITE, UserError
from sth_core.evaluation import accuracy
from sth_core.shards import read_failures, write_failures
from sth_core.video.transforms import normalise
from tests.tiny import RGB, copy_clips, save_tiny, tiny_network
from workbench.cli import main
from workbench.components.clip_views import what_if_scores


@pytest.fixture(scope="module")
def few(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_clips(scenes_folder, tmp_path_factory.mktemp("data") / "few", 4)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the four clips; read it, never write in it."""
    run = tmp_path_factory.mktemp("run") / "whole"
    record(checkpoint, few, run)
    return run


@pytest.fixture
def one_broken(monkeypatch: pytest.MonkeyPatch, few: Path) -> str:
    """The second clip of every recording has pixels that are NaN; its name."""
    seen = []

    def broken(clips: torch.Tensor, p: Any) -> torch.Tensor:
        pixels = normalise(clips, p)
        for i in range(len(pixels)):
            seen.append(i)
            if len(seen) == 2:
                pixels[i] = torch.nan
        return pixels

    monkeypatch.setattr(evaluation, "normalise", broken)
    return str(read_dataset(few, Annotation(label="motion")).query("split == 'val'")["clip_id"].iloc[1])


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights are finite and whose scores are not."""
    path = save_tiny(tmp_path_factory.mktemp("network") / "huge.safetensors")
    checkpoint = load_checkpoint(path)
    checkpoint.model.fc.weight.data.fill_(3e38)
    save_checkpoint(path, checkpoint.model, checkpoint.classes, RGB, checkpoint.annotation)
    return path


@pytest.mark.parametrize("command", ["record", "evaluate"])
def test_a_clip_without_finite_scores_is_a_failure_with_the_reason(
    command: str, one_broken: str, checkpoint: Path, few: Path, tmp_path: Path
) -> None:
    words = [command, str(checkpoint), "--data", str(few), "-o", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, words)
    run = open_run(tmp_path / "run")
    assert result.exit_code == 0 and "4 clips, 0 of them unreadable, 1 without finite scores" in result.output
    assert failures(run)[["clip_id", "reason"]].to_numpy().tolist() == [[one_broken, NOT_FINITE]]
    table = predictions(run)
    assert len(table) == 3 and one_broken not in set(table["clip_id"])
    assert np.isfinite(np.stack(list(table["scores"]))).all()
    assert "1 clip left out, as the network's scores are not finite" in run_results([run]).iloc[0]["note"]


def test_a_network_whose_every_score_is_infinite_has_no_accuracy(overflowing: Path, few: Path, tmp_path: Path) -> None:
    done = record(overflowing, few, tmp_path / "run")
    assert (done.clips, done.failures) == (4, 4) and np.isnan(done.accuracy)
    assert set(failures(open_run(tmp_path / "run"))["reason"]) == {NOT_FINITE}


def test_accuracy_in_training_leaves_it_out(one_broken: str, few: Path) -> None:
    table = read_dataset(few, Annotation(label="motion")).query("split == 'val'").reset_index(drop=True)
    model, classes = tiny_network(), sorted(set(table["label"]) | {"other"})
    model.fc.weight.data[len(classes) :] = 0
    found = accuracy(model, EvaluationClips(table, [*classes, *"abcdefgh"][:12], RGB), RGB)
    assert (found.clips, found.failures) == (3, {one_broken: NOT_FINITE})


@pytest.fixture
def earlier(whole: Path, tmp_path: Path) -> Path:
    """A run that an earlier version recorded: two of its four clips have NaN scores and are said to be correct."""
    folder = tmp_path / "earlier"
    (folder / "predictions").mkdir(parents=True)
    (folder / "run.json").write_text((whole / "run.json").read_text())
    table = pd.concat([pd.read_parquet(file) for file in (whole / "predictions").iterdir()], ignore_index=True)
    broken = [np.full(12, np.nan, np.float32)] * 2
    table["scores"] = [*broken, *table["scores"][2:]]
    table.loc[:1, "confidence"] = np.nan
    table.loc[:1, "prediction"] = table.loc[:1, "label"]
    table.assign(correct=[True, True, False, False]).to_parquet(folder / "predictions" / "part-00000.parquet")
    return folder


def test_an_earlier_run_does_not_count_them_as_right_and_says_so(earlier: Path) -> None:
    run = open_run(earlier)
    table, classes = predictions(run), run.meta["classes"]
    assert summarize_accuracy(table, classes)["n"].tolist() == [2, 2, 2]
    assert accuracy_per_class(table, classes)["n"].sum() == 2 and confusion_cells(table)["n"].sum() == 2
    assert table["correct"].isna().sum() == clips_of(run)["correct"].isna().sum() == 2
    assert calibration_bins(table)["n"].sum() == 2 and recorded_accuracy(earlier, classes) == 0
    row = run_results([run]).iloc[0]
    assert row["n"] == 2 and "Not counted: 2 of 4 clips, whose scores are not finite (NaN or infinity)." in row["note"]


def test_fusing_leaves_them_out(earlier: Path, whole: Path, tmp_path: Path) -> None:
    done = fuse([open_run(whole), open_run(earlier)], [1, 1], tmp_path / "both")
    lost = sorted(predictions(open_run(earlier))["clip_id"][:2])
    assert (done.clips, done.left_out) == (2, {NOT_FINITE: lost})
    assert failures(open_run(tmp_path / "both"))["reason"].tolist() == [NOT_FINITE] * 2


@pytest.mark.parametrize("weights", [[1, np.nan], [np.nan, 1], [1, np.inf], [0, 0]])
def test_weights_that_are_not_finite_are_refused(weights: list[float], whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there must be a finite weight for each of the 2 runs"):
        fuse([open_run(whole), open_run(whole)], weights, tmp_path / "both")


def test_an_explanation_and_what_if_refuse_them(overflowing: Path, few: Path) -> None:
    loaded = load_checkpoint(overflowing)
    with pytest.raises(UserError, match="scores of it are not finite"):
        explain_video(loaded, next((few / "val").iterdir()), CamOptions("layer1.1"))
    with pytest.raises(UserError, match="scores of it are not finite"):
        what_if_scores(loaded, np.zeros((4, 32, 32, 3), np.uint8), "as it is", "as it is")


@pytest.mark.parametrize("broken", [1, 4])
def test_interventions_name_the_clips_without_finite_scores_and_do_not_try_them_again(
    broken: int, checkpoint: Path, few: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run")) / "interventions"
    calls: list[int] = []

    def one_kind_is_broken(model: Any, clips: torch.Tensor, *alphas: Any) -> Iterator[tuple[str, str, torch.Tensor]]:
        calls.append(len(clips))
        for place, kind, logits in interventions(model, clips, *alphas):
            bad = (torch.arange(len(clips)) < broken)[:, None] & (kind == HALF)
            yield place, kind, torch.where(bad, torch.nan, logits)

    monkeypatch.setattr(alpha_replacement, "interventions", one_kind_is_broken)
    words = ["intervene", str(checkpoint), "--data", str(few), "-o", str(folder.parent), "--device", "cpu"]
    for _ in range(2):
        result = CliRunner().invoke(main, words)
        names = read_failures(folder)
        listed = f"{NOT_FINITE}: {', '.join(names)}; the same command does not try again."
        said = f"{counted(broken, 'clip')} left out, as with α replaced, {listed}"
        assert set(names.values()) == {BROKEN} and said in " ".join(result.output.split()), result.output
        if broken == 4:
            assert result.exit_code == 2 and f"{folder.parent} has no effect to show." in result.output
        else:
            page = html.unescape((folder / "index.html").read_text())
            assert result.exit_code == 0 and said in page and "3 clips." in page
    assert calls == [4]


def test_clips_that_could_not_be_read_have_no_effects_and_are_tried_again(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    assert clips_without_effects(run) == ""
    write_failures(tmp_path / "interventions", {"a": "no video", "b": BROKEN})
    assert "1 clip left out, could not be read: a; the same command tries again." in clips_without_effects(run)
    (tmp_path / "interventions" / "failures.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"failures.parquet cannot be read \(.*; remove it, and its clips are tried ag"):
        clips_without_effects(run)
